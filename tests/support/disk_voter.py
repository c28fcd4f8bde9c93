"""A workload on a voter's file: the votes of a node, one after the other, with a restart now and then."""

from pathlib import Path
from random import Random
from typing import Any

from pygmy.database import Ballots
from pygmy.messages.register import Charter, Vote, VoterState
from pygmy.messages.replication import View
from tests.support.disk_notes import HeldThreads, Noted, Notes, newest_step
from tests.support.inline_store import InlineReactor

NODES = ("catalog-0", "catalog-1", "frontend-0")


class OpenBallots:
    """The file, opened as a node opens it, and what it holds."""

    def __init__(self, directory: Path) -> None:
        self.threads = HeldThreads()
        threads: Any = self.threads
        opening = Ballots.open(str(directory / "voter.db"), NODES[0], InlineReactor(), threads=threads)
        self.ballots: Ballots = self.threads.done(opening)
        self.found: VoterState = self.threads.done(self.ballots.state())

    def close(self) -> None:
        self.threads.done(self.ballots.close())


class VoterWorkload:
    """Step n saves state n; what was saved before the first step is empty."""

    def __init__(self, seed: int, count: int) -> None:
        self._seed = seed
        random = Random(seed)
        charter = Charter("an id", NODES, complete=True)
        self._states = [VoterState()]
        for number in range(1, count + 1):
            votes = {tier: _vote(random, number) for tier in ("catalog", "order") if number > 2}
            self._states.append(VoterState(charter, votes))

    def run(self, directory: Path, notes: Notes) -> None:
        random = Random(self._seed)
        voter = OpenBallots(directory)
        taken = self._step_of(voter.found, notes.before)
        notes.resumed(taken)  # a voter answers by what it finds on its disk
        for number, state in enumerate(self._states[taken + 1 :], taken + 1):
            notes.asked(number)
            saved = voter.ballots.save(state).addCallback(lambda _, number: notes.acked(number), number)
            if random.random() < 0.6:
                voter.threads.done(saved)
            if random.random() < 0.1:
                voter.close()
                voter = OpenBallots(directory)
        voter.close()

    def check(self, directory: Path, noted: Noted) -> None:
        voter = OpenBallots(directory)
        try:
            self._step_of(voter.found, noted)
            voter.threads.assert_sound(voter.ballots)
        finally:
            voter.close()

    def _step_of(self, found: VoterState, noted: Noted) -> int:
        return newest_step(lambda number: self._states[number] == found, noted, len(self._states) - 1)


def _vote(random: Random, number: int) -> Vote:
    ballot = (number, random.choice(NODES), random.randrange(1 << 30))
    members = {name: random.randrange(1 << 30) for name in NODES[:2]}
    return Vote(ballot, ballot, View(number, 0, members, frozenset(members), NODES[0]))
