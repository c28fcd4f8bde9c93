"""Bringing a copy up to date: in pieces of a bounded size, for all to see how far it is, while the tier sells on."""

import os
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from pygmy.ledger import driver
from pygmy.messages.condition import Recovery
from pygmy.messages.operations import Line, NewBook, OpenStock, Sell
from pygmy.messages.replication import Suffix, SuffixRequest
from pygmy.replication import sync
from pygmy.replication.effects import Fetch, Syncing
from pygmy.replication.timing import Timing
from tests.support.cluster import DISK, MemoryCluster
from tests.test_ledger import STOCK as BOOKS
from tests.test_ledger import Rig
from tests.test_ledger import now_of as result_of
from tests.test_replication import ONE, Net, opened

PROGRESS = re.compile(
    r"sync from http://localhost:5000 \(RUNNING\): (\d+) %, batch (\d+) of (\d+), \d+ rows, \d+ bytes, (\d+) ms"
)
DONE = re.compile(r"sync from http://localhost:5000 \(RUNNING\): (\d+) batches, (\d+) rows, (\d+) bytes, (\d+) ms")


def alone(net: Net, writes: int) -> None:
    """b is down; a has written so many batches since."""
    net.kill("b")
    net.until(lambda: net.alone("a"))
    for number in range(writes):
        assert net.write("a", f"k{number}") is not None


# ---- for people


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryCluster]:
    """catalog-1 has lost its disk after 60 sales; one batch fills a chunk."""
    monkeypatch.setattr(sync, "CHUNK_BYTES", 1)
    cluster = MemoryCluster()
    cluster.kill("catalog-1")
    cluster.until(lambda: cluster.buy(1).status == 200, "catalog-0 is alone")
    for _ in range(60):
        assert cluster.buy(1).status == 200
    os.unlink(cluster.nodes["catalog-1"].path)
    yield cluster
    cluster.close()


def test_an_empty_disk_is_filled_with_progress_everywhere_while_the_tier_sells_on(store: MemoryCluster) -> None:
    cluster = store
    cluster.boot("catalog-1")
    cluster.nodes["catalog-1"].disk.seconds = 0.3

    def seen() -> Any:
        nodes = {node["node"]: node for node in cluster.get("frontend-0", "/cluster").json["nodes"]}
        return nodes["catalog-1"]

    cluster.until(lambda: (seen()["progress"] or 0) > 10, "progress at the front end")
    assert (seen()["state"], seen()["progress"] < 100) == ("INIT", True)
    health = cluster.get("catalog-1", "/health")
    recovery = health.json["recovery"]
    assert health.status == 503
    assert re.search(r"It has fetched \d+ %\.$", health.json["message"])
    assert (recovery["from"], recovery["state"], recovery["done"]) == ("catalog-0", "RUNNING", False)
    assert 0 == recovery["first"] < recovery["upto"] == recovery["batches"] < recovery["of"]
    assert cluster.get("catalog-1", "/cluster").json["self"]["recovery"]["upto"] >= recovery["upto"]
    assert metrics(cluster)["pygmy_recovering"] == 1
    assert 0 < metrics(cluster)["pygmy_recovery_upto"] < metrics(cluster)["pygmy_recovery_of"]
    assert cluster.buy(2).status == 200, "the tier sells on"
    cluster.until(lambda: cluster.nodes["catalog-1"].mode != "INIT", "all is fetched")
    cluster.nodes["catalog-1"].disk.seconds = DISK
    cluster.until(cluster.open, "catalog-1 is back")
    told = [(int(found[1]), int(found[4])) for line in cluster.log if (found := PROGRESS.fullmatch(line))]
    assert told, "nothing was logged while it went on"
    assert told == sorted(told)
    assert all(later[1] - earlier[1] >= 1000 for earlier, later in pairwise(told))
    (done,) = [found for line in cluster.log if (found := DONE.fullmatch(line))]
    shown = metrics(cluster)
    assert (shown["pygmy_recoveries_total"] >= 1, shown["pygmy_recovering"]) == (True, 0)
    assert shown["pygmy_recovery_batches_total"] >= int(done[1]) >= 61
    assert shown["pygmy_recovery_bytes_total"] >= int(done[3])
    assert cluster.get("catalog-1", "/health").json["recovery"]["done"] is True
    cluster.until(lambda: seen()["progress"] is None, "no more progress is shown")


def metrics(cluster: MemoryCluster) -> dict[str, float]:
    """What catalog-1 shows, by name."""
    lines = cluster.get("catalog-1", "/metrics").body.decode().splitlines()
    return {line.split()[0]: float(line.split()[1]) for line in lines if line[0] != "#"}


@pytest.mark.parametrize(
    ("first", "upto", "of", "done", "percent"),
    [(0, 0, 100, False, 0), (0, 40, 100, False, 40), (50, 75, 100, False, 50), (0, 100, 100, False, 99),
     (100, 100, 100, True, 100), (7, 7, 7, False, 0)],
)  # fmt: skip
def test_percent_is_of_the_way_that_this_log_has_to_go(
    first: int, upto: int, of: int, done: bool, percent: int
) -> None:
    assert Recovery("a", "RUNNING", 0, 0, 0, 0.0, first, upto, of, done).percent == percent


def test_a_short_recovery_tells_of_its_end_only() -> None:
    net = opened(chunk=1)
    alone(net, 30)
    net["b"].boot()
    net.until(net.full)
    assert not [effect for effect in net["b"].effects if isinstance(effect, Syncing)]


# ---- bounds


def test_no_answer_is_longer_than_a_request_may_be_however_large_the_baskets() -> None:
    """Refused by the other side as too large, it would be sent again for ever."""
    net = opened()
    net.kill("b")
    net.until(lambda: net.alone("a"))
    books = OpenStock(tuple(NewBook(f"Book {n}", "t", 1, 10**6, n) for n in range(1000, 1050)), "more")
    basket = Sell(tuple(Line(n, 1) for n in range(1000, 1050)), True)
    assert net.write("a", "books", books) is not None
    for number in range(300):
        assert net.write("a", f"b{number}", basket) is not None
    net["b"].boot()
    net.until(net.full)
    sizes = [len(msgspec.json.encode(suffix)) for suffix in net["a"].sent(Suffix)]
    assert sum(sizes) > 2 * sync.CHUNK_BYTES
    assert max(sizes) <= sync.CHUNK_BYTES + 10_000
    net.agree()


@pytest.fixture
def rig(tmp_path: Any) -> Iterator[Callable[..., Rig]]:
    made: list[Rig] = []

    def make(timing: Timing) -> Rig:
        made.append(Rig(tmp_path, ("a", "b"), timing))
        made[-1].advance(1)
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_batches_that_fill_a_reading_of_the_disk_alone_do_not_hold_a_learner_up(
    rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names its last two; a reading that ends with those would tell it that its log is another one."""
    monkeypatch.setattr(driver, "FETCH_BYTES", 1)
    pair = rig(Timing(window=2, chunk=1))
    pair.ledgers["a"].execute(BOOKS, "open")
    pair.advance(0.5)
    pair.kill("b")
    pair.advance(2)
    for number in range(12):
        result_of(pair.ledgers["a"].execute(ONE, f"k{number}"))
    b = pair.boot("b")
    pair.advance(6)
    assert not pair.failed
    assert (b.replica.mode, b.replica.log.head) == ("RUNNING", pair.ledgers["a"].replica.log.head)


def test_a_learner_on_a_slow_line_asks_again_ever_later() -> None:
    """Each answer is as long as the first: four a second would fill the line, and then the other node's memory."""
    net = opened()
    alone(net, 3)
    net.lose(Suffix)
    b = net["b"]
    b.boot()
    net.run(8)
    asked = len(b.sent(SuffixRequest))
    assert 2 <= asked <= 5, "0, 1, 3 and 7 s after it began"
    net.lose_nothing()
    net.until(net.full)


def test_a_learner_whose_disk_hangs_fetches_no_more_than_a_few_chunks() -> None:
    net = opened(chunk=1)
    alone(net, 40)
    b = net["b"]
    b.boot()
    b.working = False
    net.run(5)
    assert 1 <= len(b.stores) <= sync.MOST_UNSTORED
    b.working = True
    net.until(net.full)
    net.agree()


def test_old_batches_come_from_the_disk_with_the_seq_that_the_log_ends_with() -> None:
    net = opened(window=4, chunk=8)
    alone(net, 30)
    net["b"].boot()
    net.until(net.full)
    assert [effect for effect in net["a"].effects if isinstance(effect, Fetch)]
    assert {suffix.of for suffix in net["a"].sent(Suffix) if suffix.batches} == {31}
