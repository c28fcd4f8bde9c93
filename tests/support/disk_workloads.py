"""What is done to a database while its disk is watched, and what must be found in it whenever that ended.

A workload notes what it asks for and what is acknowledged in a file beside the database, so that these notes stand
in the trace of the disk between the calls that they came between.
"""

import os
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, Protocol

from twisted.internet.defer import Deferred

from pygmy.database import Boot, Located, Store
from pygmy.database.rows import key_of
from pygmy.messages.operations import Row, Tier
from tests.support.disk_images import NOTES
from tests.support.disk_plans import NOTHING, Commit, Plan, Rows, SaveView, Start, State, Step
from tests.support.inline_store import InlineReactor, InlineThreads, now_of

DATABASE = "replica.sqlite"
EVERYTHING = 1 << 40


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


# ---- one replica's database


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


class OpenStore:
    """A store and its boot, its thread held until an answer is waited for."""

    def __init__(self, directory: Path, tier: Tier) -> None:
        self._threads = HeldThreads()
        threads: Any = self._threads
        opening = Store.open(str(directory / DATABASE), tier, InlineReactor(), threads=threads)
        self.store: Store = self.done(opening)
        self.boot: Boot = self.done(self.store.boot())

    def done(self, deferred: Deferred[Any]) -> Any:
        return self._threads.done(deferred)

    def ask(self, step: Step) -> Deferred[None]:
        match step:
            case Commit():
                return self.store.commit(*step)
            case SaveView():
                return self.store.save_view(*step)
            case Start():
                raise TypeError("a start begins with another OpenStore")

    def integrity(self) -> list[tuple[str]]:
        def check(connection: sqlite3.Connection) -> list[tuple[str]]:
            return connection.execute("PRAGMA integrity_check").fetchall()

        checked: list[tuple[str]] = self.done(self.store._pool.runWithConnection(check))
        return checked

    def close(self) -> None:
        self.done(self.store.close())


class StoreWorkload:
    """Batches, dropped batches, views and restarts; often several are asked for at once and share a transaction."""

    def __init__(self, tier: Tier, seed: int, count: int) -> None:
        self._tier = tier
        self._seed = seed
        self._steps: list[Step] = []
        self._states: list[State] = [NOTHING]
        plan = Plan(tier, seed)
        for _ in range(count):
            self._steps.append(plan.next())
            self._states.append(plan.state)

    def run(self, directory: Path, notes: Notes) -> None:
        random = Random(self._seed)
        store = self._start(directory, notes)
        taken, _ = self._asked_for(_state_of(store, self._tier), notes.before)
        notes.asked(taken)
        notes.acked(taken)  # a replica vouches for what it finds on its disk
        answers: list[Deferred[None]] = []
        for number, step in enumerate(self._steps[taken:], taken + 1):
            notes.asked(number)
            if isinstance(step, Start):
                _settle(store, answers)
                store.close()
                store = self._start(directory, notes)
                notes.acked(number)
                continue
            answers.append(store.ask(step).addCallback(lambda _, number: notes.acked(number), number))
            if random.random() < 0.4:
                _settle(store, answers)
        _settle(store, answers)
        store.close()

    def check(self, directory: Path, noted: Noted) -> None:
        store = OpenStore(directory, self._tier)
        try:
            assert store.boot.incarnation > noted.booted, "the incarnation has fallen back"
            _, expected = self._asked_for(_state_of(store, self._tier), noted)
            _assert_op_ids_found(store, expected, self._states[noted.asked])
            assert store.integrity() == [("ok",)]
            if expected.undo:
                store.done(store.store.commit(len(expected.batches), [], []))
                rows = store.done(store.store.boot()).rows
                assert _rows(store, rows, self._tier) == expected.before_last(), "after the last batch was dropped"
        finally:
            store.close()

    def _start(self, directory: Path, notes: Notes) -> OpenStore:
        store = OpenStore(directory, self._tier)
        notes.booted(store.boot.incarnation)
        return store

    def _asked_for(self, found: State, noted: Noted) -> tuple[int, State]:
        """The newest of the states asked for that this is, and its number: not older than the last acknowledged."""
        for number in range(noted.asked, noted.acked - 1, -1):
            if self._is(number, found):
                return number, self._states[number]
        equal = [number for number in range(len(self._states)) if self._is(number, found)]
        what = f"as after step {equal}" if equal else f"as after no step, with {len(found.batches)} batches"
        raise AssertionError(f"{noted.acked} steps were acknowledged and {noted.asked} asked for; it is {what}")

    def _is(self, number: int, found: State) -> bool:
        state = self._states[number]
        return len(state.batches) == len(found.batches) and _as_read(state, self._tier) == found


def _settle(store: OpenStore, answers: list[Deferred[None]]) -> None:
    while answers:
        store.done(answers.pop(0))


def _as_read(state: State, tier: Tier) -> State:
    """As a replica sees it: that there was no order before the last batch wrote it, it need not be told."""
    if tier == "catalog":
        return state
    return state._replace(undo={key: row for key, row in state.undo.items() if isinstance(key, str)})


def _state_of(store: OpenStore, tier: Tier) -> State:
    """What stands in the database."""
    boot = store.boot
    batches = store.done(store.store.batches(1, EVERYTHING, EVERYTHING))
    assert boot.last == batches[-2:]
    undo = {one.key: one.before for one in boot.undo}
    return State(batches, _rows(store, boot.rows, tier), undo, boot.view, boot.member)


def _rows(store: OpenStore, booted: tuple[Row, ...], tier: Tier) -> Rows:
    """Those that a boot has loaded, and the orders."""
    orders = store.done(store.store.orders_page(0, EVERYTHING, EVERYTHING)) if tier == "order" else ()
    return {key_of(row): row for row in (*booted, *orders)}


def _assert_op_ids_found(store: OpenStore, expected: State, latest: State) -> None:
    """Every entry of the log is found by its op_id, and none that is not there (any more)."""
    op_ids = {entry.op_id for batch in (*expected.batches, *latest.batches) for entry in batch.entries}
    found, upto = store.done(store.store.find(op_ids))
    there = {
        entry.op_id: Located(entry, batch.epoch, batch.seq, place)
        for batch in expected.batches
        for place, entry in enumerate(batch.entries)
    }
    assert (found, upto) == (there, len(expected.batches))


WORKLOADS: dict[str, Callable[[int, int], Workload]] = {
    "catalog": lambda seed, count: StoreWorkload("catalog", seed, count),
    "order": lambda seed, count: StoreWorkload("order", seed, count),
}
