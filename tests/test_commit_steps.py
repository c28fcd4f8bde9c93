"""kill -9 at every single call to the disk of a database's life: what was acknowledged is there, and nothing by half.

The life is a short workload: a new database, commits, dropped batches, views, checkpoints, restarts.
"""

import shutil
import signal
from pathlib import Path

import pytest

from tests.support.disk_images import NOTES
from tests.support.disk_runs import Runs, directory, library  # noqa: F401
from tests.support.disk_trace import MOMENTS, Moment
from tests.support.disk_workloads import WORKLOADS

SEED = 1
STEPS = 12


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


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("name", sorted(WORKLOADS))
def test_a_kill_at_any_call_loses_nothing_and_leaves_nothing_by_half(
    library: Path,  # noqa: F811
    directory: Path,  # noqa: F811
    name: str,
    moment: Moment,
) -> None:
    calls, found = damage(Runs(library, directory, name, SEED, STEPS), moment)
    assert found == []
    assert calls > 10 * STEPS


@pytest.mark.parametrize("bug", ["no transaction", "acknowledged before COMMIT"])
def test_a_store_that_commits_in_the_wrong_way_is_caught(library: Path, directory: Path, bug: str) -> None:  # noqa: F811
    _, found = damage(Runs(library, directory, "catalog", SEED, 4, bug=bug), "before")
    assert found
