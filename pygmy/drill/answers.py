"""From what is said over HTTP to what the checker wants to know, and back. Nothing is added that was not said."""

from datetime import UTC, datetime
from typing import Any, NamedTuple

from pygmy.messages.operations import (
    AddBook,
    Book,
    ChangeBook,
    NoSuchBook,
    Operation,
    Order,
    Ordered,
    OrderLine,
    Outcome,
    OutOfRange,
    RemoveBook,
    Removed,
    Reused,
    Sell,
    Shelved,
    Short,
    SoldOut,
)
from pygmy.private import Reply

PROBLEM = "urn:pygmy:problem:"


class Asked(NamedTuple):
    """A request that asks for an operation."""

    method: str
    path: str
    body: Any


def request_of(operation: Operation) -> Asked:
    """The request that asks for just this operation."""
    match operation:
        case Sell(lines, True):
            return Asked(
                "POST", "/orders", {"items": [{"id": line.item, "quantity": line.quantity} for line in lines]}
            )
        case Sell((line,)):
            return Asked("POST", f"/books/{line.item}", {"quantity": line.quantity})
        case ChangeBook():
            return Asked("PATCH", f"/books/{operation.item}", _change(operation))
        case AddBook(book):
            body = {"title": book.title, "topic": book.topic, "cost": book.cost / 100, "count": book.count}
            return Asked("POST", "/books", body)
        case RemoveBook(item):
            return Asked("DELETE", f"/books/{item}", None)
        case _:
            raise TypeError(f"no client asks for {operation}")


def _change(change: ChangeBook) -> dict[str, Any]:
    body: dict[str, Any] = {"title": change.title, "topic": change.topic}
    body["cost"] = None if change.cost is None else change.cost / 100
    body["count"] = change.count if change.increment is None else {"increment": change.increment}
    return {name: value for name, value in body.items() if value is not None}


def outcome_of(operation: Operation, reply: Reply) -> Outcome | None:
    """What this answer says has come of the operation; None: nothing definite."""
    if reply.status in (200, 201, 204):
        return _success(operation, reply)
    kind = reply.json["type"].removeprefix(PROBLEM) if reply.status != 503 else ""
    match kind:
        case "out-of-stock":
            return SoldOut(_short(reply.json))
        case "key-already-used":
            return Reused()
        case "no-such-book":
            return NoSuchBook(tuple(reply.json.get("items") or [reply.json["item"]]))
        case "count-out-of-range":
            return OutOfRange(reply.json["item"], reply.json["count"])
        case _:
            return None


def _success(operation: Operation, reply: Reply) -> Outcome:
    match operation:
        case Sell():
            return Ordered(order_of(reply.json))
        case RemoveBook(item):
            return Removed(item)
        case _:
            book = book_of(reply)
            assert book is not None
            return Shelved(book)


def _short(body: dict[str, Any]) -> tuple[Short, ...]:
    if "item" in body:
        return (Short(body["item"], body["count"]),)
    return tuple(Short(item["id"], item["count"]) for item in body["items"])


def order_of(body: dict[str, Any]) -> Order:
    """An order as it is told: `public` in a history. A total that is no multiple of its copies has no price: -1."""
    total = cents(body["Total"])
    if "Items" in body:
        lines = tuple(OrderLine(item["id"], item["quantity"], cents(item["cost"])) for item in body["Items"])
    else:
        price, rest = divmod(total, body["Quantity"])
        lines = (OrderLine(body["ID"], body["Quantity"], -1 if rest else price),)
    at = datetime.strptime(body["Date"], "%b-%d-%Y %H:%M:%S").replace(tzinfo=UTC)
    return Order(body["OrderId"], "", lines, total, int(at.timestamp()) * 1000, "Items" in body)


def book_of(reply: Reply) -> Book | None:
    """The book in an answer, with its version (404: None)."""
    if reply.status == 404:
        return None
    shown = reply.json
    epoch, seq = map(int, reply.headers["etag"].strip('"').split("-"))
    return Book(shown["id"], shown["title"], shown["topic"], cents(shown["cost"]), shown["count"], epoch, seq)


def cents(money: float) -> int:
    """Money as it is told, in cents."""
    return round(money * 100)
