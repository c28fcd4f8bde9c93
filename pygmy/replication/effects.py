"""What the core asks its driver to do. Everything else it has done itself by the time it returns."""

from msgspec import Struct

from pygmy.messages.condition import Recovery
from pygmy.messages.internal import Invalidate
from pygmy.messages.operations import Change, Result
from pygmy.messages.register import RegisterMessage
from pygmy.messages.replication import Batch, Mode, ReplicaMessage, Version, View


class Send(Struct, frozen=True):
    """Send a message to each of these nodes; it may get lost.

    `patient`: nobody waits for it, so it may wait a moment for another one to go along with.
    """

    to: tuple[str, ...]
    message: ReplicaMessage | RegisterMessage | Invalidate
    patient: bool = False


class Store(Struct, frozen=True):
    """Drop everything with seq >= cut, append the batches, write the changed rows: one transaction.

    Tell `Replica.stored(token)` once it is durable and, besides, none of the `invalidations` is open any more.
    """

    token: int
    cut: int
    batches: tuple[Batch, ...]
    changes: tuple[Change, ...]
    invalidations: frozenset[int]


class Fetch(Struct, frozen=True):
    """Read batches from seq `first` on from the disk, up to a chunk, and pass them to `Replica.fetched`."""

    peer: str
    epoch: int | None
    head: Version
    previous: Version | None
    first: int


class Answer(Struct, frozen=True):
    """The operation submitted under this ticket has this result, committed."""

    ticket: int
    result: Result


class Abandon(Struct, frozen=True):
    """The operation under this ticket will not be answered here. `unknown`: it may have taken effect."""

    ticket: int
    unknown: bool
    why: str


class Recheck(Struct, frozen=True):
    """The look-up of this ticket's op_id on disk is too old to decide by: look again and resubmit."""

    ticket: int


class SaveView(Struct, frozen=True):
    """Keep this view on disk, for the start after the next power cut.

    `member`: this node has taken part in a view with what is on its disk.
    """

    view: View
    member: bool


class Synced(Struct, frozen=True):
    """This log was brought up to date from a peer in this mode: for people. `size` in bytes on the wire."""

    peer: str
    mode: Mode
    batches: int
    rows: int
    size: int
    seconds: float


class Syncing(Struct, frozen=True):
    """This log is being brought up to date, which takes a while: for people, now and then."""

    recovery: Recovery


class Note(Struct, frozen=True):
    """A line for the log that a person follows recovery by."""

    text: str


Effect = Send | Store | Fetch | Answer | Abandon | Recheck | SaveView | Synced | Syncing | Note
