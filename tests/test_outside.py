"""What can be told of a history without the logs: a sound one passes, and each kind of lie is found."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from pygmy.checker.history import Orders, Page, Read, Record, Write
from pygmy.checker.outside import check_from_outside
from pygmy.messages.operations import Book, Line, Order, Ordered, OrderLine, Sell, Short, SoldOut

BOOK = Book(8, "Drill", "drills", 0, 3, 1, 10)
OTHERS = OrderLine(1, 1, 3000)


def order(number: int, item: int = 8) -> Order:
    return Order(number, "", (OrderLine(item, 1, 0),), 0, 1000 * number)


def sale(key: str, at: float, number: int | None) -> Write:
    """A buy of one copy, answered a tenth later (None: never)."""
    write = Write("c", f"c:{key}", Sell((Line(8, 1),)), at)
    if number is None:
        return write
    return replace(write, answered=at + 0.1, outcome=Ordered(order(number)), public=True)


def look(at: float, count: int, seq: int) -> Read:
    return Read("r", 8, at, at + 0.1, (1, seq), replace(BOOK, count=count, seq=seq))


def sound() -> list[Record]:
    """Three sales, the first of them asked for twice, and a fourth buyer who comes too late."""
    late = Write("c", "c:d", Sell((Line(8, 1),)), 4.0, 4.1, SoldOut((Short(8, 0),)))
    told = (replace(order(6), lines=(OTHERS,)), order(7), order(8), order(9))
    return [
        look(0.0, 3, 10),
        sale("a", 1.0, 7),
        sale("a", 1.05, 7),
        look(1.5, 2, 11),
        sale("b", 2.0, 8),
        sale("c", 3.0, 9),
        late,
        look(5.0, 0, 13),
        Page("r", "drills", 0, ((8, "Drill"),), False, 5.0, 5.1),
        Orders("s", 5, told, False, 6.0, 6.1, public=True),
    ]


def test_a_sound_history_passes_and_is_counted() -> None:
    verdict = check_from_outside(sound(), [BOOK])
    assert verdict.problems == ()
    assert (verdict.writes, verdict.reads, verdict.unknown, verdict.logged) == (5, 5, 0, 0)


def test_a_buy_that_was_never_answered_may_have_taken_effect_or_not() -> None:
    unknown = [look(0.0, 3, 10), sale("a", 1.0, None)]
    for count, seq in ((3, 10), (2, 11)):
        assert check_from_outside([*unknown, look(2.0, count, seq)], [BOOK]).ok
    assert not check_from_outside([*unknown, look(2.0, 1, 12)], [BOOK]).ok


def change(number: int, **fields: Any) -> Callable[[list[Record]], None]:
    """One record, otherwise."""

    def lie(history: list[Record]) -> None:
        history[number] = replace(history[number], **fields)  # type: ignore[type-var]

    return lie


def short_list(history: list[Record]) -> None:
    page = history[9]
    assert isinstance(page, Orders)
    history[9] = replace(page, orders=page.orders[:2])


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        (change(2, outcome=Ordered(order(70))), "c:a was answered"),
        (change(4, outcome=Ordered(order(7))), "order 7 was given to c:a and to c:b"),
        (change(4, outcome=Ordered(order(5))), "although order 7 was answered before"),
        (change(1, outcome=Ordered(order(7, item=2))), "asked for"),
        (change(3, book=replace(BOOK, count=3, seq=11)), "shown 3 copies of book 8, when there were 2"),
        (change(7, book=replace(BOOK, count=0, seq=9), version=(1, 9)), "after (1, 11) had been shown"),
        (change(7, book=replace(BOOK, count=0, seq=11), version=(1, 11)), "was shown as"),
        (change(7, book=None, version=None), "there is no book 8"),
        (change(6, invoked=2.5, answered=2.6), "is sold out, when 1 were left"),
        (change(6, outcome=Ordered(order(10))), "4 copies of book 8 were sold, of 3"),
        (change(8, books=()), "searched for drills"),
        (change(9, after=4), "not without gaps"),
        (short_list, "orders that were answered are not there: [8, 9]"),
    ],
)
def test_each_lie_is_found(lie: Callable[[list[Record]], None], said: str) -> None:
    history = sound()
    lie(history)
    problems = check_from_outside(history, [BOOK]).problems
    assert [problem for problem in problems if said in problem], problems


def test_an_order_that_nobody_asked_for_is_found() -> None:
    history = sound()
    page = history[9]
    assert isinstance(page, Orders)
    history[9] = replace(page, orders=(*page.orders, order(10)))
    (problem,) = check_from_outside(history, [BOOK]).problems
    assert "1 orders of these books are nobody's: [10]" in problem
