"""Power fails: whatever the disk had not been made to keep may be gone, and nothing acknowledged is.

A workload runs under a tracer of its calls to the disk. From the trace come images of what may be found after a loss
of power at some point of it; each is opened as a replica opens its database, and checked. A failure names the image
as `seed/call/number`, and the same seed makes the same image again.
"""

import os
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from subprocess import PIPE, Popen
from tempfile import TemporaryDirectory

import pytest

from tests.support import disk_trace
from tests.support.disk_images import NOTES, Disk, crashes, written_to
from tests.support.disk_trace import Call
from tests.support.disk_workloads import DATABASE, WORKLOADS, read_notes
from tests.support.processes import PROJECT

IMAGES = 300
STEPS = 120
SEED = 677
MEMORY = Path("/dev/shm")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return disk_trace.built(tmp_path_factory.mktemp("tracer"))


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is such a place: what is lost here is lost by calculation."""
    with TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else tmp_path) as name:
        yield Path(name)


class Traced:
    """A workload in a directory of its own, and the trace of what it does there."""

    def __init__(self, library: Path, directory: Path, name: str, bug: str = "none") -> None:
        self.workload = WORKLOADS[name](SEED, STEPS)
        self.place = directory / "traced"
        self.place.mkdir()
        self._image = directory / "image"
        self._trace = directory / "trace"
        self._command = [sys.executable, "-m", "tests.support.disk_child", name, str(SEED), str(STEPS), bug]
        self._environment = os.environ | disk_trace.environment(library, f"{self.place}/", trace=self._trace)

    def run(self) -> Sequence[Call]:
        subprocess.run([*self._command, str(self.place)], env=self._environment, cwd=PROJECT, check=True)
        return list(disk_trace.read_trace(self._trace))

    def run_in_lives(self, lengths: Iterator[int]) -> tuple[int, Sequence[Call]]:
        """As often as it is killed, after so many calls to the disk, it goes on; how many lives it took."""
        with Popen(self._command, env=self._environment, cwd=PROJECT, stdin=PIPE, stdout=PIPE, text=True) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            for life, length in enumerate(lengths, 1):
                print(
                    self.place, length, random.Random(life).choice(disk_trace.MOMENTS), file=child.stdin, flush=True
                )
                if int(child.stdout.readline()) == 0:
                    break
            child.stdin.close()
        return life, list(disk_trace.read_trace(self._trace))

    def damage(self, calls: Sequence[Call], count: int = IMAGES) -> list[str]:
        """What is wrong with the images of so many losses of power, one line for each that is not as it must be."""
        found = []
        for crash in crashes(calls, self.place, count, SEED):
            written_to(self._image, crash.files)
            try:
                self.workload.check(self._image, read_notes(crash.notes))
            except Exception as error:
                found.append(f"{crash.where}: {type(error).__name__}: {str(error)[:200]}")
        return found


@pytest.fixture(params=sorted(WORKLOADS))
def traced(request: pytest.FixtureRequest, library: Path, directory: Path) -> Traced:
    return Traced(library, directory, request.param)


def test_the_tracer_sees_every_change(traced: Traced) -> None:
    """Done again by calculation, the calls make the very files that are there: SQLite changes nothing unseen."""
    calls = traced.run()
    disk = Disk(traced.place)
    logs = 0
    for call in calls:
        disk.do(call)
        logs += call.operation == "unlink" and call.name.endswith(f"{DATABASE}-wal")
    assert disk.seen() == {file.name: file.read_bytes() for file in traced.place.iterdir()}
    assert logs >= 2
    assert sum(call.operation == "sync" for call in calls) > STEPS / 2


def test_no_loss_of_power_loses_what_was_acknowledged(traced: Traced) -> None:
    assert traced.damage(traced.run()) == []


def test_no_loss_of_power_does_so_among_processes_that_are_killed(traced: Traced) -> None:
    """A restarted replica vouches for what it finds; a killed process may have left that without flushing it."""
    lengths = iter(random.Random(SEED).choices(range(20, 400), k=1000))
    lives, calls = traced.run_in_lives(lengths)
    assert lives > 5
    assert traced.damage(calls) == []


# ---- that all this can fail


@pytest.mark.parametrize(
    "bug", ["synchronous NORMAL", "synchronous OFF", "acknowledged before COMMIT", "no transaction"]
)
def test_a_store_that_does_not_keep_its_word_is_caught(library: Path, directory: Path, bug: str) -> None:
    traced = Traced(library, directory, "catalog", bug)
    assert len(traced.damage(traced.run(), 100)) > 5
