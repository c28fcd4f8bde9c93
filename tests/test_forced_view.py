"""The last source of a tier is gone for good: an operator has it go on from another copy, knowing what that costs."""

from typing import Any

import pytest

from pygmy.messages.operations import Line, Recorded, RecordForced, Sell, Sold
from pygmy.state.orders import OrderBook
from tests.test_lost_disk import lose_disk
from tests.test_replication import Net, opened


@pytest.fixture
def net() -> Net:
    """b went on alone and sold one copy; then its disk was lost. a has the log up to where it was killed."""
    net = opened()
    net.kill("a")
    net.until(lambda: net.alone("b"))
    assert net.write("b", "sold by b alone") is not None
    net.kill("b")
    lose_disk(net, "b")
    return net


def known(net: Net, name: str = "a") -> tuple[int, int]:
    view = net[name].replica.known
    assert view is not None
    return view.number


def force(net: Net, name: str, expected: tuple[int, int]) -> None:
    net[name].give(net[name].replica.force(expected, *net.time))


def objection(net: Net, name: str) -> str:
    return net[name].replica.cannot_force(known(net, name), net.now)


@pytest.mark.parametrize("emptied_is_back", [False, True])
def test_nobody_goes_on_without_the_last_source_until_an_operator_says_so(net: Net, emptied_is_back: bool) -> None:
    for name in "ab" if emptied_is_back else "a":
        net[name].boot()
    net.run(10)
    assert net["a"].replica.mode == "INIT"
    assert "waits for b" in net["a"].replica.why()
    assert objection(net, "a") == ""
    force(net, "a", known(net))
    net.until(lambda: net["a"].replica.mode == "RUNNING")
    assert net["a"].count() == 100, "what b alone had sold is gone"
    assert isinstance(net.write("a", "more").outcome, Sold)
    if not emptied_is_back:
        net["b"].boot()
    net.until(net.full)
    net.agree()


def test_the_last_source_comes_back_after_all_and_teaches_nobody(net: Net) -> None:
    """Its log has what nobody else has. It must not be merged, nor take part."""
    net = opened()
    net.kill("a")
    net.until(lambda: net.alone("b"))
    for number in range(3):
        net.write("b", f"sold by b alone {number}")
    net.kill("b")
    net["a"].boot()
    net.run(7)
    force(net, "a", known(net))
    net.until(lambda: net.alone("a"))
    net["b"].boot()
    net.run(5)
    assert net["b"].replica.mode == "INIT"
    assert net.alone("a")
    assert net["a"].count() == 100


def test_nothing_is_forced_while_a_source_is_there(net: Net) -> None:
    net = opened()
    assert "there is nothing to force" in objection(net, "a")
    net.kill("a")
    net.until(lambda: net.alone("b"))
    net["a"].boot()
    net.run(0.3)
    assert "b serves" in objection(net, "a")
    before = known(net)
    force(net, "a", before)
    assert known(net)[0] == before[0]
    net.until(net.full)
    for name in "ab":
        net.kill(name)
    for name in "ab":
        net[name].boot()
    net.run(0.05)
    assert "is there" in objection(net, "a")


def test_what_was_looked_at_must_be_what_is_replaced(net: Net) -> None:
    net["a"].boot()
    net.run(10)
    epoch, gen = known(net)
    assert "look again" in net["a"].replica.cannot_force((epoch - 1, gen), net.now)
    force(net, "a", (epoch - 1, gen))
    net.run(2)
    assert net["a"].replica.mode == "INIT"


def test_both_tiers_record_that_it_was_done() -> None:
    record = RecordForced(7, "a", ("b",))
    orders = OrderBook()
    orders.begin()
    assert orders.apply("forced:7", record, 1, (7, 1)) == Recorded()
    assert orders.changes(1) == []
    net = opened()
    answer: Any = net.write("a", "forced:7", record)
    assert answer.outcome == Recorded()
    assert net.write("a", "k", Sell((Line(1, 1),))).outcome.lines[0].left == 99
    net.agree()
