"""The voters of the replicated register (V0, V1): CASPaxos acceptors (Rystsov 2018), one on every node.

A voter does no I/O.  Each input returns what to store and what to send once, and only once, that is durable.
"""

from random import Random

from msgspec import Struct
from msgspec.structs import replace

from pygmy.messages.register import (
    Accept,
    Accepted,
    FoundingMessage,
    Look,
    Nack,
    Prepare,
    Promise,
    RegisterMessage,
    RegisterReply,
    RegisterRequest,
    Seen,
    Vote,
    VoterState,
)
from pygmy.replication.effects import Note, Send
from pygmy.replication.founding import Founding
from pygmy.replication.readmission import Readmission
from pygmy.replication.timing import DEFAULT, Timing


class Keep(Struct, frozen=True):
    """Make `state` durable (None: nothing new), and everything kept before; then carry out `then`, in order."""

    state: VoterState | None
    then: tuple[Send | Note, ...]


def answer(vote: Vote, request: RegisterRequest) -> tuple[Vote, RegisterReply]:
    """The acceptor's rules: the vote afterwards, and the reply that it allows once it is durable."""
    register, ballot = request.register, request.ballot
    if isinstance(request, Look):
        return vote, Seen(register, ballot, vote.accepted, vote.value)
    if ballot < vote.promised:
        return vote, Nack(register, ballot, vote.promised)
    if isinstance(request, Prepare):
        return replace(vote, promised=ballot), Promise(register, ballot, vote.accepted, vote.value)
    return Vote(ballot, ballot, request.value), Accepted(register, ballot)


class Voter:
    """The voter of the node `me`, for all registers of the cluster.

    `kept` is what it stored last, with the charter that `founding.check_charter` allowed.  An emptied voter abstains
    until it is re-admitted.  `now` is the time on this node's own clock, in seconds.
    """

    def __init__(
        self,
        me: str,
        nodes: tuple[str, ...],
        registers: tuple[str, ...],
        kept: VoterState,
        now: float,
        random: Random,
        timing: Timing = DEFAULT,
    ) -> None:
        self._nodes = nodes
        self._registers = registers
        self._founding = Founding(me, nodes, kept.charter, random)
        self._votes = dict(kept.votes)
        self._stored = kept
        self._then: list[Send | Note] = []
        self._returning = {
            register: Readmission(register, me, nodes, self._send, random, now, timing) for register in registers
        }

    @property
    def cluster_id(self) -> str | None:
        """The cluster's id; None while there is none that this node knows."""
        charter = self._founding.charter
        return charter.cluster_id if charter is not None and charter.complete else None

    def votes_for(self, register: str) -> bool:
        """True if this voter takes part; False while it is newborn, or emptied and not re-admitted."""
        return register in self._votes

    def awaited(self) -> tuple[str, ...]:
        """The nodes without which the cluster cannot be founded, as far as this one has not heard of them."""
        return self._founding.awaited()

    # ---- inputs

    @property
    def settled(self) -> bool:
        """True, for ever, once nothing is wanting that a tick would ask for."""
        return self._founding.complete and all(register in self._votes for register in self._registers)

    def tick(self, now: float) -> Keep:
        """Ask for a charter or for re-admission, where that is wanting."""
        self._then += self._founding.tick()
        if (cluster_id := self.cluster_id) is not None:
            for register in self._registers:
                if register not in self._votes:
                    self._returning[register].tick(cluster_id, now)
        return self._drain()

    def receive(self, sender: str, message: RegisterMessage, now: float) -> Keep:
        """A message from a node of the cluster, this one included."""
        if sender in self._nodes:
            match message:
                case Look() | Prepare() | Accept():
                    self._on_request(sender, message)
                case Seen() | Promise() | Accepted() | Nack():
                    self._on_reply(sender, message, now)
                case _:
                    self._on_founding(sender, message)
        return self._drain()

    def _drain(self) -> Keep:
        state = VoterState(self._founding.charter, dict(self._votes))
        changed = state != self._stored
        self._stored = state
        then, self._then = tuple(self._then), []
        return Keep(state if changed else None, then)

    def _send(self, to: tuple[str, ...], message: RegisterMessage) -> None:
        self._then.append(Send(to, message))

    # ---- messages

    def _on_request(self, sender: str, request: RegisterRequest) -> None:
        vote = self._votes.get(request.register)
        if vote is None or request.cluster_id != self.cluster_id:
            return
        self._votes[request.register], reply = answer(vote, request)
        self._send((sender,), reply)

    def _on_reply(self, sender: str, reply: RegisterReply, now: float) -> None:
        cluster_id = self.cluster_id
        if cluster_id is None or reply.register not in self._registers or reply.register in self._votes:
            return
        found = self._returning[reply.register].receive(sender, reply, cluster_id, now)
        if found is not None:
            ballot, value = found
            self._votes[reply.register] = Vote(ballot, ballot, value)
            self._then.append(Note(f"votes again on the view of the {reply.register} tier"))

    def _on_founding(self, sender: str, message: FoundingMessage) -> None:
        before = self._founding.charter
        self._then += self._founding.receive(sender, message)
        if before is not None and not before.complete and self._founding.charter == replace(before, complete=True):
            self._votes = {register: Vote() for register in self._registers}  # it has never voted
