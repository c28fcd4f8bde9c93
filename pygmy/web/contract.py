"""The bodies that users send and get (API.md), and their way to and from `pygmy.messages.operations`."""

from decimal import Decimal
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType, field

from pygmy.messages.operations import AddBook, Book, ChangeBook, Line, Order

BookId = Annotated[int, Meta(ge=1, le=2**53)]
Quantity = Annotated[int, Meta(ge=1, le=1000)]
Text = Annotated[str, Meta(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
Count = Annotated[int, Meta(ge=0, le=1_000_000_000)]


class BuyBody(Struct, frozen=True, forbid_unknown_fields=True):
    """POST /books/{id}; a missing body means one copy."""

    quantity: Quantity = 1


class BasketItem(Struct, frozen=True, forbid_unknown_fields=True):
    """One book of a basket."""

    id: BookId
    quantity: Quantity = 1


class BasketBody(Struct, frozen=True, forbid_unknown_fields=True):
    """POST /orders: 1..50 different books."""

    items: Annotated[tuple[BasketItem, ...], Meta(min_length=1, max_length=50)]

    def lines(self) -> tuple[Line, ...]:
        """As the tiers want them, in the order given. 400 when a book comes twice."""
        raise NotImplementedError


class NewBookBody(Struct, frozen=True, forbid_unknown_fields=True):
    """POST /books. `cost` in money: at most two decimals, 0..1,000,000."""

    title: Text
    topic: Text
    cost: Decimal
    count: Count

    def operation(self) -> AddBook:
        """The operation that adds it. 400 on a cost that is not money."""
        raise NotImplementedError


class Increment(Struct, frozen=True, forbid_unknown_fields=True):
    """So many copies more (negative: fewer)."""

    increment: Annotated[int, Meta(ge=-1_000_000_000, le=1_000_000_000)]


class ChangeBody(Struct, frozen=True, forbid_unknown_fields=True):
    """PATCH /books/{id}: any of these together, at least one."""

    title: Text | UnsetType = UNSET
    topic: Text | UnsetType = UNSET
    cost: Decimal | UnsetType = UNSET
    count: Count | Increment | UnsetType = UNSET

    def operation(self, item: int) -> ChangeBook:
        """The operation that makes the change. 400 when there is none."""
        raise NotImplementedError


class BookBody(Struct, frozen=True):
    """GET /books/{id}."""

    id: int
    title: str
    topic: str
    cost: float
    count: int


class SummaryBody(Struct, frozen=True):
    """A line of GET /books."""

    id: int
    title: str


class OrderBody(Struct, frozen=True):
    """An order of one book."""

    order_id: int = field(name="OrderId")
    item: int = field(name="ID")
    date: str = field(name="Date")
    status: str = field(name="Order status")
    quantity: int = field(name="Quantity")
    total: float = field(name="Total")


class OrderItem(Struct, frozen=True):
    """A line of a basket's order; `cost` is the price apiece."""

    id: int
    quantity: int
    cost: float


class BasketOrderBody(Struct, frozen=True):
    """The order of a basket."""

    order_id: int = field(name="OrderId")
    date: str = field(name="Date")
    status: str = field(name="Order status")
    items: tuple[OrderItem, ...] = field(name="Items")
    total: float = field(name="Total")


def book_body(book: Book) -> BookBody:
    """As users see it."""
    raise NotImplementedError


def summary_body(item: int, title: str) -> SummaryBody:
    """As users see it in a list."""
    return SummaryBody(item, title)


def order_body(order: Order) -> OrderBody | BasketOrderBody:
    """As answered to its buyer."""
    raise NotImplementedError


def order_date(at: int) -> str:
    """`Apr-30-2021 17:44:42`, UTC, English, of milliseconds since the epoch."""
    raise NotImplementedError


def etag(book: Book) -> str:
    """The ETag of a book's version, with its quotes."""
    return f'"{book.epoch}-{book.seq}"'
