"""The logs carried out again, by rules written a second time: what each entry must have come to, and when.

The place of an entry is its number in its tier's log, from 1; place 0 is before the first one.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from pygmy.checker.history import Logged
from pygmy.messages.operations import (
    AddBook,
    Book,
    ChangeBook,
    MarkReconciled,
    NewBook,
    Opened,
    OpenStock,
    Operation,
    Order,
    Ordered,
    Outcome,
    RecordOrder,
    RemoveBook,
    Removed,
    Sell,
    Shelved,
    Short,
    Sold,
    SoldLine,
    SoldOut,
)
from pygmy.messages.replication import Version


class Broken(Exception):
    """The log contradicts itself; str() says where and how."""


class Placed:
    """Where an op_id stands in a log."""

    __slots__ = ("logged", "place")

    def __init__(self, logged: Logged, place: int) -> None:
        self.logged = logged
        self.place = place


class Shelf:
    """One book through time: `places[i]` is where `rows[i]` (None: removed) took the place of the one before."""

    __slots__ = ("by_version", "places", "rows")

    def __init__(self) -> None:
        self.places: list[int] = []
        self.rows: list[Book | None] = []
        self.by_version: dict[Version, int] = {}

    def put(self, place: int, version: Version, row: Book | None) -> None:
        """The book changes."""
        self.by_version[version] = len(self.rows)
        self.places.append(place)
        self.rows.append(row)


class _Log:
    """What both tiers' logs must hold to: versions grow, and each op_id stands in it once."""

    def __init__(self) -> None:
        self.entries: dict[str, Placed] = {}
        self._last: tuple[Version, int] = ((0, 0), 0)

    def take(self, logged: Logged) -> int:
        """The place of the next entry."""
        (epoch, seq), index = logged.version, logged.index
        before, last = self._last
        follows = (index == last + 1) if logged.version == before else (index == 0 and seq == before[1] + 1)
        if not follows or epoch < before[0]:
            raise Broken(f"{logged.tier} log: entry {logged.version} #{index} follows {before} #{last}")
        if logged.entry.op_id in self.entries:
            raise Broken(f"{logged.tier} log: {logged.entry.op_id} was executed twice, again at {logged.version}")
        self._last = (logged.version, index)
        place = len(self.entries) + 1
        self.entries[logged.entry.op_id] = Placed(logged, place)
        return place


class CatalogReplay(_Log):
    """The catalog's log carried out again."""

    def __init__(self, log: Iterable[Logged]) -> None:
        super().__init__()
        self.shelves: dict[int, Shelf] = {}
        self.opening: dict[int, int] = {}  # per book: copies it came with, and
        self.added: dict[int, int] = {}  # net copies put on the shelf since, and
        self.sold: dict[int, int] = {}  # copies sold
        self._highest = 0
        for logged in log:
            place = self.take(logged)
            outcome = self._apply(logged.entry.operation, place, logged.version)
            if outcome != logged.entry.outcome:
                raise Broken(
                    f"catalog log: {logged.entry.op_id} at {logged.version} is recorded as {logged.entry.outcome},"
                    f" but comes to {outcome}"
                )

    def book(self, item: int) -> Book | None:
        """The book as it stands at the end."""
        shelf = self.shelves.get(item)
        return shelf.rows[-1] if shelf else None

    def _apply(self, operation: Operation, place: int, version: Version) -> Outcome | None:
        match operation:
            case Sell():
                return self._sell(operation, place, version)
            case ChangeBook():
                return self._change(operation, place, version)
            case AddBook():
                return Shelved(self._new(operation.book, place, version))
            case RemoveBook():
                if (book := self.book(operation.item)) is None:
                    return None
                self.shelves[operation.item].put(place, version, None)
                self.added[operation.item] = self.added.get(operation.item, 0) - book.count
                return Removed(operation.item)
            case OpenStock():
                return self._open(operation, place, version)
            case _:
                return None

    def _open(self, operation: OpenStock, place: int, version: Version) -> Outcome:
        fresh = [book for book in operation.books if book.item not in self.shelves]
        for book in fresh:
            self._new(book, place, version)
        return Opened(len(fresh))

    def _new(self, new: NewBook, place: int, version: Version) -> Book:
        item = new.item or self._highest + 1
        self._highest = max(self._highest, item)
        self.opening[item] = new.count
        return self._put(Book(item, new.title, new.topic, new.cost, new.count), place, version)

    def _put(self, book: Book, place: int, version: Version) -> Book:
        row = replace(book, epoch=version[0], seq=version[1])
        self.shelves.setdefault(book.item, Shelf()).put(place, version, row)
        return row

    def _sell(self, sell: Sell, place: int, version: Version) -> Outcome | None:
        wanted: dict[int, int] = {}
        for line in sell.lines:
            wanted[line.item] = wanted.get(line.item, 0) + line.quantity
        books = [self.book(item) for item in wanted]
        there = [book for book in books if book is not None]
        if len(there) < len(books):
            return None
        short = tuple(Short(book.item, book.count) for book in there if book.count < wanted[book.item])
        if short:
            return SoldOut(short)
        lines = []
        for book in there:
            quantity = wanted[book.item]
            self._put(replace(book, count=book.count - quantity), place, version)
            self.sold[book.item] = self.sold.get(book.item, 0) + quantity
            lines.append(SoldLine(book.item, quantity, book.cost, book.count - quantity))
        return Sold(tuple(lines), sum(line.price * line.quantity for line in lines))

    def _change(self, change: ChangeBook, place: int, version: Version) -> Outcome | None:
        book = self.book(change.item)
        if book is None:
            return None
        count = (book.count if change.count is None else change.count) + (change.increment or 0)
        if not 0 <= count <= 1_000_000_000:
            return None
        self.added[book.item] = self.added.get(book.item, 0) + count - book.count
        title = book.title if change.title is None else change.title
        topic = book.topic if change.topic is None else change.topic
        cost = book.cost if change.cost is None else change.cost
        return Shelved(self._put(Book(book.item, title, topic, cost, count), place, version))


class OrderReplay(_Log):
    """The order tier's log carried out again: order ids are 1, 2, 3... in its order."""

    def __init__(self, log: Iterable[Logged]) -> None:
        super().__init__()
        self.orders: list[Order] = []
        self.places: list[int] = []
        self.sale_seqs: dict[str, int] = {}
        for logged in log:
            place = self.take(logged)
            operation, outcome = logged.entry.operation, logged.entry.outcome
            if isinstance(operation, RecordOrder):
                self._record(logged.entry.op_id, operation, outcome, place)
            elif not isinstance(operation, MarkReconciled):
                raise Broken(f"order log: {logged.entry.op_id} is no operation of this tier")

    def _record(self, op_id: str, record: RecordOrder, outcome: Outcome, place: int) -> None:
        number = len(self.orders) + 1
        order = Order(number, op_id, record.lines, record.total, record.at, record.basket)
        if outcome != Ordered(order):
            raise Broken(f"order log: {op_id} is recorded as {outcome}, but comes to order {number}: {order}")
        self.orders.append(order)
        self.places.append(place)
        self.sale_seqs[op_id] = record.sale_seq
