"""Workloads in processes of their own whose calls to the disk are traced, or that are killed at one of them."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from tempfile import TemporaryDirectory

from tests.support import disk_trace
from tests.support.disk_images import crashes, written_to
from tests.support.disk_notes import read_notes
from tests.support.disk_trace import Call, Moment
from tests.support.disk_workloads import WORKLOADS
from tests.support.processes import PROJECT

MEMORY = Path("/dev/shm")
Life = Callable[[Path, int, Moment], int]


@contextmanager
def memory_directory(otherwise: Path) -> Iterator[Path]:
    """An empty directory, in memory where there is such a place: what is lost here is lost by calculation."""
    with TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else otherwise) as name:
        yield Path(name).resolve()


class Runs:
    """One workload; all of its processes work below one directory, in directories that they make."""

    def __init__(
        self,
        library: Path,
        directory: Path,
        name: str,
        seed: int,
        steps: int,
        *,
        bug: str = "none",
        trace: bool = False,
    ) -> None:
        self.workload = WORKLOADS[name](seed, steps)
        self.place = directory / "run"
        self._seed = seed
        self._image = directory / "image"
        self._trace = directory / "trace" if trace else None
        self._command = [sys.executable, "-m", "tests.support.disk_child", name, str(seed), str(steps), bug]
        self._environment = os.environ | disk_trace.environment(library, f"{directory}/", trace=self._trace)

    def run(self) -> None:
        """The whole workload in `place`."""
        subprocess.run([*self._command, str(self.place)], env=self._environment, cwd=PROJECT, check=True)

    @contextmanager
    def lives(self) -> Iterator[Life]:
        """A function that runs the workload in a directory until its n-th call to the disk, for an exit code.

        In a directory where it was killed before it goes on. With fewer calls it comes to its end: 0.
        """
        with Popen(self._command, env=self._environment, cwd=PROJECT, stdin=PIPE, stdout=PIPE, text=True) as server:
            asked, answers = server.stdin, server.stdout
            assert asked is not None
            assert answers is not None

            def live(place: Path, call: int, moment: Moment) -> int:
                print(place, call, moment, file=asked, flush=True)
                return int(answers.readline())

            yield live  # it ends with its input

    def calls(self) -> Sequence[Call]:
        """What was done to `place` so far, by all lives."""
        assert self._trace is not None
        return list(disk_trace.read_trace(self._trace))

    def wrong(self, place: Path, notes: bytes) -> str | None:
        """What is wrong with the database in that directory after what had been noted; None: nothing."""
        try:
            self.workload.check(place, read_notes(notes))
        except Exception as error:
            return f"{type(error).__name__}: {str(error)[:300]}"
        return None

    def damage(self, images: int) -> list[str]:
        """What is wrong with the images of so many losses of power while `place` was worked on, a line for each."""
        found = []
        for crash in crashes(self.calls(), self.place, images, self._seed):
            written_to(self._image, crash.files)
            if wrong := self.wrong(self._image, crash.notes):
                found.append(f"{crash.where}: {wrong}")
        return found
