"""What nodes of different tiers say to each other, and the envelope that every node-to-node message travels in.

An envelope carries one-way messages and calls. The reply to calls is one JSON line per answer, each as soon as it
is known, in any order. Without calls it is 204, or a JSON list of one-way messages that ride along.
"""

from typing import Any, Generic, TypeVar

from msgspec import Raw, Struct

from pygmy.messages.operations import Book, Operation, Order, Ordered, Result, Sell
from pygmy.messages.register import RegisterMessage
from pygmy.messages.replication import ReplicaMessage

# A session numbers what a catalog replica lets one front end cache: (the replica's incarnation, a counter).
Session = tuple[int, int]
OperationT = TypeVar("OperationT", bound=Operation, covariant=True)


# ---- one-way, between a catalog replica and a front end


class Invalidate(Struct, frozen=True, tag="invalidate"):
    """Drop these cache keys (`item 1`, `topic graduate school`, `books`) and answer with the same number.

    `keys` None: drop all that has come from this replica.
    """

    number: int
    keys: tuple[str, ...] | None


class Invalidated(Struct, frozen=True, tag="invalidated"):
    """The keys of the invalidation with this number are dropped."""

    number: int


# ---- calls to a catalog server


class Keyed(Struct, Generic[OperationT], frozen=True):
    """An operation under its op_id; `request_id` is that of the request that it is for."""

    op_id: str
    operation: OperationT
    request_id: str = "-"


class Execute(Struct, frozen=True, tag="execute"):
    """Execute each of these exactly once; answered by `Executed`, or refused all together."""

    operations: tuple[Keyed[Operation], ...]


class Executed(Struct, frozen=True, tag="executed"):
    """The committed outcomes (or refusals that need no record), in the order asked."""

    results: tuple[Result, ...]


class Fill(Struct, frozen=True, tag="fill"):
    """Read one book, to be cached by the front end `holder` ("": not to be cached); answered by `Filled`."""

    item: int
    holder: str = ""


class Filled(Struct, frozen=True, tag="filled"):
    """The book (None: there is none), and for how many seconds from the request's sending it may be cached.

    `session` None: answer it once, do not cache it.
    """

    book: Book | None
    session: Session | None
    lease: float


class List(Struct, frozen=True, tag="list"):
    """Up to `limit` books with id > `after`, by id, of one topic (None: of all); answered by `Listed`."""

    topic: str | None
    after: int
    limit: int
    holder: str = ""


class Listed(Struct, frozen=True, tag="listed"):
    """(id, title) pairs by id; `more`: there are further ones. Session and lease as in `Filled`."""

    books: tuple[tuple[int, str], ...]
    more: bool
    session: Session | None
    lease: float


class Renew(Struct, frozen=True, tag="renew"):
    """Extend the session of the front end `holder`; answered by `Renewed`."""

    holder: str
    session: Session | None


class Renewed(Struct, frozen=True, tag="renewed"):
    """The current session and its lease in seconds from the request's sending (0: of another session)."""

    session: Session
    lease: float


class Sales(Struct, frozen=True, tag="sales"):
    """Committed sales after a catalog seq, made at or before `until` (ms); answered by `SalesPage`."""

    after: int
    until: int
    limit: int


class Sale(Struct, frozen=True):
    """One committed sale."""

    op_id: str
    basket: bool
    result: Result


class SalesPage(Struct, frozen=True, tag="sales_page"):
    """Sales in log order. Every sale with after < seq <= `upto` is in it."""

    sales: tuple[Sale, ...]
    upto: int


# ---- calls to an order server


class Buy(Struct, frozen=True, tag="buy"):
    """Sell each of these and write its order, once per op_id; answered by `Bought`, or refused all together."""

    sales: tuple[Keyed[Sell], ...]


class Bought(Struct, frozen=True, tag="bought"):
    """Of each sale, in the order asked: its order as it stands, or why there is none."""

    outcomes: "tuple[Ordered | Refused, ...]"


class Orders(Struct, frozen=True, tag="orders"):
    """Up to `limit` orders with id > `after`, by id; answered by `OrdersPage`."""

    after: int
    limit: int


class OrdersPage(Struct, frozen=True, tag="orders_page"):
    """Orders by id; `more`: there are further ones."""

    orders: tuple[Order, ...]
    more: bool


# ---- any call


class Refused(Struct, frozen=True, tag="refused"):
    """The call ended in this error (`pygmy.errors.Problem`), to be shown to the user as it is."""

    status: int
    title: str
    detail: str
    extra: dict[str, Any] = {}
    retry_after: int | None = None
    outcome_unknown: bool = False


CallBody = Execute | Fill | List | Renew | Sales | Buy | Orders
AnswerBody = Executed | Filled | Listed | Renewed | SalesPage | Bought | OrdersPage | Refused
OneWay = ReplicaMessage | RegisterMessage | Invalidate | Invalidated


class Call(Struct, frozen=True):
    """One call of an envelope; `id` is unique within it, `request_id` is what log lines show."""

    id: int
    request_id: str
    body: CallBody


class Answer(Struct, frozen=True):
    """The answer to the call with the same id."""

    id: int
    body: AnswerBody


class Envelope(Struct, frozen=True):
    """What one request to the internal path carries, from the node named `sender`."""

    sender: str
    messages: tuple[OneWay, ...] = ()
    calls: tuple[Call, ...] = ()


class OutgoingEnvelope(Struct, frozen=True):
    """An `Envelope` whose parts are encoded already: one encoding serves every receiver."""

    sender: str
    messages: list[Raw]
    calls: list[Raw]
