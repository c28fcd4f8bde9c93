"""The seam: all that the services know of how their tier keeps its data.

Above it nothing may assume replicas, epochs or SQLite; below it nothing knows HTTP.  An engine without leases
returns a lease of 0 s, and front ends do not cache.
"""

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from msgspec import Struct, field
from twisted.internet.defer import Deferred

from pygmy.messages.condition import Counts, Head, Recovery
from pygmy.messages.internal import Sale, Session
from pygmy.messages.operations import Book, Operation, Order, Result
from pygmy.messages.replication import Batch

RowT = TypeVar("RowT")


class Read(Struct, Generic[RowT], frozen=True):
    """Rows as of one moment, linearizable; None for a row that does not exist.

    A holder named in the request may cache them for `lease` seconds from the moment it asked, as long as its
    session is `session` (None or 0 s: not at all). `more`: a page has successors.
    """

    rows: tuple[RowT, ...]
    session: Session | None = None
    lease: float = 0.0
    more: bool = False


class Condition(Struct, frozen=True):
    """How the tier is, as this node sees it: what /health, /cluster and metrics show. Nobody decides by it.

    `why` says in one sentence why this node does not serve ("" when it does); `redundancy` counts the nodes that
    hold every acknowledged write; `primary` names the holder of the primary copy where this node knows it.

    The rest has defaults, which an engine leaves that has no such thing.  `members` are this view's, with their
    incarnations, `sources` those of them that are known to hold every acknowledged write, `gen` counts the changes
    of sources within the epoch.  `lease`: seconds for which this node may answer reads.  `queued`: operations that
    wait here; `pending`: the batch at the head that is not known to be committed.
    """

    state: str
    why: str
    epoch: int
    redundancy: int
    gen: int = 0
    members: dict[str, int] = {}
    sources: tuple[str, ...] = ()
    leader: str = ""
    primary: str = ""
    incarnation: int = 0
    lease: float = 0.0
    head: tuple[int, int] = (0, 0)
    head_hash: str = ""
    queued: int = 0
    pending: tuple[int, int] | None = None
    recovery: Recovery | None = None
    counts: Counts = field(default_factory=Counts)


class Peer(Struct, frozen=True):
    """A node of the tier as another one sees it.

    `lag` counts the batches it is behind, `heard` the seconds since it was heard last (None: unknown). `head` is the
    end of its log, `lease` the seconds that are left of the lease it has granted to the one who sees it; `why` tells
    what is known to be wrong with it.
    """

    state: str
    epoch: int | None = None
    lag: int | None = None
    heard: float | None = None
    head: Head | None = None
    incarnation: int | None = None
    lease: float | None = None
    why: str = ""


class Ledger(Protocol):
    """What both tiers' services are written against. Every Deferred may fail with a 503 `Problem`."""

    def execute(self, operation: Operation, op_id: str) -> Deferred[Result]:
        """Execute the operation exactly once per op_id, whoever asks and however often.

        Fires once it is committed (or refused without a record). A `Problem` with `outcome_unknown` set means
        that it may have taken effect; any other, that it has not been accepted here.
        """

    def execute_all(self, operations: Sequence[tuple[str, Operation]]) -> Deferred[list[Result]]:
        """As `execute`, for each op_id and its operation; fires with all results, in order.

        One `Problem` stands for all of them: with `outcome_unknown` set, any of them may have taken effect.
        """

    async def find(self, *op_ids: str) -> list[Result | None]:
        """The committed result under each op_id. None proves nothing: it may be under way."""

    async def batches(self, after: int, limit: int) -> tuple[Batch, ...]:
        """Committed batches of the tier's log with seq > `after`, by seq: at most so many, none only at its end."""

    def condition(self) -> Condition:
        """How the tier is, seen from here."""

    def peers(self) -> dict[str, Peer]:
        """Every node of the tier by name, this one included."""


class CatalogLedger(Ledger, Protocol):
    """The catalog's ledger."""

    def read(self, items: tuple[int, ...], holder: str = "") -> Deferred[Read[Book | None]]:
        """These books, as a snapshot; a removed book is None."""

    def page(self, topic: str | None, after: int, limit: int, holder: str = "") -> Deferred[Read[Book]]:
        """Up to `limit` books with item > `after`, by item, of one topic (None: of all)."""

    def table(self) -> Deferred[Read[Book]]:
        """Every row, removed books too, by item."""

    def renew(self, holder: str, session: Session | None) -> tuple[Session, float] | None:
        """Extend the holder's session: the current one and its lease (0 s if `session` is another).

        None: no answer just now (this node does not serve, or an invalidation is open).
        """

    def sales(self, after: int, until: int, limit: int) -> Deferred[tuple[tuple[Sale, ...], int]]:
        """Committed sales with seq > `after` and time <= `until` (ms), and the seq up to which these are all."""


class OrderLedger(Ledger, Protocol):
    """The order tier's ledger."""

    def read(self, order_ids: tuple[int, ...]) -> Deferred[Read[Order | None]]:
        """These orders."""

    def page(self, after: int, limit: int) -> Deferred[Read[Order]]:
        """Up to `limit` orders with order_id > `after`, by order_id."""

    def reconciled_upto(self) -> int:
        """The catalog seq up to which every sale has its order."""

    def reconciles(self) -> bool:
        """True on the one node whose turn it is to look for sales without an order."""
