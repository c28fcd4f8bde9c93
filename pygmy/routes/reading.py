"""What reads the store through the front end: books, lists of them, and the cache's own handle."""

from typing import Annotated

from msgspec import Meta, Struct
from twisted.web.iweb import IRequest

from pygmy.balancing.forwarding import line_of
from pygmy.caching.cache import BookOf, Cache, PageOf
from pygmy.caching.lookups import Asked, Lookups
from pygmy.errors import no_such_book
from pygmy.web.contract import LONGEST_TEXT, After, BookBody, PageSize, SummaryBody
from pygmy.web.openapi import Auth, Route
from pygmy.web.queries import query
from pygmy.web.requests import positive, request_id, write_bytes


class BooksQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """GET /books."""

    topic: Annotated[str, Meta(max_length=LONGEST_TEXT)] | None = None
    limit: PageSize = 100
    after: After = 0


class Reading:
    """The handlers of everything that reads books."""

    def __init__(self, lookups: Lookups, cache: Cache[Asked] | None) -> None:
        self._lookups = lookups
        self._cache = cache

    async def book(self, request: IRequest, item: str) -> bytes:
        """GET /books/{item}."""
        number = positive(item, "book id")
        stored = await self._lookups.look(BookOf(number), line_of(request), request_id(request))
        if stored is None:
            raise no_such_book((number,))
        headers = {"ETag": stored.etag}
        if matches(request.getHeader(b"If-None-Match"), stored.etag):
            return write_bytes(request, 304, b"", headers)
        return write_bytes(request, 200, stored.body, headers)

    async def books(self, request: IRequest) -> bytes:
        """GET /books."""
        asked = query(request, BooksQuery)
        page = PageOf(asked.topic, asked.after, asked.limit)
        stored = await self._lookups.look(page, line_of(request), request_id(request))
        if stored is None:
            return write_bytes(request, 200, b"[]")
        return write_bytes(request, 200, stored.body, {"Link": stored.link} if stored.link else {})

    def forget(self, request: IRequest, item: str) -> bytes:
        """DELETE /cache/{item}."""
        number = positive(item, "book id")
        if self._cache is not None:
            self._cache.drop(number)
        return write_bytes(request, 204, b"")

    def routes(self) -> tuple[Route, ...]:
        """The rows of the front end's route table."""
        return (
            Route(
                method="GET",
                path="/books",
                handler=self.books,
                summary="Books by id, of one topic or all",
                answers={200: list[SummaryBody]},
                query=BooksQuery,
                errors=(400, 503),
            ),
            Route(
                method="GET",
                path="/books/{item}",
                handler=self.book,
                summary="One book",
                answers={200: BookBody, 304: None},
                errors=(400, 404, 503),
            ),
            Route(
                method="DELETE",
                path="/cache/{item}",
                handler=self.forget,
                summary="Drop one cached book by hand",
                answers={204: None},
                errors=(400, 404),
                auth=Auth.MEMBER,
            ),
        )


def matches(sent: bytes | None, etag: str) -> bool:
    """If-None-Match (RFC 9110, 13.1.2): `*`, or a list with this tag in it, weak or not."""
    if sent is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in sent.decode("latin-1").split(",")]
    return "*" in tags or etag in tags
