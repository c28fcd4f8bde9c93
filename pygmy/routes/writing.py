"""What changes the store through the front end: buying, and keeping the shelves. Each takes effect once per key."""

from typing import Annotated, TypeVar

from msgspec import Meta, Struct
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest

from pygmy.balancing.forwarding import Errand, Forwards, line_of
from pygmy.caching.lookups import next_link
from pygmy.errors import Problem
from pygmy.messages.internal import Execute, Executed, Keyed, Orders, OrdersPage
from pygmy.messages.operations import Line, Operation, Order, RemoveBook, Removed, Sell, Shelved
from pygmy.routes.checkout import Checkout
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

    def __init__(self, catalog: Forwards, order: Forwards, clock: IReactorTime) -> None:
        self._catalog = catalog
        self._order = order
        self._checkout = Checkout(order, clock)

    def buy(self, request: IRequest, item: str) -> "Deferred[bytes]":
        """POST /books/{item}."""
        number = positive(item, "book id")
        wanted = read_json(request, BuyBody, default=BuyBody())
        return self._bought(request, Sell((Line(number, wanted.quantity),)))

    def basket(self, request: IRequest) -> "Deferred[bytes]":
        """POST /orders."""
        return self._bought(request, Sell(read_json(request, BasketBody).lines(), basket=True))

    def _bought(self, request: IRequest, sell: Sell) -> "Deferred[bytes]":
        key = _key(request)
        order = self._checkout.buy(line_of(request), Keyed(op_id(key), sell, request_id(request)))

        def ordered(order: Order) -> bytes:
            return write_json(request, 200, order_body(order), {"Location": f"/orders/{order.order_id}"})

        return order.addCallbacks(ordered, _named, errbackArgs=(key,))

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
        headers = {"Location": f"/books/{book.item}", "ETag": etag(book)}
        return write_json(request, 201, book_body(book), headers)

    async def change(self, request: IRequest, item: str) -> bytes:
        """PATCH /books/{item}."""
        number = positive(item, "book id")
        operation = read_json(request, ChangeBody).operation(number)
        key = _key(request)
        book = (await self._executed(request, operation, key, Shelved)).book
        return write_json(request, 200, book_body(book), {"ETag": etag(book)})

    async def remove(self, request: IRequest, item: str) -> bytes:
        """DELETE /books/{item}."""
        operation = RemoveBook(positive(item, "book id"))
        key = _key(request)
        await self._executed(request, operation, key, Removed)
        return write_bytes(request, 204, b"")

    async def _executed(self, request: IRequest, operation: Operation, key: str, expected: type[AnswerT]) -> AnswerT:
        execute = Execute((Keyed(op_id(key), operation, request_id(request)),))
        errand = Errand(((line_of(request), request_id(request)),), execute, write=True)
        try:
            reply = await self._catalog.forward(errand, Executed)
        except Problem as problem:
            raise naming(key, problem) from None
        (result,) = reply.answer.results
        if isinstance(result.outcome, expected):
            return result.outcome
        raise naming(key, refusal(result, reply.sure))

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
                lasting=True,
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
                lasting=True,
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
    """The client's key, or a new one: made before the first try, so that every try and every answer has it."""
    key = idempotency_key(request) or uuid7()
    request.setHeader(b"Idempotency-Key", key.encode("ascii"))
    return key


def _named(failure: Failure, key: str) -> bytes:
    problem = failure.value
    if not isinstance(problem, Problem):
        failure.raiseException()
    raise naming(key, problem) from None


def naming(key: str, problem: Problem) -> Problem:
    """The error as it is told to whoever wrote under this key: one of unknown outcome says how to retry safely."""
    if not problem.outcome_unknown:
        return problem
    why = problem.detail.rstrip(".")
    detail = f"It is not known whether this took effect ({why}). Retry with Idempotency-Key: {key}"
    return Problem(503, problem.title, detail, retry_after=1, outcome_unknown=True, idempotency_key=key)
