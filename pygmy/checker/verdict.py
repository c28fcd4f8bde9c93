"""All checks of a history, one after the other."""

import gc
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from pygmy.checker.history import Logged, Orders, Page, Read, Record, Stock, Write
from pygmy.checker.linear import Earliest, Event, sweep
from pygmy.checker.lists import Lists, earliest_in
from pygmy.checker.replay import Broken, CatalogReplay, OrderReplay, Placed, Shelf
from pygmy.messages.operations import (
    NoSuchBook,
    Order,
    Ordered,
    Outcome,
    OutOfRange,
    RecordOrder,
    Reused,
    Sell,
    Sold,
)

UNRECORDED = (NoSuchBook, OutOfRange, Reused)


class Verdict(Struct, frozen=True):
    """`problems`: what is wrong, in sentences (none: the history is sound); and how much was looked at."""

    problems: tuple[str, ...]
    writes: int
    reads: int
    unknown: int
    logged: int

    @property
    def ok(self) -> bool:
        """True if nothing is wrong."""
        return not self.problems


def check(history: Iterable[Record], *, quiet: bool = False) -> Verdict:
    """Check a whole history. `quiet`: all is at rest, so that every sale must have its order by now."""
    checker = _Checker(history)
    with _no_collection():
        problems = tuple(checker.problems(quiet))
    return Verdict(
        problems,
        len(checker.writes),
        len(checker.reads) + len(checker.lists) + len(checker.pages),
        sum(write.answered is None for write in checker.writes),
        len(checker.logs["catalog"]) + len(checker.logs["order"]),
    )


@contextmanager
def _no_collection() -> Iterator[None]:
    """The collector of cycles would look through the whole history again and again, for nothing."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Named:
    """A read, which is put into words only when it has to be."""

    __slots__ = ("_read",)

    def __init__(self, read: Read) -> None:
        self._read = read

    def __str__(self) -> str:
        read = self._read
        return f"{read.client}'s read of book {read.item} at {read.version}"


class _Checker:
    def __init__(self, history: Iterable[Record]) -> None:
        self.writes: list[Write] = []
        self.reads: list[Read] = []
        self.lists: list[Page] = []
        self.pages: list[Orders] = []
        self.stocks: list[Stock] = []
        self.logs: dict[str, list[Logged]] = {"catalog": [], "order": []}
        for record in history:
            match record:
                case Write():
                    self.writes.append(record)
                case Read():
                    self.reads.append(record)
                case Page():
                    self.lists.append(record)
                case Orders():
                    self.pages.append(record)
                case Logged():
                    self.logs[record.tier].append(record)
                case Stock():
                    self.stocks.append(record)

    def problems(self, quiet: bool) -> Iterator[str]:
        """Everything that is wrong; where a log contradicts itself, only that."""
        try:
            self.catalog = CatalogReplay(self.logs["catalog"])
            self.orders = OrderReplay(self.logs["order"])
        except Broken as broken:
            yield str(broken)
            return
        yield from self._orders_of_sales(quiet)
        yield from self._conservation()
        for write in self.writes:
            if problem := self._answer_of(write):
                yield problem
        for name, events in (("catalog", self._catalog_events()), ("order", self._order_events())):
            try:
                if problem := sweep(events):
                    yield f"{name} tier: {problem}"
            except Broken as broken:
                yield str(broken)

    # ---- the logs

    def _orders_of_sales(self, quiet: bool) -> Iterator[str]:
        sales = {
            op_id: placed.logged
            for op_id, placed in self.catalog.entries.items()
            if isinstance(placed.logged.entry.outcome, Sold)
        }
        for order in self.orders.orders:
            sale = sales.get(order.op_id)
            if sale is None:
                yield f"order {order.order_id} ({order.op_id}) has no sale"
                continue
            sold = sale.entry.outcome
            assert isinstance(sold, Sold)
            same = [(line.item, line.quantity, line.price) for line in sold.lines]
            ours = [(line.item, line.quantity, line.price) for line in order.lines]
            seq = self.orders.sale_seqs[order.op_id]
            if (same, sold.total, sale.entry.at, sale.version[1]) != (ours, order.total, order.at, seq):
                yield f"order {order.order_id} ({order.op_id}) is not what was sold at {sale.version}"
        if quiet and self.logs["order"]:
            for op_id in sales.keys() - {order.op_id for order in self.orders.orders}:
                yield f"the sale {op_id} has no order"

    def _conservation(self) -> Iterator[str]:
        catalog = self.catalog
        for item in catalog.shelves:
            book = catalog.book(item)
            if problem := catalog.unbalanced(item, book.count if book else 0):
                yield problem
        for stock in self.stocks:
            rows = {book.item: book for book in stock.books if not book.removed}
            there = {item: book for item in catalog.shelves if (book := catalog.book(item))}
            for item in rows.keys() | there.keys():
                if rows.get(item) != there.get(item):
                    yield f"{stock.node} holds {rows.get(item)} at the end, by the log it is {there.get(item)}"

    # ---- answers

    def _answer_of(self, write: Write) -> str | None:
        """What is wrong with one answer."""
        if write.answered is None:
            return None
        recorded = self.catalog.entries.get(write.op_id)
        order = self.orders.entries.get(write.op_id)
        if isinstance(write.outcome, UNRECORDED):
            return self._refusal_of(write, recorded)
        if recorded is None:
            return f"{write.op_id} was answered {write.outcome}, but is in no log"
        if not _same_request(write, recorded):
            return f"{write.op_id} was answered {write.outcome}, but the log has another request under that op_id"
        if isinstance(write.outcome, Ordered):
            if order is None or not _same_order(order.logged.entry.outcome, write):
                return f"{write.op_id} was answered {write.outcome}, but the order log has {_said(order)}"
        elif write.outcome != recorded.logged.entry.outcome:
            return f"{write.op_id} was answered {write.outcome}, but the log has {_said(recorded)}"
        place = (recorded.logged.version, recorded.logged.index)
        if write.version is not None and (write.version, write.index) != place:
            return f"{write.op_id} was answered as {write.version} #{write.index}, but stands at {place}"
        return None

    @staticmethod
    def _refusal_of(write: Write, recorded: Placed | None) -> str | None:
        same = recorded is not None and _same_request(write, recorded)
        if same:
            return f"{write.op_id} was refused ({write.outcome}), but took effect: {_said(recorded)}"
        if isinstance(write.outcome, Reused) and recorded is None:
            return f"{write.op_id} was refused as reused, but nothing stands under that op_id"
        return None

    # ---- real time

    def _requests(self) -> Iterator[tuple[str, float, float | None]]:
        """Each op_id's request with its first asking and first answer, however many asked for it."""
        first: dict[str, tuple[float, float | None]] = {}
        for write in self.writes:
            recorded = self.catalog.entries.get(write.op_id)
            if recorded is None or not _same_request(write, recorded):
                continue
            invoked, answered = write.invoked, write.answered
            if (other := first.get(write.op_id)) is not None:
                invoked = min(invoked, other[0])
                answers = [moment for moment in (answered, other[1]) if moment is not None]
                answered = min(answers, default=None)
            first[write.op_id] = (invoked, answered)
        for op_id, (invoked, answered) in first.items():
            yield op_id, invoked, answered

    def _catalog_events(self) -> Iterator[Event]:
        for op_id, invoked, answered in self._requests():
            yield Event(op_id, invoked, answered, self.catalog.entries[op_id].place)
        for write in self.writes:
            if isinstance(write.outcome, NoSuchBook):
                refused = self._absent(write.outcome.items)
                yield Event(f"{write.op_id} (no such book)", write.invoked, write.answered, earliest=refused)
        for read in self.reads:
            seen = self._absent((read.item,)) if read.book is None else self._seen(read)
            yield Event(_Named(read), read.invoked, read.answered, earliest=seen)
        yield from self._list_events()

    def _list_events(self) -> Iterator[Event]:
        lists = Lists(self.catalog.shelves if self.lists else {})
        for page in self.lists:
            what = f"{page.client}'s look at the books of {page.topic or 'all topics'} after {page.after}"
            spans = lists.spans(page)
            if not spans:
                raise Broken(f"{what} showed {page.books} (more: {page.more}), which never was")
            yield Event(what, page.invoked, page.answered, earliest=partial(earliest_in, spans))

    def _seen(self, read: Read) -> Earliest:
        shelf = self.catalog.shelves.get(read.item)
        book = read.book
        assert book is not None
        version = read.version or (book.epoch, book.seq)
        number = shelf.by_version.get(version) if shelf else None
        if shelf is None or number is None or shelf.rows[number] != book:
            raise Broken(f"{read.client} read {book} at {version}, which never was")
        low = shelf.places[number]
        high = shelf.places[number + 1] if number + 1 < len(shelf.places) else None
        return lambda gap: max(gap, low) if high is None or gap < high else None

    def _absent(self, items: tuple[int, ...]) -> Earliest:
        shelves = [self.catalog.shelves[item] for item in items if item in self.catalog.shelves]

        def earliest(gap: int) -> int | None:
            while True:
                nexts = [_next_absence(shelf, gap) for shelf in shelves]
                later = max((place for place in nexts if place is not None), default=gap)
                if None in nexts or later == gap:
                    return None if None in nexts else gap
                gap = later

        return earliest

    def _order_events(self) -> Iterator[Event]:
        for op_id, invoked, answered in self._requests() if self.orders.entries else ():
            placed = self.orders.entries.get(op_id)
            if placed is not None and isinstance(placed.logged.entry.operation, RecordOrder):
                yield Event(op_id, invoked, answered, placed.place)
        for page in self.pages:
            what = f"{page.client}'s look at orders {page.after + 1}..{page.after + len(page.orders)}"
            yield Event(what, page.invoked, page.answered, earliest=self._page(page))

    def _page(self, page: Orders) -> Earliest:
        last = page.after + len(page.orders)
        there = tuple(self.orders.orders[page.after : last])
        if (tuple(map(_told, there)) if page.public else there) != page.orders:
            raise Broken(f"{page.client} saw orders after {page.after} that are not those of the log: {page.orders}")
        # A page that is full tells nothing of what comes after it; an empty one not even of what is before.
        low = self.orders.places[last - 1] if page.orders else 0
        high = self.orders.places[last] if last < len(self.orders.places) and not page.more else None
        if page.more:
            if last >= len(self.orders.places):
                raise Broken(f"{page.client} was told of orders after {last}, of which there are none")
            low = max(low, self.orders.places[last])
        return lambda gap: max(gap, low) if high is None or gap < high else None


def _next_absence(shelf: Shelf, gap: int) -> int | None:
    """The first gap from this one on in which the book is not there."""
    number = bisect_right(shelf.places, gap) - 1
    if number < 0 or shelf.rows[number] is None:
        return gap
    return next(
        (place for place, row in zip(shelf.places[number:], shelf.rows[number:], strict=True) if not row), None
    )


def _same_request(write: Write, recorded: Placed) -> bool:
    logged = recorded.logged.entry.operation
    if isinstance(logged, Sell) and isinstance(write.operation, Sell):
        return logged.lines == write.operation.lines and logged.basket == write.operation.basket
    return logged == write.operation


def _same_order(recorded: Outcome, write: Write) -> bool:
    if write.public and isinstance(recorded, Ordered):
        recorded = Ordered(_told(recorded.order))
    return recorded == write.outcome


def _told(order: Order) -> Order:
    """As much of an order as the public interface tells."""
    return replace(order, op_id="", at=order.at // 1000 * 1000)


def _said(placed: Placed | None) -> Outcome | None:
    return placed.logged.entry.outcome if placed else None
