"""Reading the catalog through the cache: a hit, a fill that is under way, or a fill of its own."""

from collections.abc import Callable
from urllib.parse import urlencode

import msgspec
from msgspec import Struct
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from pygmy.balancing.forwarding import Errand, Forwards
from pygmy.caching.cache import Answered, BookOf, Cache, PageOf, Stored, Thing
from pygmy.caching.flights import Flight
from pygmy.logs import Logger
from pygmy.messages.internal import Fill, Filled, List, Listed
from pygmy.web.contract import book_body, etag, summary_body

log = Logger()


class Asked(Struct, frozen=True):
    """Who waits for something, and how log lines call the request."""

    what: str
    request_id: str
    waiter: "Deferred[Stored | None]"


def next_link(path: str, limit: int, after: int, topic: str | None = None) -> str:
    """The Link header (RFC 8288) that names the page of `path` after this id."""
    query: dict[str, str | int] = {} if topic is None else {"topic": topic}
    return f'<{path}?{urlencode({**query, "limit": limit, "after": after})}>; rel="next"'


class Lookups:
    """Books and pages as bodies ready to be sent. `cache` None: every lookup asks the catalog."""

    def __init__(self, catalog: Forwards, holder: str, cache: Cache[Asked] | None, now: Callable[[], float]) -> None:
        self._catalog = catalog
        self._holder = holder
        self._cache = cache
        self._now = now

    def look(self, thing: Thing, what: str, request_id: str) -> "Deferred[Stored | None]":
        """The answer to this lookup (None: no such book); linearizable, cached or not. May fail with a Problem.

        Cancelling it leaves the fill, which others may share, alone.
        """
        if self._cache is None:
            return Deferred.fromCoroutine(self._ask(thing, what, request_id))
        now = self._now()
        stored = self._cache.get(thing, now)
        if stored is not None:
            return succeed(stored)
        asked = Asked(what, request_id, Deferred())
        if not self._cache.flights.join(thing, asked, now):
            self._fly(self._cache, thing, [asked])
        return asked.waiter

    async def _ask(self, thing: Thing, what: str, request_id: str) -> Stored | None:
        return (await self._fill(thing, "", what, request_id, lambda: None)).stored

    def _fly(self, cache: Cache[Asked], thing: Thing, waiters: list[Asked]) -> None:
        """One fill for these waiters; whoever joins it too late to be served gets the next one."""
        flight = cache.flights.begin(thing, thing.key, waiters, self._now())

        def fail(failure: Failure) -> None:
            cache.flights.land(flight)
            for asked in flight.waiters():
                if not asked.waiter.called:
                    asked.waiter.errback(failure)

        Deferred.fromCoroutine(self._flight(cache, flight, waiters[0])).addErrback(fail).addErrback(
            lambda failure: log.failure("a fill of {key} failed", failure, key=thing.key)
        )

    async def _flight(self, cache: Cache[Asked], flight: Flight[Thing, Asked], first: Asked) -> None:
        def departing() -> None:
            cache.flights.depart(flight, self._now())

        answer = await self._fill(flight.thing, self._holder, first.what, first.request_id, departing)
        served, left, cached = cache.land(flight, answer, self._now())
        if cached:
            log.info("cached {key}", key=flight.key, rid=first.request_id)
        if left:
            self._fly(cache, flight.thing, left)
        for asked in served:
            asked.waiter.callback(answer.stored)

    async def _fill(
        self, thing: Thing, holder: str, what: str, request_id: str, departing: Callable[[], None]
    ) -> Answered:
        requests = ((what, request_id),)
        if isinstance(thing, BookOf):
            errand = Errand(requests, Fill(thing.item, holder), departing=departing)
            book = await self._catalog.forward(errand, Filled)
            return _answered(book.replica, book.answer, _book(book.answer))
        errand = Errand(requests, List(thing.topic, thing.after, thing.limit, holder), departing=departing)
        page = await self._catalog.forward(errand, Listed)
        return _answered(page.replica, page.answer, _page(thing, page.answer))


def _answered(replica: str, answer: Filled | Listed, stored: Stored | None) -> Answered:
    return Answered(replica, answer.session, answer.lease, stored)


def _book(filled: Filled) -> Stored | None:
    book = filled.book
    return Stored(msgspec.json.encode(book_body(book)), etag(book)) if book is not None else None


def _page(page: PageOf, listed: Listed) -> Stored | None:
    if not listed.books:
        return None
    body = msgspec.json.encode([summary_body(item, title) for item, title in listed.books])
    more = next_link("/books", page.limit, listed.books[-1][0], page.topic) if listed.more else ""
    return Stored(body, link=more)
