"""kill -9 at every single call to the disk of a commit: what was acknowledged is there, and nothing by half."""

import itertools
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from pygmy.cluster import Role
from pygmy.messages.operations import Tier
from pygmy.messages.replication import Batch, View
from tests.support import disk_trace
from tests.support.customers import PLENTY, customer
from tests.support.disk_images import NOTES
from tests.support.disk_plans import Commit, SaveView, Start
from tests.support.disk_replica import EVERYTHING, ReplicaWorkload
from tests.support.disk_runs import Runs, memory_directory
from tests.support.disk_trace import Moment
from tests.support.inline_store import inline_store, now_of
from tests.support.processes import Crowd, Processes, processes

SEED = 626
STEPS = 6


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return disk_trace.built(tmp_path_factory.mktemp("tracer"))


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    with memory_directory(tmp_path) as place:
        yield place


# ---- databases, from their first moment on


def killed_at_each_call(runs: Runs, moment: Moment) -> Iterator[str | None]:
    """For each call what is wrong after a kill there (None: nothing), and after no kill in the end."""
    with runs.lives() as live:
        for call in itertools.count(1):
            code = live(runs.place, call, moment)
            assert code in (0, -signal.SIGKILL)
            notes = runs.place / NOTES
            wrong = runs.wrong(runs.place, notes.read_bytes() if notes.exists() else b"")
            yield wrong and f"{moment} call {call}: {wrong}"
            shutil.rmtree(runs.place)
            if not code:
                return


@pytest.mark.parametrize(
    ("name", "moment"),
    [("catalog", "before"), ("catalog", "during"), ("order", "before"), ("voter", "before"), ("voter", "during")],
)
def test_a_kill_at_any_call_loses_nothing_and_leaves_nothing_by_half(
    library: Path, directory: Path, name: str, moment: Moment
) -> None:
    """Before each call is after the one before it, and the last run is not killed."""
    found = list(killed_at_each_call(Runs(library, directory, name, SEED, STEPS), moment))
    assert [wrong for wrong in found if wrong] == []
    assert len(found) > 10 * STEPS


@pytest.mark.parametrize("tier", ["catalog", "order"])
def test_those_few_steps_are_of_all_kinds(tier: Tier) -> None:
    steps = ReplicaWorkload(tier, SEED, STEPS).steps
    assert {type(step) for step in steps} == {Commit, SaveView, Start}
    head, dropped = 0, 0
    for step in steps:
        if isinstance(step, Commit):
            dropped += step.cut <= head
            head = step.cut - 1 + len(step.batches)
    assert dropped
    assert head > 1


@pytest.mark.parametrize("bug", ["no transaction", "acknowledged before COMMIT"])
def test_a_store_that_commits_in_the_wrong_way_is_caught(library: Path, directory: Path, bug: str) -> None:
    assert any(killed_at_each_call(Runs(library, directory, "catalog", SEED, STEPS, bug=bug), "before"))


# ---- a catalog among buyers

VICTIM = "catalog-0"
CALLS = range(1, 30, 3)  # a commit is about 20 calls
MOMENTS: tuple[Moment, ...] = ("before", "during", "unflushed")
BOOK = {"id": 1, "title": "Book 1", "topic": "a topic", "cost": 10, "count": PLENTY}


class Left(NamedTuple):
    """What a dead catalog has left on its disk."""

    log: tuple[Batch, ...]
    view: View | None


def left_by(store: Processes, name: str, copy: Path) -> Left:
    """A copy is opened, as opening a database changes it."""
    copy.mkdir()
    for file in (store.data / name).glob("catalog.sqlite*"):
        shutil.copy(file, copy)
    database = inline_store(copy / "catalog.sqlite", "catalog")
    left = Left(now_of(database.batches(1, EVERYTHING, EVERYTHING)), now_of(database.boot()).view)
    now_of(database.close())
    shutil.rmtree(copy)
    return left


def kill_in_a_commit(store: Processes, library: Path, call: int, moment: Moment, crowd: Crowd) -> None:
    """Start the victim, which ends at that call to its database, counted from some time when it serves the crowd."""
    armed = store.directory / f"armed-{call}"
    below = str(store.data / VICTIM / "catalog.sqlite")
    watched = disk_trace.environment(library, below, kill=call, moment=moment, armed=armed)
    store.adopt(VICTIM, store.launch(VICTIM, **watched))
    store.wait_running(VICTIM)
    crowd.reaches(4)
    armed.touch()
    assert store.ended(VICTIM) == -signal.SIGKILL


def vouched_for(left: Left, log: tuple[Batch, ...]) -> tuple[Batch, ...]:
    """What must be among it: of its view's batches all but the last, whose acknowledgement it may not have given."""
    if left.view is None or VICTIM not in left.view.members:
        return ()
    return tuple(batch for batch in log if batch.epoch == left.view.epoch)[:-1]


def test_a_catalog_killed_at_any_call_of_a_commit_has_all_that_it_vouched_for(
    library: Path, directory: Path, tmp_path: Path
) -> None:
    """In its own file, before the others make up for what it lacks; and they and it agree in the end."""
    left = []
    with processes(tmp_path, books=[BOOK]) as store:
        with Crowd([customer(store, 1)] * 4) as crowd:
            store.kill9(VICTIM)
            for call, moment in zip(CALLS, itertools.cycle(MOMENTS), strict=False):
                kill_in_a_commit(store, library, call, moment, crowd)
                left.append(left_by(store, VICTIM, directory / "copy"))
            store.start(VICTIM)
            store.wait_running(VICTIM)
            crowd.reaches(4)
            bought = dict(crowd.stop())
        store.await_whole()
        store.tables_agree(Role.CATALOG)
        store.tables_agree(Role.ORDER)
        assert {order["OrderId"] for order in store.orders()} == set(bought.values())
        assert store.count(1) == PLENTY - len(bought)
        for node in store.cluster.catalogs:
            store.kill9(node.name)
        logs = [left_by(store, node.name, directory / "copy").log for node in store.cluster.catalogs]
    log = logs[0]
    assert all(other == log for other in logs)
    assert {f"c:{key}" for key in bought} <= {entry.op_id for batch in log for entry in batch.entries}
    for one in left:
        assert one.log[:-1] == log[: len(one.log) - 1], "more than the last batch was not chosen"
        assert one.log[-1] in log or one.log[-1].version not in {batch.version for batch in log}, "half a batch"
        assert set(vouched_for(one, log)) <= set(one.log)
    assert sum(bool(vouched_for(one, log)) for one in left) > len(left) / 2
