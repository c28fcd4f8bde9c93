"""A workload on all that a replica keeps: its database, and the witness of that in its voter's file."""

from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from pygmy.database import Ballots, Boot, Located, Store
from pygmy.database.rows import key_of
from pygmy.identity import Witnessing, begin, recognize
from pygmy.messages.operations import Row, Tier
from tests.support.disk_notes import HeldThreads, Noted, Notes, newest_step
from tests.support.disk_plans import NOTHING, Commit, Plan, Rows, SaveView, Start, State, Step
from tests.support.inline_store import InlineReactor

EVERYTHING = 1 << 40


class Replica:
    """Both files, opened as a node opens them; their thread is held until an answer is waited for."""

    def __init__(self, directory: Path, tier: Tier) -> None:
        self._tier: Tier = tier
        self._threads = threads = HeldThreads()
        pool: Any = threads
        reactor = InlineReactor()
        node = f"{tier}-0"
        self._opened: list[Ballots | Store] = []
        try:
            opening = Ballots.open(str(directory / "voter.db"), node, reactor, threads=pool)
            self.ballots: Ballots = threads.done(opening)
            self._opened.append(self.ballots)
            path = str(directory / f"{tier}.sqlite")
            self.store: Store = threads.done(Store.open(path, tier, reactor, node=node, threads=pool))
            self._opened.append(self.store)
            file = threads.done(Deferred.fromCoroutine(recognize(self.store, self.ballots)))
            self.trusted: bool = file.trusted
            self.boot: Boot = threads.done(Deferred.fromCoroutine(begin(self.store, self.ballots, file, 2, 0)))
        except BaseException:
            self.close()
            raise
        self._witnessing = Witnessing(
            self.store, self.ballots, self.boot.incarnation, lambda: None, Clock(), Failure.raiseException
        )

    def done(self, deferred: Deferred[Any]) -> Any:
        return self._threads.done(deferred)

    def ask(self, step: Commit | SaveView) -> Deferred[None]:
        if isinstance(step, Commit):
            return self.store.commit(*step)
        return self.store.save_view(*step)

    def testify(self) -> None:
        """As each second."""
        self.done(Deferred.fromCoroutine(self._witnessing._testify()))

    def state(self) -> State:
        """What stood in the database before this start."""
        batches = self.done(self.store.batches(1, EVERYTHING, EVERYTHING))
        assert self.boot.last == batches[-2:]
        undo = {one.key: one.before for one in self.boot.undo}
        return State(batches, self.rows(self.boot), undo, self.boot.view, self.boot.member)

    def rows(self, boot: Boot) -> Rows:
        """What a boot has loaded, and the orders."""
        orders: tuple[Row, ...] = ()
        if self._tier == "order":
            orders = self.done(self.store.orders_page(0, EVERYTHING, EVERYTHING))
        return {key_of(row): row for row in (*boot.rows, *orders)}

    def assert_sound(self) -> None:
        for database in self._opened:
            self._threads.assert_sound(database)

    def assert_op_ids(self, expected: State, latest: State) -> None:
        """Every entry of the log is found by its op_id, and none that is not there (any more)."""
        op_ids = {entry.op_id for batch in (*expected.batches, *latest.batches) for entry in batch.entries}
        there = {
            entry.op_id: Located(entry, batch.epoch, batch.seq, place)
            for batch in expected.batches
            for place, entry in enumerate(batch.entries)
        }
        assert self.done(self.store.find(op_ids)) == (there, len(expected.batches))

    def assert_last_can_be_dropped(self, expected: State) -> None:
        self.done(self.store.commit(len(expected.batches), [], []))
        assert self.rows(self.done(self.store.boot())) == expected.before_last()

    def close(self) -> None:
        for database in self._opened:
            self.done(database.close())


class ReplicaWorkload:
    """Batches, dropped batches, views and restarts; often several are asked for at once and share a transaction."""

    def __init__(self, tier: Tier, seed: int, count: int) -> None:
        self._tier: Tier = tier
        self._seed = seed
        self.steps: list[Step] = []
        self._states: list[State] = [NOTHING]
        plan = Plan(tier, seed)
        for _ in range(count):
            self.steps.append(plan.next())
            self._states.append(plan.state)

    def run(self, directory: Path, notes: Notes) -> None:
        random = Random(self._seed)
        replica = self._start(directory, notes)
        taken = self._step_of(replica.state(), notes.before)
        notes.resumed(taken)  # a replica vouches for what it finds on its disk
        answers: list[Deferred[None]] = []
        for number, step in enumerate(self.steps[taken:], taken + 1):
            notes.asked(number)
            if isinstance(step, Start):
                _settle(replica, answers)
                replica.close()
                replica = self._start(directory, notes)
                notes.acked(number)
                continue
            answers.append(replica.ask(step).addCallback(lambda _, number: notes.acked(number), number))
            if random.random() < 0.4:
                _settle(replica, answers)
            if random.random() < 0.1:
                replica.testify()
        _settle(replica, answers)
        replica.close()

    def check(self, directory: Path, noted: Noted) -> None:
        replica = Replica(directory, self._tier)
        try:
            assert replica.trusted, "the node takes its own file for another's"
            assert replica.boot.incarnation > noted.booted, "the incarnation has fallen back"
            expected = self._states[self._step_of(replica.state(), noted)]
            replica.assert_op_ids(expected, self._states[noted.asked])
            replica.assert_sound()
            if expected.undo:
                replica.assert_last_can_be_dropped(expected)
        finally:
            replica.close()

    def _start(self, directory: Path, notes: Notes) -> Replica:
        replica = Replica(directory, self._tier)
        assert replica.trusted, "the node takes its own file for another's"
        notes.booted(replica.boot.incarnation)
        return replica

    def _step_of(self, found: State, noted: Noted) -> int:
        def equal(number: int) -> bool:
            state = self._states[number]
            return len(state.batches) == len(found.batches) and _as_read(state, self._tier) == found

        return newest_step(equal, noted, len(self.steps))


def _settle(replica: Replica, answers: list[Deferred[None]]) -> None:
    while answers:
        replica.done(answers.pop(0))


def _as_read(state: State, tier: Tier) -> State:
    """As a replica sees it: that there was no order before the last batch wrote it, it need not be told."""
    if tier == "catalog":
        return state
    return state._replace(undo={key: row for key, row in state.undo.items() if isinstance(key, str)})
