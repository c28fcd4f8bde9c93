"""Buys that come together: one call to a catalog, one batch of orders, and an answer to each."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock

from pygmy.balancing.forwarding import Errand, Reply
from pygmy.buying import Buying
from pygmy.errors import Problem, outcome_unknown, unavailable
from pygmy.messages.internal import Bought, Buy, Execute, Executed, Keyed, Refused
from pygmy.messages.operations import (
    Line,
    NoSuchBook,
    Operation,
    Order,
    Ordered,
    OrderLine,
    RecordOrder,
    Result,
    Reused,
    Sell,
    Short,
    Sold,
    SoldLine,
    SoldOut,
)

AT = 1_700_000_000_000


class Catalogs:
    """The catalog tier: what it was asked, and what it answers to each sale (an outcome, or a Problem for all)."""

    def __init__(self) -> None:
        self.errands: list[Errand] = []
        self.outcome: Callable[[Sell], Any] = sold
        self.problem: Problem | None = None
        self.sure = True

    async def forward(self, errand: Errand, expected: type[Any]) -> Reply[Any]:
        assert expected is Executed
        assert isinstance(errand.body, Execute)
        self.errands.append(errand)
        if self.problem is not None:
            raise self.problem
        results = [result_of(self.outcome(one.operation), 7) for one in errand.body.operations]  # type: ignore[arg-type]
        return Reply("catalog-0", Executed(tuple(results)), self.sure)


class Orders:
    """The order tier's ledger, in memory."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.found: list[list[str]] = []
        self.known: dict[str, Result] = {}
        self.problem: Problem | None = None
        self.silent = False

    async def find(self, *op_ids: str) -> list[Result | None]:
        self.found.append(list(op_ids))
        return [self.known.get(op_id) for op_id in op_ids]

    def execute_all(self, operations: Sequence[tuple[str, Operation]]) -> Deferred[list[Result]]:
        self.batches.append([op_id for op_id, _ in operations])
        if self.problem is not None:
            return fail(self.problem)
        answer: Deferred[list[Result]] = Deferred()
        if not self.silent:
            answer.callback([self._write(op_id, operation) for op_id, operation in operations])
        return answer

    def _write(self, op_id: str, operation: Operation) -> Result:
        assert isinstance(operation, RecordOrder)
        if op_id not in self.known:
            order = Order(
                len(self.known) + 1, op_id, operation.lines, operation.total, operation.at, operation.basket
            )
            self.known[op_id] = result_of(Ordered(order), 3)
        return self.known[op_id]


def result_of(outcome: Any, seq: int) -> Result:
    return Result(outcome, AT, 1, 0 if isinstance(outcome, NoSuchBook | Reused) else seq)


def sold(sell: Sell) -> Sold:
    lines = tuple(SoldLine(line.item, line.quantity, 3000, 9) for line in sell.lines)
    return Sold(lines, 3000 * sum(line.quantity for line in sell.lines))


def keyed(key: str, item: int = 1) -> Keyed[Sell]:
    return Keyed(key, Sell((Line(item, 2),)), f"r-{key}")


def the_one(told: Any) -> Any:
    if not isinstance(told, Bought):
        return told
    (outcome,) = told.outcomes
    return outcome


class Desk:
    """An order server's `Buying`, and what it has answered so far, by key."""

    def __init__(self) -> None:
        self.clock, self.catalogs, self.orders = Clock(), Catalogs(), Orders()
        ledger: Any = self.orders
        catalogs: Any = self.catalogs
        self.buying = Buying(ledger, catalogs, self.clock)
        self.told: dict[str, list[Any]] = {}

    def ask(self, *keys: str, item: int = 1) -> None:
        """A call for each."""
        for key in keys:
            asked: Any = self.buying.buy(Buy((keyed(key, item),))).addErrback(lambda f: f.value)
            asked.addCallback(lambda told, key=key: self.told.setdefault(key, []).append(the_one(told)))

    def told_now(self, *keys: str, item: int = 1) -> dict[str, list[Any]]:
        self.ask(*keys, item=item)
        self.clock.advance(0)
        return self.told


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_buys_of_one_turn_are_one_search_one_sale_call_and_one_batch(desk: Desk) -> None:
    told = desk.told_now("a", "b", "c")
    assert {key: answers[0].order.order_id for key, answers in told.items()} == {"a": 1, "b": 2, "c": 3}
    assert told["b"] == [Ordered(Order(2, "b", (OrderLine(1, 2, 3000),), 6000, AT))]
    assert (desk.orders.found, desk.orders.batches) == ([["a", "b", "c"]], [["a", "b", "c"]])
    (errand,) = desk.catalogs.errands
    assert errand.requests == (("SELL 2x1", "r-a"), ("SELL 2x1", "r-b"), ("SELL 2x1", "r-c"))
    assert errand.write
    assert isinstance(errand.body, Execute)
    assert [(one.op_id, one.request_id) for one in errand.body.operations] == [(k, f"r-{k}") for k in "abc"]
    desk.told_now("d")
    assert len(desk.catalogs.errands) == 2


def test_hundreds_go_in_parts_that_fit_a_batch(desk: Desk) -> None:
    keys = [f"k{number}" for number in range(600)]
    told = desk.told_now(*keys)
    assert [len(batch) for batch in desk.orders.batches] == [256, 256, 88]
    assert sorted(answers[0].order.order_id for answers in told.values()) == list(range(1, 601))


def test_a_call_of_several_is_answered_in_their_order(desk: Desk) -> None:
    desk.told_now("b")
    desk.catalogs.outcome = lambda sell: NoSuchBook((9,)) if sell.lines[0].item == 9 else sold(sell)
    answers = [desk.buying.buy(Buy(tuple(keyed(key, item) for key, item in call))) for call in CALLS]
    desk.clock.advance(0)
    assert desk.orders.batches == [["b"], ["a", "d", "e"]]
    first, second = (answer.result for answer in answers)
    assert isinstance(first, Bought)
    assert isinstance(second, Bought)
    refused = first.outcomes[2]
    assert isinstance(refused, Refused)
    assert (refused.status, refused.detail) == (404, "There is no book 9.")
    orders = [one.order.op_id for one in (*first.outcomes, *second.outcomes) if isinstance(one, Ordered)]
    assert orders == ["a", "b", "d", "e"]


CALLS = [[("a", 1), ("b", 1), ("c", 9), ("d", 2)], [("e", 1)]]


def test_calls_are_not_cut(desk: Desk) -> None:
    for call in (200, 56, 1, 300, 10):
        desk.buying.buy(Buy(tuple(keyed(f"{call}-{number}") for number in range(call))))
    desk.clock.advance(0)
    assert [len(batch) for batch in desk.orders.batches] == [256, 1, 300, 10]


def test_each_is_refused_for_itself(desk: Desk) -> None:
    outcomes = {1: sold, 2: lambda _: SoldOut((Short(2, 1),)), 3: lambda _: NoSuchBook((3,)), 4: lambda _: Reused()}
    desk.catalogs.outcome = lambda sell: outcomes[sell.lines[0].item](sell)
    for key, item in (("a", 1), ("b", 2), ("c", 3), ("d", 4), ("e", 1)):
        desk.ask(key, item=item)
    desk.clock.advance(0)
    assert [desk.told[key][0].status for key in "bcd"] == [409, 404, 422]
    assert [desk.told[key][0].order.order_id for key in "ae"] == [1, 2]
    assert desk.orders.batches == [["a", "e"]]


def test_where_all_are_refused_nothing_is_written(desk: Desk) -> None:
    desk.catalogs.outcome = lambda _: SoldOut((Short(1, 0),))
    assert [answers[0].status for answers in desk.told_now("a", "b").values()] == [409, 409]
    assert not desk.orders.batches


def test_a_refusal_without_a_record_settles_nothing_while_an_earlier_try_may_be_under_way(desk: Desk) -> None:
    outcomes = {1: NoSuchBook((1,)), 2: SoldOut((Short(2, 0),)), 3: Reused()}
    desk.catalogs.outcome = lambda sell: outcomes[sell.lines[0].item]
    desk.catalogs.sure = False
    for key, item in (("a", 1), ("b", 2), ("c", 3)):
        desk.ask(key, item=item)
    desk.clock.advance(0)
    told = {key: answers[0] for key, answers in desk.told.items()}
    assert (told["a"].status, told["a"].outcome_unknown) == (503, True)
    assert (told["b"].status, told["c"].status) == (409, 422)


def test_what_goes_wrong_at_the_catalogs_goes_wrong_for_all_of_them(desk: Desk) -> None:
    desk.catalogs.problem = unavailable("No catalog.")
    for (problem,) in desk.told_now("a", "b").values():
        assert (problem.status, problem.detail, problem.retry_after) == (503, "No catalog.", 1)
    desk.catalogs.problem = outcome_unknown("catalog-0: timeout")
    for problem in [answers[1] for answers in desk.told_now("a", "b").values()]:
        assert (problem.status, problem.outcome_unknown) == (503, True)
    assert not desk.orders.batches


@pytest.mark.parametrize("silent", [True, False])
def test_what_is_sold_and_has_no_order_is_unknown(desk: Desk, silent: bool) -> None:
    desk.orders.silent = silent
    desk.orders.problem = None if silent else unavailable("This copy does not serve.")
    desk.told_now("a", "b")
    desk.clock.advance(3)
    assert [(desk.told[key][0].status, desk.told[key][0].outcome_unknown) for key in "ab"] == [(503, True)] * 2
    assert "sold" in desk.told["a"][0].detail


def test_one_that_has_its_order_gets_it_again_and_sells_nothing(desk: Desk) -> None:
    first = desk.told_now("a")["a"][0]
    desk.told_now("a", "b")
    assert desk.told["a"] == [first, first]
    assert desk.orders.batches == [["a"], ["b"]]
    assert desk.told_now("a", item=2)["a"][2].status == 422
    assert len(desk.catalogs.errands) == 2


def test_the_same_buy_twice_in_one_turn_is_one_order(desk: Desk) -> None:
    told = desk.told_now("a", "a")
    assert told["a"][0] == told["a"][1]
    assert len(desk.orders.known) == 1


def test_an_answer_that_does_not_fit_is_nobody_s_success(desk: Desk) -> None:
    """A catalog that leaves one out: each buy gets an error, of unknown outcome to whoever asked."""

    async def short(errand: Errand, expected: type[Any]) -> Reply[Any]:
        return Reply("catalog-0", Executed((result_of(sold(Sell((Line(1, 2),))), 7),)))

    desk.catalogs.forward = short  # type: ignore[method-assign]
    told = desk.told_now("a", "b")
    assert [type(answers[0]) for answers in told.values()] == [ValueError, ValueError]
    assert not desk.orders.batches
