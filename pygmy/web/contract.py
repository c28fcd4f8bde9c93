"""The bodies that users send and get (API.md), and their way to and from `pygmy.messages.operations`."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType, field

from pygmy.errors import bad_request
from pygmy.messages.operations import LARGEST_ID, MOST_COPIES, AddBook, Book, ChangeBook, Line, NewBook, Order
from pygmy.web.numbers import Money

BookId = Annotated[int, Meta(ge=1, le=LARGEST_ID)]
Quantity = Annotated[int, Meta(ge=1, le=1000)]
# No control characters. `(?![\s\S])` is the end of the text, in Python as in JSON Schema: `$` lets a newline by.
LONGEST_TEXT = 500
Text = Annotated[str, Meta(min_length=1, max_length=LONGEST_TEXT, pattern=r"^[^\x00-\x1f\x7f-\x9f]*(?![\s\S])")]
PageSize = Annotated[int, Meta(ge=1, le=1000)]
After = Annotated[int, Meta(ge=0, le=LARGEST_ID)]
Count = Annotated[int, Meta(ge=0, le=MOST_COPIES)]


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
        if len({item.id for item in self.items}) < len(self.items):
            raise bad_request("Expected different books in `items`: add up the quantities of each.")
        return tuple(Line(item.id, item.quantity) for item in self.items)


class NewBookBody(Struct, frozen=True, forbid_unknown_fields=True):
    """POST /books. `cost` in money: at most two decimals, 0..1,000,000."""

    title: Text
    topic: Text
    cost: Money
    count: Count

    def operation(self) -> AddBook:
        """The operation that adds it."""
        return AddBook(NewBook(self.title, self.topic, int(self.cost), self.count))


class Increment(Struct, frozen=True, forbid_unknown_fields=True):
    """So many copies more (negative: fewer)."""

    increment: Annotated[int, Meta(ge=-MOST_COPIES, le=MOST_COPIES)]


class ChangeBody(Struct, frozen=True, forbid_unknown_fields=True):
    """PATCH /books/{id}: any of these together, at least one."""

    title: Text | UnsetType = UNSET
    topic: Text | UnsetType = UNSET
    cost: Money | UnsetType = UNSET
    count: Count | Increment | UnsetType = UNSET

    def operation(self, item: int) -> ChangeBook:
        """The operation that makes the change. 400 when there is none."""
        if self == ChangeBody():
            raise bad_request("Expected at least one of title, topic, cost and count.")
        count = self.count
        return ChangeBook(
            item,
            title=None if self.title is UNSET else self.title,
            topic=None if self.topic is UNSET else self.topic,
            cost=None if self.cost is UNSET else int(self.cost),
            count=count if isinstance(count, int) else None,
            increment=count.increment if isinstance(count, Increment) else None,
        )


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


class AnyOrderBody(Struct, frozen=True):
    """An order of one book (`OrderBody`) or of a basket (`BasketOrderBody`), for those who read either."""

    order_id: int = field(name="OrderId")
    date: str = field(name="Date")
    status: str = field(name="Order status")
    total: float = field(name="Total")
    item: int | UnsetType = field(name="ID", default=UNSET)
    quantity: int | UnsetType = field(name="Quantity", default=UNSET)
    items: tuple[OrderItem, ...] | UnsetType = field(name="Items", default=UNSET)

    def lines(self) -> list[tuple[int, int]]:
        """(book, copies) for each line."""
        if isinstance(self.item, int) and isinstance(self.quantity, int):
            return [(self.item, self.quantity)]
        return [(line.id, line.quantity) for line in self.items or ()]


SUCCESS = "Success"
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def book_body(book: Book) -> BookBody:
    """As users see it."""
    return BookBody(book.item, book.title, book.topic, book.cost / 100, book.count)


def summary_body(item: int, title: str) -> SummaryBody:
    """As users see it in a list."""
    return SummaryBody(item, title)


def order_body(order: Order) -> OrderBody | BasketOrderBody:
    """As answered to its buyer."""
    date, total = order_date(order.at), order.total / 100
    if order.basket:
        items = tuple(OrderItem(line.item, line.quantity, line.price / 100) for line in order.lines)
        return BasketOrderBody(order.order_id, date, SUCCESS, items, total)
    (line,) = order.lines
    return OrderBody(order.order_id, line.item, date, SUCCESS, line.quantity, total)


def order_date(at: int) -> str:
    """`Apr-30-2021 17:44:42`, UTC, English whatever the locale, of milliseconds since the epoch."""
    return _date_of_second(at // 1000)


@lru_cache(maxsize=64)  # orders that are answered now are of now
def _date_of_second(second: int) -> str:
    moment = datetime.fromtimestamp(second, UTC)
    return f"{_MONTHS[moment.month - 1]}-{moment:%d-%Y %H:%M:%S}"


def etag(book: Book) -> str:
    """The ETag of a book's version, with its quotes."""
    return f'"{book.epoch}-{book.seq}"'
