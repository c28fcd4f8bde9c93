"""What changes the store through the front end: buying, and keeping the shelves. Each takes effect once per key."""

from typing import Annotated, TypeVar

from msgspec import Meta, Struct
from twisted.web.iweb import IRequest

from pygmy.balancing.forwarding import Errand, Forwards, Reply, line_of, unknown_outcome
from pygmy.caching.lookups import next_link
from pygmy.errors import Problem
from pygmy.messages.internal import Bought, Buy, Execute, Executed, Keyed, Orders, OrdersPage
from pygmy.messages.operations import Line, Operation, RemoveBook, Removed, Reused, Shelved
from pygmy.routes.outcomes import refusal
from pygmy.web.contract import (
    After,
    AnyOrderBody,
    BasketBody,
    BasketOrderBody,
    BookBody,
    BuyBody,
    ChangeBody,
    NewBookBody,
    OrderBody,
    PageSize,
    book_body,
    etag,
    order_body,
)
from pygmy.web.ids import uuid7
from pygmy.web.openapi import Auth, Route
from pygmy.web.queries import query
from pygmy.web.requests import idempotency_key, positive, read_json, request_id, write_bytes, write_json

AnswerT = TypeVar("AnswerT")
KEY = "Idempotency-Key"
WRITE_ERRORS = (400, 404, 409, 413, 415, 422, 503)


class OrdersQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """GET /orders."""

    limit: PageSize = 100
    after: After = 0


def op_id(key: str) -> str:
    """The operation that a key names, whoever made the key.

    A key that a front end made must name the same operation when its client sends it back as its own: so there is
    one name space for both.
    """
    return f"c:{key}"


class Writing:
    """The handlers of everything that writes, and of orders."""

    def __init__(self, catalog: Forwards, order: Forwards) -> None:
        self._catalog = catalog
        self._order = order

    async def buy(self, request: IRequest, item: str) -> bytes:
        """POST /books/{item}."""
        number = positive(item, "book id")
        wanted = read_json(request, BuyBody, default=BuyBody())
        return await self._bought(request, (Line(number, wanted.quantity),), basket=False)

    async def basket(self, request: IRequest) -> bytes:
        """POST /orders."""
        return await self._bought(request, read_json(request, BasketBody).lines(), basket=True)

    async def _bought(self, request: IRequest, lines: tuple[Line, ...], basket: bool) -> bytes:
        key = _key(request)
        reply = await _write(self._order, _errand(request, Buy(op_id(key), lines, basket), key), Bought)
        order = reply.answer.order
        headers = {KEY: key, "Location": f"/orders/{order.order_id}"}
        return write_json(request, 200, order_body(order), headers)

    async def order(self, request: IRequest, number: str) -> bytes:
        """GET /orders/{number}."""
        wanted = positive(number, "order number")
        page = await self._orders(request, wanted - 1, 1)
        if not page.orders or page.orders[0].order_id != wanted:
            raise Problem(404, "No such order", f"There is no order {wanted}.", order=wanted)
        return write_json(request, 200, order_body(page.orders[0]))

    async def orders(self, request: IRequest) -> bytes:
        """GET /orders."""
        asked = query(request, OrdersQuery)
        page = await self._orders(request, asked.after, asked.limit)
        more = page.more and page.orders
        links = {"Link": next_link("/orders", asked.limit, page.orders[-1].order_id)} if more else {}
        return write_json(request, 200, [order_body(order) for order in page.orders], links)

    async def _orders(self, request: IRequest, after: int, limit: int) -> OrdersPage:
        errand = Errand(((line_of(request), request_id(request)),), Orders(after, limit))
        return (await self._order.forward(errand, OrdersPage)).answer

    async def add(self, request: IRequest) -> bytes:
        """POST /books."""
        operation = read_json(request, NewBookBody).operation()
        key = _key(request)
        book = (await self._executed(request, operation, key, Shelved)).book
        headers = {KEY: key, "Location": f"/books/{book.item}", "ETag": etag(book)}
        return write_json(request, 201, book_body(book), headers)

    async def change(self, request: IRequest, item: str) -> bytes:
        """PATCH /books/{item}."""
        number = positive(item, "book id")
        operation = read_json(request, ChangeBody).operation(number)
        key = _key(request)
        book = (await self._executed(request, operation, key, Shelved)).book
        return write_json(request, 200, book_body(book), {KEY: key, "ETag": etag(book)})

    async def remove(self, request: IRequest, item: str) -> bytes:
        """DELETE /books/{item}."""
        operation = RemoveBook(positive(item, "book id"))
        key = _key(request)
        await self._executed(request, operation, key, Removed)
        return write_bytes(request, 204, b"", {KEY: key})

    async def _executed(self, request: IRequest, operation: Operation, key: str, expected: type[AnswerT]) -> AnswerT:
        execute = Execute((Keyed(op_id(key), operation, request_id(request)),))
        reply = await _write(self._catalog, _errand(request, execute, key), Executed)
        (result,) = reply.answer.results
        if isinstance(result.outcome, expected):
            return result.outcome
        # A refusal without a record settles nothing while an earlier try may still be under way.
        if not reply.sure and not result.seq and not isinstance(result.outcome, Reused):
            raise unknown_outcome(key, "an earlier try went unanswered")
        problem = refusal(result.outcome) or Problem(500, "Internal error", "The catalog's answer does not fit.")
        problem.headers[KEY] = key
        raise problem

    def routes(self) -> tuple[Route, ...]:
        """The rows of the front end's route table."""
        return (*self.shop_routes(), *self._shelf_routes())

    def shop_routes(self) -> tuple[Route, ...]:
        """Those that are about orders."""
        return (
            Route(
                method="POST",
                path="/books/{item}",
                handler=self.buy,
                summary="Buy a book",
                answers={200: OrderBody},
                body=BuyBody,
                body_required=False,
                errors=WRITE_ERRORS,
                idempotent_key=True,
            ),
            Route(
                method="POST",
                path="/orders",
                handler=self.basket,
                summary="Buy several books, all or none",
                answers={200: BasketOrderBody},
                body=BasketBody,
                errors=WRITE_ERRORS,
                idempotent_key=True,
            ),
            Route(
                method="GET",
                path="/orders",
                handler=self.orders,
                summary="Orders by number",
                answers={200: list[AnyOrderBody]},
                query=OrdersQuery,
                errors=(400, 503),
                auth=Auth.ADMIN,
            ),
            Route(
                method="GET",
                path="/orders/{number}",
                handler=self.order,
                summary="An order as answered to its buyer",
                answers={200: AnyOrderBody},
                errors=(400, 404, 503),
                auth=Auth.ADMIN,
            ),
        )

    def _shelf_routes(self) -> tuple[Route, ...]:
        return (
            Route(
                method="POST",
                path="/books",
                handler=self.add,
                summary="Add a book",
                answers={201: BookBody},
                body=NewBookBody,
                errors=WRITE_ERRORS,
                auth=Auth.ADMIN,
                idempotent_key=True,
            ),
            Route(
                method="PATCH",
                path="/books/{item}",
                handler=self.change,
                summary="Change a book's title, topic, cost or count",
                answers={200: BookBody},
                body=Annotated[ChangeBody, Meta(extra_json_schema={"minProperties": 1})],
                errors=WRITE_ERRORS,
                auth=Auth.ADMIN,
                idempotent_key=True,
            ),
            Route(
                method="DELETE",
                path="/books/{item}",
                handler=self.remove,
                summary="Remove a book; its id is not used again",
                answers={204: None},
                errors=WRITE_ERRORS,
                auth=Auth.ADMIN,
                idempotent_key=True,
            ),
        )


def _key(request: IRequest) -> str:
    """The client's key, or a new one: made before the first try, so that every try carries it."""
    return idempotency_key(request) or uuid7()


def _errand(request: IRequest, body: Buy | Execute, key: str) -> Errand:
    return Errand(((line_of(request), request_id(request)),), body, key)


async def _write(tier: Forwards, errand: Errand, expected: type[AnswerT]) -> Reply[AnswerT]:
    """Forward a write; errors name the key as answers do."""
    try:
        return await tier.forward(errand, expected)
    except Problem as problem:
        if problem.outcome_unknown and problem.extra.get("idempotency_key") != errand.key:
            raise unknown_outcome(errand.key, "a server behind this one does not know") from None
        problem.headers[KEY] = errand.key
        raise
