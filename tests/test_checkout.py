"""Buys of one turn at a front end: one call to the order tier, and an answer to each."""

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.task import Clock

from pygmy.balancing.forwarding import Errand, Reply
from pygmy.errors import Problem, bad_request, key_reused, no_such_book, outcome_unknown, unavailable
from pygmy.messages.internal import Bought, Buy, Keyed, Refused
from pygmy.messages.operations import Line, Order, Ordered, OrderLine, Sell
from pygmy.peers import as_refused
from pygmy.routes.checkout import Checkout
from pygmy.routes.writing import naming

SOLD_OUT = Problem(409, "Out of stock", "There are too few copies.", item=1, count=0)


def ordered(sale: Keyed[Sell]) -> Ordered | Refused:
    (line,) = sale.operation.lines
    return Ordered(Order(line.item, sale.op_id, (OrderLine(line.item, 1, 3000),), 3000, 7))


class Till:
    """A `Checkout`, an order tier that answers `outcome(sale)` of each, and what the buyers have been told."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.errands: list[Errand] = []
        self.outcome: Callable[[Keyed[Sell]], Ordered | Refused] = ordered
        self.problem: Exception | None = None
        self.sure = True
        self.extra = 0
        self.checkout = Checkout(self, self.clock)
        self.told: list[Any] = []

    async def forward(self, errand: Errand, expected: type[Any]) -> Reply[Any]:
        self.errands.append(errand)
        if self.problem is not None:
            raise self.problem
        assert isinstance(errand.body, Buy)
        outcomes = [self.outcome(sale) for sale in errand.body.sales]
        return Reply("order-0", Bought(tuple((outcomes + outcomes)[: len(outcomes) + self.extra])), self.sure)

    def buy(self, *items: int) -> list[Any]:
        """What each is told, in this order: an order, or an error."""
        told = [self.checkout.buy(f"POST /books/{item}", keyed(item)) for item in items]
        self.clock.advance(0)
        return [getattr(one.addErrback(lambda f: f.value), "result", None) for one in told]


def keyed(item: int) -> Keyed[Sell]:
    return Keyed(f"c:{item}", Sell((Line(item, 1),)), f"r-{item}")


@pytest.fixture
def till() -> Till:
    return Till()


def test_buys_of_one_turn_are_one_call_and_each_gets_its_order(till: Till) -> None:
    assert [order.op_id for order in till.buy(3, 1, 2)] == ["c:3", "c:1", "c:2"]
    (errand,) = till.errands
    assert errand == Errand(tuple((f"POST /books/{n}", f"r-{n}") for n in (3, 1, 2)), errand.body, write=True)
    assert errand.body == Buy((keyed(3), keyed(1), keyed(2)))
    till.buy(4)
    assert len(till.errands) == 2


def test_hundreds_go_in_parts_that_an_order_server_sells_at_once(till: Till) -> None:
    orders = till.buy(*range(1, 601))
    assert [order.order_id for order in orders] == list(range(1, 601))
    assert [len(errand.requests) for errand in till.errands] == [256, 256, 88]


def test_each_is_refused_for_itself(till: Till) -> None:
    till.outcome = lambda sale: as_refused(SOLD_OUT) if sale.op_id == "c:2" else ordered(sale)
    first, second, third = till.buy(1, 2, 3)
    assert (first.order_id, third.order_id) == (1, 3)
    assert (second.status, second.extra) == (409, {"item": 1, "count": 0})


@pytest.mark.parametrize(
    ("problem", "status"),
    [
        (SOLD_OUT, 409),
        (key_reused(), 422),
        (bad_request("Expected less."), 400),
        (no_such_book((1,)), 503),
        (unavailable("In SYNC."), 503),
        (outcome_unknown("Lost."), 503),
    ],
)
def test_only_what_is_settled_is_a_refusal_while_an_earlier_try_may_be_under_way(
    till: Till, problem: Problem, status: int
) -> None:
    till.outcome = lambda sale: as_refused(problem)
    assert till.buy(1)[0].status == problem.status
    till.sure = False
    (told,) = till.buy(1)
    assert (told.status, told.outcome_unknown) == (status, status == 503)


@pytest.mark.parametrize("problem", [unavailable("No order server."), outcome_unknown("order-0: timeout")])
def test_what_goes_wrong_for_all_is_told_to_each_with_its_own_key(till: Till, problem: Problem) -> None:
    till.problem = problem
    told = [naming(key, one) for key, one in zip("ab", till.buy(1, 2), strict=True)]
    assert [one.status for one in told] == [503, 503]
    assert [one.extra.get("idempotency_key") for one in told] == (
        ["a", "b"] if problem.outcome_unknown else [None] * 2
    )
    assert "key" not in problem.detail.lower()


@pytest.mark.parametrize("extra", [-1, 1])
def test_an_answer_that_does_not_fit_settles_nothing(till: Till, extra: int) -> None:
    till.extra = extra
    assert [(one.status, one.outcome_unknown) for one in till.buy(1, 2)] == [(503, True)] * 2


def test_a_bug_is_each_one_s_failure(till: Till) -> None:
    till.problem = ZeroDivisionError()
    assert [type(one) for one in till.buy(1, 2)] == [ZeroDivisionError] * 2
