"""Copies that differ under equal versions: found within a heartbeat, one of them stops, the other one serves on."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from pygmy.messages.operations import Line, Sell
from pygmy.messages.replication import Heartbeat
from pygmy.replication.effects import Note
from pygmy.replication.log import Diverged
from tests.support.cluster import MemoryCluster
from tests.support.processes import Processes
from tests.support.rewriting import rewrite
from tests.test_replication import ONE, opened

HEARTBEAT = 0.25


@pytest.fixture
def store() -> Iterator[MemoryCluster]:
    """A store that has sold a few books and was closed, as by a power cut."""
    cluster = MemoryCluster()
    for number in range(5):
        assert cluster.buy(1, f"k{number}").status == 200
    cluster.advance(2)
    cluster.kill(*cluster.nodes)
    yield cluster
    for node in cluster.nodes.values():
        node.failures.clear()
    cluster.close()


@pytest.mark.parametrize("seq", [1, 3, 6])
@pytest.mark.parametrize("changed", ["catalog-0", "catalog-1"])
def test_a_copy_that_differs_anywhere_is_found_one_heartbeat_after_it_came_into_a_view(
    store: MemoryCluster, changed: str, seq: int
) -> None:
    """The last hash vouches for all of the log; versions and rows are the same in both."""
    rewrite(store.nodes[changed].path, seq)
    store.boot(*store.nodes)
    store.until(lambda: store.running("catalog-0"), "there is a view")  # of both: each was a source
    store.advance(HEARTBEAT + 0.01)
    assert store.modes()["catalog-0"] == "RUNNING", "the leader goes on"
    assert store.modes()["catalog-1"] == "DOWN"
    (failure,) = store.nodes["catalog-1"].failures
    assert failure.check(Diverged)
    assert str(failure.value).startswith("the copies have diverged: batch 1-6 has the hash ")
    store.until(lambda: store.buy(1).status == 200, "the one that is left sells")


def test_a_learner_whose_history_is_another_one_stops_before_it_asks_to_join(store: MemoryCluster) -> None:
    rewrite(store.nodes["catalog-1"].path, 2)
    store.boot("catalog-0", "order-0", "order-1", "frontend-0")
    store.until(lambda: store.buy(1).status == 200, "it sells without catalog-1")
    store.boot("catalog-1")
    store.until(lambda: store.nodes["catalog-1"].failures, "catalog-1 stops")
    (failure,) = store.nodes["catalog-1"].failures
    assert failure.check(Diverged)
    assert store.running("catalog-0")


def test_the_owner_of_another_history_stops_and_not_the_leader_that_it_writes_to() -> None:
    """It is a batch ahead, which nobody takes; the leader's heartbeat names the batch before that."""
    net = opened()
    a, b = net["a"], net["b"]
    assert net.write("b", "mine") is not None, "b owns the log"
    b.log._batches[-1] = replace(b.log._batches[-1], hash="f" * 32)
    b.submit(Sell((Line(1, 1),)), "ahead")
    net.settle()
    assert b.log.head[1] == a.log.head[1] + 1, "the leader has not taken it, nor stopped"
    with pytest.raises(Diverged, match="at a, which leads"):
        b.replica.receive("a", Heartbeat(1, 1, a.log.head, a.log.head_hash, net.now), *net.time)


def test_a_sound_follower_does_not_stop_for_one_that_is_not() -> None:
    """Of three the odd one is found by the leader: neither it nor the other one stops, and it gets no lease."""
    net = opened("abc")
    a, c = net["a"], net["c"]
    odd = Heartbeat(1, 1, a.log.head, "f" * 32, net.now)
    granted = a.granted
    net.now += 0.01
    c.give(c.replica.receive("b", odd, *net.time))
    a.give(a.replica.receive("b", odd, *net.time))
    assert a.granted == granted
    (note,) = [effect for effect in a.effects if isinstance(effect, Note) and "diverged" in effect.text]
    assert note.text.endswith(" at b, which has to stop")
    net.settle()
    assert isinstance(net.write("a", "k", ONE).at, int)


def test_a_process_whose_copy_differs_ends_with_70_and_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    store = Processes(tmp_path)
    try:
        store.start()
        store.await_whole()
        for number in range(3):
            assert store.post("frontend-0", "/books/1", None, {"Idempotency-Key": f"k{number}"}).status == 200
        store.kill9("catalog-0", "catalog-1")
        rewrite(store.data / "catalog-1" / "catalog.sqlite", 2)
        mark = store.mark("catalog-1")
        store.start("catalog-0", "catalog-1")
        assert store.ended("catalog-1") == 70
        lines = [line for line in store.log("catalog-1", mark).splitlines() if "diverged" in line]
        assert len(lines) == 1, lines
        assert "catalog-1 stops at once: the copies have diverged: batch " in lines[0]
        assert f"move {store.data / 'catalog-1' / 'catalog.sqlite'}* away and start it" in lines[0]
        assert "Traceback" not in store.log("catalog-1", mark)
        store.wait_running("catalog-0")
        assert store.alive("catalog-0")
    finally:
        store.close()
