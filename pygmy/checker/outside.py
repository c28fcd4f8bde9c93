"""What can be said of a history without the logs: by what clients were told, and nothing else.

It finds no less than a customer could who never forgets. What only the logs show, it leaves open: whether all copies
are the same, and whether what was never answered took effect.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from pygmy.checker.history import Orders, Page, Read, Record, Write
from pygmy.checker.verdict import Verdict
from pygmy.messages.operations import Book, Order, Ordered, Outcome, Sell, SoldOut


class Asked(NamedTuple):
    """All askings under one key: the first, the first answer (None: there was none), and the distinct answers."""

    op_id: str
    operation: Sell
    invoked: float
    answered: float | None
    outcomes: tuple[Outcome, ...]

    @property
    def order(self) -> Order | None:
        """The order that it was answered with."""
        return next((one.order for one in self.outcomes if isinstance(one, Ordered)), None)

    @property
    def open(self) -> bool:
        """True if nobody was told what came of it."""
        return not self.outcomes

    def copies(self, item: int) -> int:
        """How many of a book it asks for."""
        return sum(line.quantity for line in self.operation.lines if line.item == item)


def check_from_outside(history: Iterable[Record], own: Sequence[Book] = ()) -> Verdict:
    """Check the sales, looks, searches and orders of a history. `own`: books that nobody buys or changes but the

    clients of this history, as they were before its first record; all books of their topics are among them.
    """
    records = list(history)
    writes = [one for one in records if isinstance(one, Write)]
    reads = [one for one in records if isinstance(one, Read)]
    pages = [one for one in records if isinstance(one, Page)]
    orders = [one for one in records if isinstance(one, Orders)]
    asked = _by_key(writes)
    problems = [
        *_answers(asked),
        *_numbers(asked),
        *_versions(reads),
        *(problem for book in own for problem in _stock(book, asked, reads)),
        *_lists(pages, own),
        *_told_orders(orders, asked, {book.item for book in own}),
    ]
    unknown = sum(write.answered is None for write in writes)
    return Verdict(tuple(problems), len(writes), len(reads) + len(pages) + len(orders), unknown, 0)


def _by_key(writes: Iterable[Write]) -> list[Asked]:
    found: dict[str, Asked] = {}
    for write in writes:
        assert isinstance(write.operation, Sell), "from outside only sales are checked"
        told = () if write.outcome is None else (write.outcome,)
        one = found.get(write.op_id, Asked(write.op_id, write.operation, write.invoked, None, ()))
        answers = [moment for moment in (one.answered, write.answered) if moment is not None]
        found[write.op_id] = one._replace(
            invoked=min(one.invoked, write.invoked),
            answered=min(answers, default=None),
            outcomes=tuple(dict.fromkeys((*one.outcomes, *told))),
        )
    return list(found.values())


def _answers(asked: Iterable[Asked]) -> Iterator[str]:
    for one in asked:
        if len(one.outcomes) > 1:
            yield f"{one.op_id} was answered {one.outcomes[0]} and {one.outcomes[1]}"
        if one.order is not None:
            ordered = [(line.item, line.quantity) for line in one.order.lines]
            if ordered != [(line.item, line.quantity) for line in one.operation.lines]:
                yield f"{one.op_id} asked for {one.operation.lines}, and was answered {one.order}"


def _numbers(asked: Iterable[Asked]) -> Iterator[str]:
    """One number for one sale, and who came after another was answered has the higher one."""
    holders: dict[int, str] = {}
    ordered = [(one, one.order.order_id) for one in asked if one.order is not None]
    for one, number in ordered:
        if (other := holders.setdefault(number, one.op_id)) != one.op_id:
            yield f"order {number} was given to {other} and to {one.op_id}"
    for (one, number), before in _after(ordered, lambda pair: pair[0], lambda pair: pair[1]):
        if before > number:
            yield f"{one.op_id} became order {number}, although order {before} was answered before it was asked"


def _versions(reads: Iterable[Read]) -> Iterator[str]:
    """Who looks after another was answered sees no older version; each version is the same to all."""
    by_item: dict[int, list[Read]] = {}
    for read in reads:
        by_item.setdefault(read.item, []).append(read)
    for item, looks in by_item.items():
        seen: dict[object, Book | None] = {}
        for read in looks:
            if read.version is not None and seen.setdefault(read.version, read.book) != read.book:
                yield f"book {item} at {read.version} was shown as {seen[read.version]} and as {read.book}"
        there = [read for read in looks if read.version is not None]
        for read, before in _after(there, lambda one: one, lambda one: one.version):
            if read.version is not None and before > read.version:
                yield f"{read.client} was shown book {item} at {read.version}, after {before} had been shown"


def _after(
    events: Sequence[Any], span: Callable[[Any], Asked | Read], value: Callable[[Any], Any]
) -> Iterator[tuple[Any, Any]]:
    """Each event that began after others had ended, with the greatest value of those."""
    spans = [(span(one), value(one)) for one in events]
    ended = sorted((its.answered, number) for its, number in spans if its.answered is not None)
    ends = [moment for moment, _ in ended]
    greatest = list(accumulate((number for _, number in ended), max))
    for one in events:
        if before := bisect_left(ends, span(one).invoked):
            yield one, greatest[before - 1]


def _stock(book: Book, asked: Sequence[Asked], reads: Iterable[Read]) -> Iterator[str]:
    """What is left of a book, whenever it is shown, is what was there without what had been sold by then."""
    sales = [one for one in asked if one.copies(book.item)]
    sure = _Sum((one.answered, one.copies(book.item)) for one in sales if one.order is not None)
    most = _Sum((one.invoked, one.copies(book.item)) for one in sales if one.order is not None or one.open)
    if sure.all > book.count:
        yield f"{sure.all} copies of book {book.item} were sold, of {book.count}"
    for read in reads:
        if read.item != book.item:
            continue
        if read.book is None:
            yield f"{read.client} was told that there is no book {book.item}"
            continue
        least, greatest = book.count - most.until(read.answered), book.count - sure.until(read.invoked)
        if not least <= read.book.count <= greatest:
            yield (
                f"{read.client} was shown {read.book.count} copies of book {book.item},"
                f" when there were {least}" + (f" to {greatest}" if least != greatest else "")
            )
    for one in sales:
        if one.answered is not None and any(isinstance(told, SoldOut) for told in one.outcomes):
            left = book.count - most.until(one.answered)
            if len(one.operation.lines) == 1 and left >= one.copies(book.item):
                yield f"{one.op_id} was told that book {book.item} is sold out, when {left} were left"


class _Sum:
    """How much had come by any moment."""

    def __init__(self, what: Iterable[tuple[float | None, int]]) -> None:
        ordered = sorted((moment, amount) for moment, amount in what if moment is not None)
        self._moments = [moment for moment, _ in ordered]
        self._sums = [0, *accumulate(amount for _, amount in ordered)]
        self.all = self._sums[-1]

    def until(self, moment: float) -> int:
        """What came before that moment."""
        return self._sums[bisect_left(self._moments, moment)]


def _lists(pages: Iterable[Page], own: Sequence[Book]) -> Iterator[str]:
    topics = {book.topic for book in own}
    for page in pages:
        if page.topic in topics and not page.after and not page.more:
            there = tuple(sorted((book.item, book.title) for book in own if book.topic == page.topic))
            if page.books != there:
                yield f"{page.client} searched for {page.topic} and was shown {page.books}, not {there}"


def _told_orders(pages: Iterable[Orders], asked: Sequence[Asked], own: set[int]) -> Iterator[str]:
    """The shopkeeper's list: numbers without gaps, every order that was answered, and none of these books besides."""
    wanted = {one.order.order_id: one.order for one in asked if one.order is not None}
    unanswered = sum(one.open for one in asked)
    found: dict[int, Order] = {}
    for page in pages:
        numbers = [order.order_id for order in page.orders]
        if numbers != list(range(page.after + 1, page.after + len(numbers) + 1)):
            yield f"the orders after {page.after} are numbered {numbers[:3]}..., which is not without gaps"
        found |= {order.order_id: order for order in page.orders}
        for number in range(page.after + 1, page.after + len(numbers) + 1):
            if number in wanted and found.get(number) != wanted[number]:
                yield f"order {number} was answered as {wanted[number]}, and is told as {found.get(number)}"
    if found:
        if lost := sorted(number for number in wanted if number >= min(found) and number not in found):
            yield f"orders that were answered are not there: {lost[:5]}"
        others = [one for one in found.values() if one.order_id not in wanted and _of(one) & own]
        if len(others) > unanswered:
            yield f"{len(others)} orders of these books are nobody's: {[one.order_id for one in others[:5]]}"


def _of(order: Order) -> set[int]:
    return {line.item for line in order.lines}
