"""The logs carried out again, by rules written a second time: what each entry must have come to, and when.

The rules alone (`CatalogRules`, `OrderRules`) know no past, so a log of any length passes through them; the replays
keep where everything stood.  The place of an entry is its number in its tier's log, from 1; place 0 is before the
first one.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from pygmy.checker.history import Logged
from pygmy.messages.operations import (
    AddBook,
    Book,
    ChangeBook,
    Marked,
    MarkReconciled,
    NewBook,
    Opened,
    OpenStock,
    Operation,
    Order,
    Ordered,
    Outcome,
    Recorded,
    RecordForced,
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
from pygmy.messages.replication import Entry, Version


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


class CatalogRules:
    """What each entry of the catalog's log must come to, one after the other, and the books as they are after it."""

    def __init__(self) -> None:
        self.books: dict[int, Book | None] = {}  # None: removed
        self.opening: dict[int, int] = {}  # per book: copies it came with, and
        self.added: dict[int, int] = {}  # net copies put on the shelf since, and
        self.sold: dict[int, int] = {}  # copies sold
        self._highest = 0

    def check(self, entry: Entry, version: Version) -> None:
        """Carry out the next entry, of the batch `version`. `Broken` if it comes to something else than recorded."""
        outcome = self._apply(entry.operation, version)
        if outcome != entry.outcome:
            raise Broken(
                f"catalog log: {entry.op_id} at {version} is recorded as {entry.outcome}, but comes to {outcome}"
            )

    def book(self, item: int) -> Book | None:
        """The book as it stands now."""
        return self.books.get(item)

    def unbalanced(self, item: int, left: int) -> str | None:
        """Why there cannot be `left` copies of this book: opening + added - left must be what was sold."""
        opening, added, sold = self.opening.get(item, 0), self.added.get(item, 0), self.sold.get(item, 0)
        if opening + added - left == sold:
            return None
        return f"book {item}: {opening} at first + {added} added - {left} left != {sold} sold"

    def _apply(self, operation: Operation, version: Version) -> Outcome | None:
        match operation:
            case Sell():
                return self._sell(operation, version)
            case ChangeBook():
                return self._change(operation, version)
            case AddBook():
                return Shelved(self._new(operation.book, version))
            case RemoveBook():
                if (book := self.book(operation.item)) is None:
                    return None
                self._put(operation.item, version, None)
                self.added[operation.item] = self.added.get(operation.item, 0) - book.count
                return Removed(operation.item)
            case OpenStock():
                return self._open(operation, version)
            case RecordForced():
                return Recorded()
            case _:
                return None

    def _open(self, operation: OpenStock, version: Version) -> Outcome:
        fresh = [book for book in operation.books if book.item not in self.books]
        for book in fresh:
            self._new(book, version)
        return Opened(len(fresh))

    def _new(self, new: NewBook, version: Version) -> Book:
        item = new.item or self._highest + 1
        self._highest = max(self._highest, item)
        self.opening[item] = new.count
        return self._shelve(Book(item, new.title, new.topic, new.cost, new.count), version)

    def _shelve(self, book: Book, version: Version) -> Book:
        row = replace(book, epoch=version[0], seq=version[1])
        self._put(book.item, version, row)
        return row

    def _put(self, item: int, version: Version, row: Book | None) -> None:
        self.books[item] = row

    def _sell(self, sell: Sell, version: Version) -> Outcome | None:
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
            self._shelve(replace(book, count=book.count - quantity), version)
            self.sold[book.item] = self.sold.get(book.item, 0) + quantity
            lines.append(SoldLine(book.item, quantity, book.cost, book.count - quantity))
        return Sold(tuple(lines), sum(line.price * line.quantity for line in lines))

    def _change(self, change: ChangeBook, version: Version) -> Outcome | None:
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
        return Shelved(self._shelve(Book(book.item, title, topic, cost, count), version))


class CatalogReplay(_Log, CatalogRules):
    """The catalog's log carried out again, with all of its past."""

    def __init__(self, log: Iterable[Logged]) -> None:
        _Log.__init__(self)
        CatalogRules.__init__(self)
        self.shelves: dict[int, Shelf] = {}
        self._place = 0
        for logged in log:
            self._place = self.take(logged)
            self.check(logged.entry, logged.version)

    def _put(self, item: int, version: Version, row: Book | None) -> None:
        super()._put(item, version, row)
        self.shelves.setdefault(item, Shelf()).put(self._place, version, row)


class OrderRules:
    """What each entry of the order log must come to, one after the other: order ids are 1, 2, 3... in its order."""

    def __init__(self) -> None:
        self.last_order = 0
        self.reconciled_upto = 0

    def check(self, entry: Entry) -> Order | None:
        """Carry out the next entry: its order, where it is one. `Broken` if it comes to something else."""
        operation, number = entry.operation, self.last_order + 1
        if isinstance(operation, RecordForced) and entry.outcome == Recorded():
            return None
        if isinstance(operation, MarkReconciled):
            self.reconciled_upto = max(self.reconciled_upto, operation.upto)
            if entry.outcome != Marked(self.reconciled_upto):
                raise Broken(
                    f"order log: {entry.op_id} is recorded as {entry.outcome}, but the mark is {self.reconciled_upto}"
                )
            return None
        if not isinstance(operation, RecordOrder):
            raise Broken(f"order log: {entry.op_id} is no operation of this tier")
        order = Order(number, entry.op_id, operation.lines, operation.total, operation.at, operation.basket)
        if entry.outcome != Ordered(order):
            raise Broken(
                f"order log: {entry.op_id} is recorded as {entry.outcome}, but comes to order {number}: {order}"
            )
        self.last_order = number
        return order


class OrderReplay(_Log, OrderRules):
    """The order tier's log carried out again, with all of its past."""

    def __init__(self, log: Iterable[Logged]) -> None:
        _Log.__init__(self)
        OrderRules.__init__(self)
        self.orders: list[Order] = []
        self.places: list[int] = []
        self.sale_seqs: dict[str, int] = {}
        for logged in log:
            place, operation = self.take(logged), logged.entry.operation
            order = self.check(logged.entry)
            if order is not None and isinstance(operation, RecordOrder):
                self.orders.append(order)
                self.places.append(place)
                self.sale_seqs[order.op_id] = operation.sale_seq
