"""A replica that comes back with an empty disk, under its old name: it must learn, never teach."""

import pytest

from tests.test_replication import Net, opened


def lose_disk(net: Net, name: str) -> None:
    """Its machine is gone for good; a new one takes its place, whose incarnations count on from the wall clock."""
    node = net[name]
    net.kill(name)
    node.disk, node.view, node.member = [], None, False
    node.incarnation += 1000


@pytest.mark.parametrize("lost", ["a", "b"])
def test_a_lost_disk_is_filled_from_the_others(lost: str) -> None:
    net = opened()
    lose_disk(net, lost)
    net[lost].boot()
    net.until(net.full)
    assert [node.count() for node in net.nodes.values()] == [100, 100]
    net.agree()


@pytest.mark.parametrize("lost", ["a", "b", "c"])
def test_after_a_power_cut_the_tier_starts_from_the_disks_that_are_left(lost: str) -> None:
    """By name the emptied node is a source; started as one it would make everyone else forget."""
    net = opened("abc")
    assert net.write("a", "sale") is not None
    for name in "abc":
        net.kill(name)
    lose_disk(net, lost)
    for name in "abc":
        net[name].boot()
    net.until(net.full)
    assert [node.count() for node in net.nodes.values()] == [99, 99, 99]
    net.agree()


def test_an_emptied_node_is_one_until_it_has_taken_part_again() -> None:
    """It has heard of the view, and starts once more, before the others are there."""
    net = opened()
    for name in "ab":
        net.kill(name)
    lose_disk(net, "a")
    net["a"].boot()
    net.run(1)
    net.kill("a")
    for name in "ab":
        net[name].boot()
    net.until(net.full)
    assert [node.count() for node in net.nodes.values()] == [100, 100]


def test_an_emptied_node_that_finds_nobody_waits() -> None:
    net = opened()
    net.kill("b")
    lose_disk(net, "a")
    net["a"].boot()
    net.run(15)
    assert net["a"].replica.mode == "INIT"
    net["b"].boot()
    net.until(net.full)
    assert net["a"].count() == 100


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_a_lost_last_source_does_not_make_the_others_forget(order: str) -> None:
    """It is the view's only source, and has nothing; another copy has nearly everything."""
    net = opened()
    net.kill("a")
    net.until(lambda: net.alone("b"))
    net.kill("b")
    lose_disk(net, "b")
    for name in order:
        net[name].boot()
        net.run(0.1)
    net.run(10)
    assert net.modes() == "INIT INIT"
    assert net["a"].count() == 100


def test_if_every_disk_was_lost_nothing_was_acknowledged_by_those_that_are_here() -> None:
    """As when the power fails while the first view is born: no disk has heard of it, and none holds anything."""
    net = opened()
    for name in "ab":
        lose_disk(net, name)
    for name in "ab":
        net[name].boot()
    net.until(net.running)
    net.agree()
