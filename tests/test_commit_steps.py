"""kill -9 at every single call to the disk of a database's life: what was acknowledged is there, and nothing by half.

The life is a short workload: a new database, commits, dropped batches, views, checkpoints, restarts.
"""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import disk_trace
from tests.support.disk_images import NOTES
from tests.support.disk_runs import Runs, memory_directory
from tests.support.disk_trace import Moment
from tests.support.disk_workloads import WORKLOADS

SEED = 1
STEPS = 12


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return disk_trace.built(tmp_path_factory.mktemp("tracer"))


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    with memory_directory(tmp_path) as place:
        yield place


def damage(runs: Runs, moment: Moment) -> tuple[int, list[str]]:
    """How many calls there are, and what is wrong after a kill at each of them."""
    found = []
    call = 0
    with runs.lives() as live:
        while True:
            call += 1
            code = live(runs.place, call, moment)
            notes = runs.place / NOTES
            wrong = runs.wrong(runs.place, notes.read_bytes() if notes.exists() else b"")
            if wrong:
                found.append(f"{moment} call {call}: {wrong}")
            shutil.rmtree(runs.place)
            if not code:
                return call, found
            assert code == -signal.SIGKILL


@pytest.mark.parametrize("moment", ["before", "during", "after"])
@pytest.mark.parametrize("name", sorted(WORKLOADS))
def test_a_kill_at_any_call_loses_nothing_and_leaves_nothing_by_half(
    library: Path,
    directory: Path,
    name: str,
    moment: Moment,
) -> None:
    calls, found = damage(Runs(library, directory, name, SEED, STEPS), moment)
    assert found == []
    assert calls > 10 * STEPS


@pytest.mark.parametrize("bug", ["no transaction", "acknowledged before COMMIT"])
def test_a_store_that_commits_in_the_wrong_way_is_caught(library: Path, directory: Path, bug: str) -> None:
    _, found = damage(Runs(library, directory, "catalog", SEED, 4, bug=bug), "before")
    assert found
