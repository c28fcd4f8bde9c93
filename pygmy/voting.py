"""A node's vote on the views of the tiers: it drives `pygmy.replication.voter` on a real disk and network.

What the voter decides is stored first and sent then, in order.
"""

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from pygmy.clock import boottime
from pygmy.logs import Logger
from pygmy.messages.internal import OneWay
from pygmy.messages.operations import TIERS
from pygmy.messages.register import RegisterMessage, RegisterReply, VoterState
from pygmy.peers import Links
from pygmy.replication.effects import Note, Send
from pygmy.replication.membership import MembershipFactory
from pygmy.replication.register import replicated
from pygmy.replication.timing import DEFAULT, Timing
from pygmy.replication.voter import Keep, Voter

log = Logger()


class BallotBox(Protocol):
    """Where votes are kept; see `pygmy.database.Ballots`."""

    def save(self, state: VoterState) -> "Deferred[None]":
        """Fires once the state is on disk."""


class Voting:
    """Runs the voter of the node `me` among all `nodes` of the cluster; `kept` is what it starts from.

    `founded` is called once with the cluster's id, when it is known and stored here. `failed` is called once, with
    the reason, when a vote could not be stored: this node must not go on.
    """

    def __init__(
        self,
        me: str,
        nodes: tuple[str, ...],
        kept: VoterState,
        box: BallotBox,
        links: Links,
        clock: IReactorTime,
        founded: Callable[[str], None],
        failed: Callable[[Failure], None],
        *,
        random: Random,
        now: Callable[[], float] = boottime,
        timing: Timing = DEFAULT,
    ) -> None:
        self._nodes = nodes
        self._box = box
        self._links = links
        self._founded: Callable[[str], None] | None = founded
        self._failed: Callable[[Failure], None] | None = failed
        self._random = random
        self._now = now
        self._timing = timing
        self._voter = Voter(me, nodes, tuple(TIERS), kept, now(), random, timing)
        self._unsaved: deque[Keep] = deque()
        self._beat = LoopingCall(self._tick)
        self._beat.clock = clock

    @property
    def cluster_id(self) -> str | None:
        """The id of the cluster that this node belongs to; None as long as it has not heard of one."""
        return self._voter.cluster_id

    def start(self) -> None:
        """Begin to take part."""
        self._tell_founded()
        self._beat.start(self._timing.heartbeat)

    def stop(self) -> None:
        """Take part no more."""
        self._failed = None
        if self._beat.running:
            self._beat.stop()

    def membership(self, tier: str) -> MembershipFactory:
        """What a replica of this tier, in this process, takes its views from."""
        return replicated(tier, self._nodes, lambda: self._voter.cluster_id, self._random, self._voter.awaited)

    def inbox(self, replica: Callable[[str, OneWay], None]) -> Callable[[str, OneWay], None]:
        """Where all one-way messages of a node arrive: the voter's, the replica's, or both's."""

        def receive(sender: str, message: OneWay) -> None:
            if isinstance(message, RegisterMessage):
                self._keep(self._voter.receive(sender, message, self._now()))
            if isinstance(message, RegisterReply) or not isinstance(message, RegisterMessage):
                replica(sender, message)

        return receive

    def _tick(self) -> None:
        self._keep(self._voter.tick(self._now()))
        if self._voter.settled:
            self._beat.stop()

    # ---- store, then send

    def _keep(self, keep: Keep) -> None:
        if self._failed is None or (keep.state is None and not keep.then):
            return
        if keep.state is not None:
            self._unsaved.append(keep)
            self._box.save(keep.state).addCallback(self._saved).addErrback(self._fail_stop)
        elif self._unsaved:
            # What it says may rest on what is not on disk yet.
            last = self._unsaved.pop()
            self._unsaved.append(Keep(last.state, last.then + keep.then))
        else:
            self._carry_out(keep)

    def _saved(self, _: object) -> None:
        self._tell_founded()
        self._carry_out(self._unsaved.popleft())

    def _tell_founded(self) -> None:
        """An id that this very save has not stored yet will come with the next one; it is the same id for ever."""
        if self._founded is not None and self.cluster_id is not None:
            founded, self._founded = self._founded, None
            founded(self.cluster_id)

    def _carry_out(self, keep: Keep) -> None:
        for effect in keep.then:
            match effect:
                case Send(to, message):
                    self._links.tell(to, message)
                case Note(text):
                    log.info("{text}", text=text)

    def _fail_stop(self, failure: Failure) -> None:
        if self._failed is not None:
            failed = self._failed
            self.stop()
            failed(failure)
