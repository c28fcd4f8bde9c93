"""The front end's caches: bounded, and never older than the catalog allows.

An entry belongs to the catalog replica it came from and to that replica's session.  It is served only while the
session is the replica's current one and its lease holds (docs/protocol.md, "Front-end cache").  Pure: time is an
argument, in seconds of a clock that no one sets.
"""

from collections import OrderedDict
from typing import Generic, NamedTuple, Protocol, TypeVar

from msgspec import Struct

from pygmy.caching.flights import Flight, Flights
from pygmy.messages.internal import Session

DRIFT = 0.02
NEVER = float("-inf")
WaiterT = TypeVar("WaiterT")


class BookOf(NamedTuple):
    """One book."""

    item: int

    @property
    def key(self) -> str:
        """What a catalog names when it invalidates this."""
        return f"item {self.item}"

    @property
    def cache(self) -> str:
        """Which cache holds it."""
        return "books"


class PageOf(NamedTuple):
    """One page of a list of books: of a topic (None: of all), with id > `after`, up to `limit` of them."""

    topic: str | None
    after: int
    limit: int

    @property
    def key(self) -> str:
        """What a catalog names when it invalidates this and every other page of the list."""
        return "books" if self.topic is None else f"topic {self.topic}"

    @property
    def cache(self) -> str:
        """Which cache holds it."""
        return "lists"


Thing = BookOf | PageOf


class Stored(Struct, frozen=True, gc=False):
    """The body of an answer, ready to be sent, and the headers that go with it ("": none)."""

    body: bytes
    etag: str = ""
    link: str = ""


class Answered(Struct, frozen=True):
    """What a replica answered to a fill: `stored` None if there is nothing to store (no such book, an empty list)."""

    replica: str
    session: Session | None
    lease: float
    stored: Stored | None


class Tally(Protocol):
    """Where hits, misses and evictions are counted; `cache` is "books" or "lists"."""

    def hit(self, cache: str) -> None:
        """An answer came out of the cache."""

    def miss(self, cache: str) -> None:
        """It did not."""

    def evicted(self, cache: str) -> None:
        """An entry made room for another."""


class _Lease(NamedTuple):
    session: Session
    until: float
    heard: float


class Leases:
    """Every catalog replica's current session, as far as is known here, and until when its lease holds."""

    def __init__(self) -> None:
        self._leases: dict[str, _Lease] = {}

    def session(self, replica: str) -> Session | None:
        """The session held of this replica; None before the first."""
        lease = self._leases.get(replica)
        return lease.session if lease else None

    def until(self, replica: str, session: Session | None) -> float:
        """When the lease of this session ends; NEVER if the session is not the replica's current one."""
        lease = self._leases.get(replica)
        return lease.until if lease and lease.session == session else NEVER

    def extend(self, replica: str, session: Session, left: float, sent: float, now: float) -> None:
        """Book an answer heard at `now`, to a request of `sent`: `left` seconds from then, less the clocks' drift.

        Another session takes the place of the current one if it is newer: it has a greater number, or its
        request was sent when the current one was known already (a replica that lost its disk counts from 1).
        """
        until = sent + left * (1 - DRIFT) if left > 0 else NEVER
        current = self._leases.get(replica)
        if current is None or session > current.session or (session != current.session and sent > current.heard):
            self._leases[replica] = _Lease(session, until, now)
        elif session == current.session and until > current.until:
            self._leases[replica] = current._replace(until=until)


class _Entry(NamedTuple):
    replica: str
    session: Session
    stored: Stored


class Cache(Generic[WaiterT]):
    """Books and lists, each in an LRU of its own, and the fills under way. Empty lists are not kept."""

    def __init__(self, tally: Tally, *, books: int = 10_000, lists: int = 500) -> None:
        self.leases = Leases()
        self.flights: Flights[Thing, WaiterT] = Flights()
        self._tally = tally
        self._room = {"books": books, "lists": lists}
        self._entries: dict[str, OrderedDict[Thing, _Entry]] = {"books": OrderedDict(), "lists": OrderedDict()}
        self._by_key: dict[str, set[Thing]] = {}

    def size(self, cache: str) -> int:
        """Entries held."""
        return len(self._entries[cache])

    def get(self, thing: Thing, now: float) -> Stored | None:
        """What may be answered at this moment without asking anyone; counts a hit or a miss."""
        stored = self.peek(thing, now)
        if stored is None:
            self._tally.miss(thing.cache)
        return stored

    def peek(self, thing: Thing, now: float) -> Stored | None:
        """As `get`, but leaves it to a `get` that follows to count a miss."""
        name = thing.cache
        entries = self._entries[name]
        entry = entries.get(thing)
        if entry is None or now >= self.leases.until(entry.replica, entry.session):
            return None
        entries.move_to_end(thing)
        self._tally.hit(name)
        return entry.stored

    def land(
        self, flight: Flight[Thing, WaiterT], answer: Answered, now: float
    ) -> tuple[list[WaiterT], list[WaiterT], bool]:
        """A fill came back: (who may have the answer, who needs another fill, whether it is cached now)."""
        self.flights.land(flight)
        until = NEVER
        if answer.session is not None:
            self.leases.extend(answer.replica, answer.session, answer.lease, flight.sent, now)
            until = self.leases.until(answer.replica, answer.session)
        served, left = flight.share(until)
        if flight.marked or until <= now or answer.session is None or answer.stored is None:
            return served, left, False
        self._store(flight.thing, _Entry(answer.replica, answer.session, answer.stored))
        return served, left, True

    def invalidate(self, replica: str, keys: tuple[str, ...] | None) -> None:
        """Drop this replica's entries of these keys; fills of them under way, from any replica, are not stored.

        `keys` None: of all keys.
        """
        for key in {*self._by_key, *self.flights.keys()} if keys is None else keys:
            self.flights.mark(key)
            for thing in tuple(self._by_key.get(key, ())):
                if self._entries[thing.cache][thing].replica == replica:
                    self._drop(thing)

    def drop(self, item: int) -> None:
        """Forget one book, wherever it came from."""
        thing = BookOf(item)
        self.flights.mark(thing.key)
        if thing in self._entries[thing.cache]:
            self._drop(thing)

    def _store(self, thing: Thing, entry: _Entry) -> None:
        entries = self._entries[thing.cache]
        entries[thing] = entry
        entries.move_to_end(thing)
        self._by_key.setdefault(thing.key, set()).add(thing)
        if len(entries) > self._room[thing.cache]:
            self._drop(next(iter(entries)))
            self._tally.evicted(thing.cache)

    def _drop(self, thing: Thing) -> None:
        del self._entries[thing.cache][thing]
        things = self._by_key[thing.key]
        things.discard(thing)
        if not things:
            del self._by_key[thing.key]
