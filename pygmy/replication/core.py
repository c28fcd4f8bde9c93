"""What the parts of a replica share: who it is, what it holds, and what it asks its driver to do."""

from collections.abc import Callable, Iterable

from pygmy.messages.internal import Invalidate
from pygmy.messages.operations import Change
from pygmy.messages.register import RegisterRequest
from pygmy.messages.replication import Batch, Heartbeat, Mode, ReplicaMessage, View
from pygmy.replication.effects import Effect, Send, Store
from pygmy.replication.leases import NEVER, Leases
from pygmy.replication.log import Log
from pygmy.replication.sessions import Sessions
from pygmy.replication.timing import Timing


class Core:
    """The state of one replica. `now` is the time of the input at hand, on this node's own clock (seconds)."""

    def __init__(
        self, me: str, tier: tuple[str, ...], incarnation: int, log: Log, now: float, timing: Timing
    ) -> None:
        self.me = me
        self.others = tuple(node for node in tier if node != me)
        self.incarnation = incarnation
        self.log = log
        self.timing = timing
        self.now = now
        self.mode: Mode = "INIT"
        self.view: View | None = None
        self.sealed = 0
        self.leases = Leases(timing)
        self.sessions = Sessions(incarnation, self._tell)
        self.effects: list[Effect] = []
        self.stores: dict[int, float] = {}  # token -> since when it waits for the disk
        self._token = 0
        self.leaving = False
        self.readers: list[Callable[[], None]] = []

    # ---- asking the driver

    def send(self, to: str, message: ReplicaMessage, *, patient: bool = False) -> None:
        """One message to one node."""
        self.effects.append(Send((to,), message, patient))

    def broadcast(self, message: ReplicaMessage, *, patient: bool = False) -> None:
        """One message to every other member of the view."""
        if peers := self.peers():
            self.effects.append(Send(tuple(peers), message, patient))

    def heartbeat(self) -> None:
        """Ask every other member for a grant.

        Whoever leaves wants none; one whose disk hangs must count as failed, and not the others for it.
        """
        if self.mode != "INIT" and not self.leaving and not self.stalled():
            self.broadcast(Heartbeat(self.incarnation, self.epoch, self.log.head, self.log.head_hash, self.now))

    def ask_all(self, message: ReplicaMessage) -> None:
        """One message to every other node of the tier, member or not."""
        if self.others:
            self.effects.append(Send(self.others, message))

    def ask_voters(self, voters: tuple[str, ...], request: RegisterRequest) -> None:
        """One message to voters of the register, in whatever part of the cluster, this node's own included."""
        self.effects.append(Send(voters, request))

    def _tell(self, front_end: str, invalidate: Invalidate) -> None:
        self.effects.append(Send((front_end,), invalidate))

    def store(
        self,
        cut: int,
        batches: tuple[Batch, ...],
        changes: Iterable[Change],
        invalidations: frozenset[int] = frozenset(),
    ) -> int:
        """One transaction; the token under which `Replica.stored` will tell that it is durable."""
        self._token += 1
        self.stores[self._token] = self.now
        self.effects.append(Store(self._token, cut, batches, tuple(changes), invalidations))
        return self._token

    def barrier(self) -> int:
        """A token that is told once everything stored so far is durable."""
        return self.store(self.log.head[1] + 1, (), ())

    def run_readers(self) -> None:
        """Nothing is pending: whoever waits to read does so now, before the next batch is taken."""
        if self.readers and self.lease_left() > 0:
            readers, self.readers = self.readers, []
            for read in readers:
                read()

    # ---- questions

    def peers(self) -> list[str]:
        """The other members of the view."""
        return [] if self.view is None else [node for node in self.view.members if node != self.me]

    def is_leader(self) -> bool:
        """True if this node leads the view it is in."""
        return self.view is not None and self.view.leader == self.me

    def in_epoch(self, epoch: int, mode: Mode = "RUNNING") -> bool:
        """True if this node is in this mode in the view of this epoch."""
        return self.mode == mode and self.view is not None and self.view.epoch == epoch

    @property
    def epoch(self) -> int:
        """The epoch of the view this node is in (0: in none)."""
        return 0 if self.view is None else self.view.epoch

    def lease_left(self) -> float:
        """Seconds for which this node may answer reads (not positive: none)."""
        if self.mode != "RUNNING" or self.leaving:
            return NEVER
        return self.leases.left(self.peers(), self.now)

    def stalled(self) -> bool:
        """True if a commit waits for so long, for the disk or front ends, that this node must count as failed."""
        return any(self.now - since > self.timing.silence for since in self.stores.values())
