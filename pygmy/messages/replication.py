"""What replicas of one tier say to each other, under the names and rules of the protocol (docs/protocol.md).

A version is (epoch, seq). Seconds are floats on the sender's own monotonic clock and mean nothing elsewhere: a
receiver only echoes them.
"""

from typing import Literal

from msgspec import Struct

from pygmy.messages.operations import Operation, Outcome

Version = tuple[int, int]
GENESIS: Version = (0, 0)
Mode = Literal["INIT", "SYNC", "RUNNING"]


class Entry(Struct, frozen=True, gc=False):
    """One recorded operation and what came of it. `digest` is the hash of the operation as asked for."""

    op_id: str
    digest: str
    operation: Operation
    at: int
    outcome: Outcome


class Batch(Struct, frozen=True, gc=False):
    """One step of a tier's log. `hash` chains it to the batch before it (hex)."""

    epoch: int
    seq: int
    base_epoch: int
    entries: tuple[Entry, ...]
    hash: str

    @property
    def version(self) -> Version:
        """(epoch, seq): seq grows by one per batch across epochs."""
        return (self.epoch, self.seq)

    @property
    def base(self) -> Version:
        """The version of the batch that this one follows."""
        return (self.base_epoch, self.seq - 1)


class View(Struct, frozen=True):
    """Who replicates the tier in an epoch: members (name to incarnation), sources, and the leader.

    `sources` are the members known to hold every acknowledged write; the leader is fixed for the epoch; `gen`
    counts the changes of sources within it.
    """

    epoch: int
    gen: int
    members: dict[str, int]
    sources: frozenset[str]
    leader: str

    @property
    def number(self) -> Version:
        """(epoch, gen): what a compare-and-set compares."""
        return (self.epoch, self.gen)


# ---- membership


class ViewAsk(Struct, frozen=True, tag="view_ask"):
    """What is the tier's view? `known` is the sender's newest one (None: it never had one)."""

    incarnation: int
    known: View | None


class ViewTell(Struct, frozen=True, tag="view_tell"):
    """The newest view that the sender knows (None: it never had one)."""

    incarnation: int
    known: View | None


# ---- leases and failure detection


class Heartbeat(Struct, frozen=True, tag="heartbeat"):
    """I am here, in this incarnation and epoch, with this head of the log (its version and hash)."""

    incarnation: int
    epoch: int
    head: Version
    head_hash: str
    sent: float


class Grant(Struct, frozen=True, tag="grant"):
    """The heartbeat sent at `sent` was booked: no view without its sender before a lease has passed."""

    epoch: int
    sent: float


# ---- sync and recovery


class Probe(Struct, frozen=True, tag="probe"):
    """An INIT node asks the others how they are.

    `emptied`: its disk has taken part in no view; `blank`: nor is there anything in its log.
    """

    incarnation: int
    epoch: int
    emptied: bool = False
    blank: bool = False


class Status(Struct, frozen=True, tag="status"):
    """The answer to a probe; `epoch` is the highest sealed one, `emptied` and `blank` as in the probe."""

    mode: Mode
    incarnation: int
    epoch: int
    emptied: bool = False
    blank: bool = False


class SuffixRequest(Struct, frozen=True, tag="suffix_request"):
    """Send what follows these last two versions of mine. `epoch` None: I am learning, outside any view."""

    epoch: int | None
    head: Version
    previous: Version | None


class Suffix(Struct, frozen=True, tag="suffix"):
    """Batches from `cut` on, computed for the log that ends with `head`; `last`: there are no more.

    `of` is the seq that the sender's log ends with: for people, who like to know how long it takes.
    """

    epoch: int | None
    head: Version
    cut: int
    batches: tuple[Batch, ...]
    last: bool
    of: int = 0


class SyncAck(Struct, frozen=True, tag="sync_ack"):
    """My log equals the leader's and is durable; whoever I granted a lease outside this view is past it."""

    epoch: int


class Active(Struct, frozen=True, tag="active"):
    """Every member acked: the view serves."""

    epoch: int


class Join(Struct, frozen=True, tag="join"):
    """I have caught up: take me into the view."""

    incarnation: int


class Leave(Struct, frozen=True, tag="leave"):
    """V8: I have stopped serving for good and use no lease any more; go on without me."""

    incarnation: int


# ---- the write path


class Take(Struct, frozen=True, tag="take"):
    """P2: I have operations waiting and would like the primary copy."""

    epoch: int


class Give(Struct, frozen=True, tag="give"):
    """P3: the primary copy is yours, if your log ends with `head`; `waiters` asked for it too."""

    epoch: int
    counter: int
    head: Version
    waiters: tuple[str, ...]


class Took(Struct, frozen=True, tag="took"):
    """P3: the GIVE with this counter arrived."""

    epoch: int
    counter: int


class Update(Struct, frozen=True, tag="update"):
    """P5: append this batch and say so when it is durable."""

    epoch: int
    batch: Batch


class Ack(Struct, frozen=True, tag="ack"):
    """P6: the batch is durable here and no front end of mine serves what it changed."""

    epoch: int
    version: Version


class Validate(Struct, frozen=True, tag="validate"):
    """P8: the batch is committed."""

    epoch: int
    version: Version


class QueryValidate(Struct, frozen=True, tag="query_validate"):
    """Is this batch committed? (The VALIDATE may have been lost.)"""

    epoch: int
    version: Version


ViewMessage = ViewAsk | ViewTell
ReplicaMessage = (
    ViewMessage
    | Heartbeat
    | Grant
    | Probe
    | Status
    | SuffixRequest
    | Suffix
    | SyncAck
    | Active
    | Join
    | Leave
    | Take
    | Give
    | Took
    | Update
    | Ack
    | Validate
    | QueryValidate
)
