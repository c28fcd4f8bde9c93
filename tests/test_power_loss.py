"""Power fails: whatever the disk had not been made to keep may be gone, and nothing acknowledged is.

A workload runs under a tracer of its calls to the disk. From the trace come images of what may be found after a loss
of power at some point of it; each is opened as a replica opens its database, and checked. A failure names the image
as `seed/call/number`, and the same seed makes the same image again.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.support import disk_trace
from tests.support.disk_images import Disk
from tests.support.disk_runs import Runs, memory_directory
from tests.support.disk_trace import Call, Moment
from tests.support.disk_workloads import WORKLOADS

IMAGES = 300
STEPS = 120
SEED = 1
MOMENTS: tuple[Moment, ...] = ("before", "during", "unflushed", "unflushed")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return disk_trace.built(tmp_path_factory.mktemp("tracer"))


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    with memory_directory(tmp_path) as place:
        yield place


@pytest.fixture(params=sorted(WORKLOADS))
def runs(request: pytest.FixtureRequest, library: Path, directory: Path) -> Runs:
    return Runs(library, directory, request.param, SEED, STEPS, trace=True)


def test_the_tracer_sees_every_change(runs: Runs) -> None:
    """Done again by calculation, the calls make the very files that are there: SQLite changes nothing unseen."""
    runs.run()
    calls = runs.calls()
    disk = Disk(runs.place)
    for call in calls:
        disk.do(call)
    assert disk.seen() == {file.name: file.read_bytes() for file in runs.place.iterdir()}
    assert sum(call.operation == "sync" for call in calls) > STEPS / 2
    logs = [call for call in calls if call.operation == "unlink" and call.name.endswith("-wal")]
    assert len(logs) >= 2, "logs of SQLite's that came to their end"


def test_no_loss_of_power_loses_what_was_acknowledged(runs: Runs) -> None:
    runs.run()
    assert runs.damage(IMAGES) == []


def run_in_lives(runs: Runs) -> int:
    """The workload, in as many processes as it takes when one after the other is killed; how many that were."""
    random = Random(SEED)
    lives = 1
    with runs.lives() as live:
        while live(runs.place, random.randrange(20, 120), random.choice(MOMENTS)):
            lives += 1
    return lives


def test_no_loss_of_power_does_so_among_processes_that_are_killed(runs: Runs) -> None:
    """A restarted node vouches for what it finds; a killed process may have left that without flushing it."""
    assert run_in_lives(runs) > 5
    assert runs.damage(IMAGES) == []


# ---- that all this can fail


def test_what_was_flushed_is_in_every_image_and_the_rest_in_some() -> None:
    """Two sectors of a file and a name: each there or not, apart from what else is, until it is flushed."""
    root = Path("/d")
    made = [
        Call("open", 3, os.O_CREAT, "/d/old", b""),
        Call("directory", 4, 0, "/d", b""),
        Call("write", 3, 0, "", b"a" * 1024),
    ]
    flushed = [Call("sync", 3, 0, "", b""), Call("sync", 4, 0, "", b"")]
    renamed = [Call("write", 3, 0, "", b"b" * 1024), Call("rename", -1, 0, "/d/old", b"/d/new")]

    def images(calls: list[Call]) -> set[tuple[tuple[str, bytes], ...]]:
        disk = Disk(root)
        for call in calls:
            disk.do(call)
        return {tuple(disk.survivors(Random(seed)).items()) for seed in range(500)}

    old, new = b"a" * 512, b"b" * 512
    unflushed = images(made)
    assert {(), (("old", b""),), (("old", old * 2),), (("old", bytes(512) + old),)} <= unflushed
    assert images(made + flushed) == {(("old", old * 2),)}
    assert {((name, one + two),) for name in ("old", "new") for one in (old, new) for two in (old, new)} <= images(
        made + flushed + renamed
    )
    assert images(made + flushed + renamed + flushed) == {(("new", new * 2),)}


@pytest.mark.parametrize(
    "bug", ["synchronous NORMAL", "synchronous OFF", "acknowledged before COMMIT", "no transaction"]
)
def test_a_store_that_does_not_keep_its_word_is_caught(library: Path, directory: Path, bug: str) -> None:
    runs = Runs(library, directory, "catalog", SEED, STEPS, bug=bug, trace=True)
    runs.run()
    assert len(runs.damage(100)) > 5


@pytest.mark.parametrize("name", sorted(WORKLOADS))
def test_a_node_that_trusts_what_nobody_has_flushed_is_caught(library: Path, directory: Path, name: str) -> None:
    runs = Runs(library, directory, name, SEED, STEPS, bug="opened unflushed", trace=True)
    run_in_lives(runs)
    assert runs.damage(IMAGES)
