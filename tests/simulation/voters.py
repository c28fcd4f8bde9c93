"""The replicated register under simulation: a voter in each process, on a small disk of its own."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from pygmy.messages.operations import TIERS
from pygmy.messages.register import VoterState
from pygmy.messages.replication import Version, View
from pygmy.replication.founding import check_charter
from pygmy.replication.membership import MembershipFactory
from pygmy.voting import Voting
from tests.simulation.network import Links
from tests.simulation.world import World

if TYPE_CHECKING:
    from tests.simulation.process import Process


class VoterProcess:
    """What a node has besides its server: `state` survives it."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._random = Random(process.world.random.random())
        self.state = VoterState()
        self._unsynced: list[VoterState] = []

    def boot(self) -> None:
        """The process starts."""
        process, clock = self._process, self._process.clock
        self._clock, self._free = clock, clock.seconds()
        self._saving: list[Deferred[None]] = []
        names = tuple(node.name for node in process.sim.cluster.nodes)
        kept = replace(self.state, charter=check_charter(self.state.charter, None, names))
        self.voting = Voting(
            process.name, names, kept, self, Links(process.sim.network, process), clock, lambda _: None, self._failed,
            random=self._random, now=clock.seconds, timing=process.sim.timing,
        )  # fmt: skip
        self.receive = self.voting.inbox(process.receive)
        self.voting.start()

    def crash(self) -> None:
        """Any prefix of what was not confirmed is on disk."""
        for state in self._unsynced[: self._process.world.random.randint(0, len(self._unsynced))]:
            self.state = state
        self._unsynced = []

    def lose(self) -> None:
        """voter.db is gone; its process is down. The node does not even know its cluster any more."""
        self.state, self._unsynced = VoterState(), []

    @property
    def forgetful(self) -> bool:
        """True if it has no vote on disk for a register: it has not been given one yet, or has lost it."""
        return self.state.votes.keys() < set(TIERS)

    def membership(self, tier: str) -> MembershipFactory:
        """What the replica in this process takes its views from."""
        return self.voting.membership(tier)

    def _failed(self, failure: Failure) -> None:
        self._process.world.violate(f"{self._process.name} stopped: {failure.getTraceback()}")

    # ---- as pygmy.database.Ballots

    def save(self, state: VoterState) -> Deferred[None]:
        self._unsynced.append(state)
        now = self._clock.seconds()
        self._free = max(self._free, now) + self._random.uniform(0.0005, 0.004)
        saving: Deferred[None] = Deferred()
        self._saving.append(saving)
        self._clock.callLater(self._free - now, self._saved)
        return saving

    def _saved(self) -> None:
        self.state = self._unsynced.pop(0)
        self._saving.pop(0).callback(None)


class ReplicatedRegister:
    """The register of a tier as it is known to all-seeing eyes. `view` is the newest that any proposer saw chosen."""

    def __init__(self, world: World, processes: Callable[[], list[Any]], tier: str) -> None:
        self._world, self._processes, self._tier = world, processes, tier
        self.unreachable: set[str] = set()
        self._newest: View | None = None
        self._chosen: dict[Version, View] = {}
        self.changed_by: dict[Any, set[str]] = {}

    def chosen(self, view: View) -> None:
        """A proposer has seen this value chosen; no other may ever be under its number."""
        there = self._chosen.setdefault(view.number, view)
        if there != view:
            self._world.violate(
                f"two views of the {self._tier} tier were chosen as {view.number}: {there} and {view}"
            )
        if self._newest is None or view.number > self._newest.number:
            self._newest = view

    @property
    def view(self) -> View:
        return self._newest or View(0, 0, {}, frozenset(), "")

    def held(self) -> View | None:
        """The newest value that a voter holds: it may yet be chosen."""
        votes = [voter.state.votes.get(self._tier) for voter in self._processes()]
        newest = max((vote for vote in votes if vote is not None), key=lambda vote: vote.accepted, default=None)
        return newest.value if newest else None
