"""What is done to databases while their disk is watched, and what must be found in them whenever that ended.

A workload notes what it asks for and what is acknowledged in a file beside the databases, so that these notes stand
in the trace of the disk between the calls that they came between.
"""

import os
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from twisted.internet.defer import Deferred

from pygmy.database import Ballots, Store
from tests.support.disk_images import NOTES
from tests.support.inline_store import InlineThreads, now_of


class Noted(NamedTuple):
    """What is known of a workload from outside: 0 is none."""

    acked: int  # the last step that was acknowledged
    asked: int  # the last one that was asked for
    booted: int  # the last incarnation


class Notes:
    """How far a workload is: one call to the disk for each step asked for or acknowledged, and for each boot."""

    def __init__(self, directory: Path) -> None:
        file = directory / NOTES
        self.before = read_notes(file.read_bytes() if file.exists() else b"")
        self._descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(self._descriptor, b"\n")  # after what may be half a line

    def asked(self, step: int) -> None:
        os.write(self._descriptor, b"asked %d\n" % step)

    def acked(self, step: int) -> None:
        os.write(self._descriptor, b"acked %d\n" % step)

    def resumed(self, step: int) -> None:
        """What was there after this step is there now."""
        self.asked(step)
        self.acked(step)

    def booted(self, incarnation: int) -> None:
        os.write(self._descriptor, b"booted %d\n" % incarnation)


_LINE = re.compile(rb"(acked|asked|booted) ([0-9]+)")


def read_notes(text: bytes) -> Noted:
    """What the notes say; a line that is not whole says nothing."""
    last = {"acked": 0, "asked": 0, "booted": 0}
    for line in text.split(b"\n")[:-1]:
        if found := _LINE.fullmatch(line):
            last[found[1].decode()] = int(found[2])
    return Noted(**last)


class Workload(Protocol):
    """Steps that are the same for the same seed, numbered from 1 on."""

    def run(self, directory: Path, notes: Notes) -> None:
        """Take all steps that have not been taken yet, by what the notes and the database say."""

    def check(self, directory: Path, noted: Noted) -> None:
        """Raise unless the database is as after one of the steps from the last acknowledged to the last asked for."""


class HeldThreads(InlineThreads):
    """A thread that gets round to its work when told, so that other work can gather meanwhile."""

    def __init__(self) -> None:
        self._held: list[Callable[[], None]] = []

    def callInThreadWithCallback(self, *args: Any, **kwargs: Any) -> None:
        self._held.append(lambda: InlineThreads.callInThreadWithCallback(self, *args, **kwargs))

    def done(self, deferred: Deferred[Any]) -> Any:
        """Do all the work that there is; what the Deferred has fired with then."""
        while self._held:
            self._held.pop(0)()
        return now_of(deferred)

    def assert_sound(self, database: Store | Ballots) -> None:
        """SQLite finds nothing wrong with the file."""

        def check(connection: sqlite3.Connection) -> list[tuple[str]]:
            return connection.execute("PRAGMA integrity_check").fetchall()

        assert self.done(database._file._pool.runWithConnection(check)) == [("ok",)]


def newest_step(equal: Callable[[int], bool], noted: Noted, count: int) -> int:
    """The newest of the steps asked for after which things are as they are: not before the last acknowledged.

    `equal` tells whether they are as after step n.
    """
    for number in range(noted.asked, noted.acked - 1, -1):
        if equal(number):
            return number
    found = [number for number in range(count + 1) if equal(number)] or "none"
    raise AssertionError(f"{noted.acked} steps acknowledged, {noted.asked} asked for; it is as after {found}")
