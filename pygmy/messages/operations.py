"""What the two tiers' logs record: operations, their outcomes, and the rows that they fold into.

Money is integer cents; times are integer milliseconds since the Unix epoch, UTC.  These types are the form on
disk and on the wire between nodes: fields may be added with defaults, never renamed.
"""

from typing import Literal

from msgspec import Struct

MOST_COPIES = 1_000_000_000  # of one book
LARGEST_ID = 2**63 - 1  # of books and of orders: what SQLite can hold


class Line(Struct, frozen=True):
    """So many copies of one book."""

    item: int
    quantity: int


class NewBook(Struct, frozen=True):
    """A book before it has stock on a shelf. `item` 0: the next free id."""

    title: str
    topic: str
    cost: int
    count: int
    item: int = 0


# ---- catalog operations


class Sell(Struct, frozen=True, tag="sell"):
    """Sell all lines or none. `basket` tells the two requests apart that an order may come from."""

    lines: tuple[Line, ...]
    basket: bool = False


class AddBook(Struct, frozen=True, tag="add"):
    """Put one new book on the shelf under the next free id."""

    book: NewBook


class ChangeBook(Struct, frozen=True, tag="change"):
    """Change what is not None. `count` sets the stock, `increment` (may be negative) adds to it."""

    item: int
    title: str | None = None
    topic: str | None = None
    cost: int | None = None
    count: int | None = None
    increment: int | None = None


class RemoveBook(Struct, frozen=True, tag="remove"):
    """Take a book out of the store; its id is never used again."""

    item: int


class OpenStock(Struct, frozen=True, tag="open"):
    """One part of the stock that an empty catalog opens with; `digest` names the whole file it is from."""

    books: tuple[NewBook, ...]
    digest: str


# ---- operations of both tiers


class RecordForced(Struct, frozen=True, tag="forced"):
    """An operator had the tier go on from this copy, in this epoch, without `lost`, its last sources.

    What those alone had acknowledged is gone: it stands here, for ever, where in the log that was.
    """

    epoch: int
    node: str
    lost: tuple[str, ...]


# ---- order operations


class OrderLine(Struct, frozen=True):
    """A line of an order at the price of the moment of the sale (cents apiece)."""

    item: int
    quantity: int
    price: int


class RecordOrder(Struct, frozen=True, tag="order"):
    """Append the order of a committed sale; `sale_seq` is the sale's seq in the catalog log."""

    lines: tuple[OrderLine, ...]
    total: int
    at: int
    sale_seq: int
    basket: bool = False


class MarkReconciled(Struct, frozen=True, tag="reconciled"):
    """Every sale up to this catalog seq has its order."""

    upto: int


Operation = Sell | AddBook | ChangeBook | RemoveBook | OpenStock | RecordForced | RecordOrder | MarkReconciled


# ---- rows


class Book(Struct, frozen=True, gc=False):
    """A row of the catalog; (epoch, seq) is the version of the batch that changed it last.

    A removed book stays as a tombstone (`removed`), so that its id is not used again.
    """

    item: int
    title: str
    topic: str
    cost: int
    count: int
    epoch: int = 0
    seq: int = 0
    removed: bool = False


class Order(Struct, frozen=True, gc=False):
    """A row of the order tier: one committed order. `at` is the moment of the sale."""

    order_id: int
    op_id: str
    lines: tuple[OrderLine, ...]
    total: int
    at: int
    basket: bool = False


class Mark(Struct, frozen=True, gc=False):
    """A named number that the fold keeps: `last_order_id`, `reconciled_upto`."""

    name: str
    value: int


Row = Book | Order | Mark


class Change(Struct, frozen=True):
    """What batch `seq` did to one row: as it was before (None: not there) and as it is after (None: gone)."""

    seq: int
    before: Row | None
    after: Row | None


# ---- outcomes


class SoldLine(Struct, frozen=True):
    """A line as sold: price apiece in cents, and the stock left after it."""

    item: int
    quantity: int
    price: int
    left: int


class Sold(Struct, frozen=True, tag="sold"):
    """All lines were sold; `total` in cents."""

    lines: tuple[SoldLine, ...]
    total: int


class Short(Struct, frozen=True):
    """A book of which there are fewer copies (`count`) than were asked for."""

    item: int
    count: int


class SoldOut(Struct, frozen=True, tag="sold_out"):
    """Nothing was sold, because these books are short. Recorded: a retry gets this answer again."""

    short: tuple[Short, ...]


class NoSuchBook(Struct, frozen=True, tag="no_such_book"):
    """Refused and not recorded: the catalog has no such books (or has removed them)."""

    items: tuple[int, ...]


class OutOfRange(Struct, frozen=True, tag="out_of_range"):
    """Refused and not recorded: of `count` copies the change would leave a number outside 0..1,000,000,000."""

    item: int
    count: int


class Shelved(Struct, frozen=True, tag="shelved"):
    """A book was added or changed; as it stands after that."""

    book: Book


class Removed(Struct, frozen=True, tag="removed"):
    """A book was removed."""

    item: int


class Opened(Struct, frozen=True, tag="opened"):
    """So many books of the opening stock are on the shelf."""

    books: int


class Recorded(Struct, frozen=True, tag="recorded"):
    """It stands in the log, and changes nothing else."""


class Ordered(Struct, frozen=True, tag="ordered"):
    """The order stands under this number."""

    order: Order


class Marked(Struct, frozen=True, tag="marked"):
    """The reconciled mark stands here now."""

    upto: int


class Reused(Struct, frozen=True, tag="reused"):
    """Refused and not recorded: the op_id belongs to another request."""


Outcome = Sold | SoldOut | NoSuchBook | OutOfRange | Shelved | Removed | Opened | Recorded | Ordered | Marked | Reused


class Result(Struct, frozen=True):
    """The answer to one operation, the same to every retry of a recorded one.

    `at` is when the primary decided it; (epoch, seq) is its batch and `index` its place in it (seq 0: not recorded).
    """

    outcome: Outcome
    at: int
    epoch: int = 0
    seq: int = 0
    index: int = 0


Tier = Literal["catalog", "order"]
TIERS: dict[str, Tier] = {"catalog": "catalog", "order": "order"}  # by what their servers' role is called
