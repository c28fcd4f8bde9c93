"""Fills under way: who waits for which, and who may still be given its answer.

Misses for one thing at one time share one fill.  What a fill brings was read at some moment after it departed, so
it is the truth for everyone who came before that.  Someone who came later may share it only if it was still true
when they came: a lease covers that moment, and no invalidation had arrived by then.  All others get a new fill.
"""

from collections.abc import Hashable
from itertools import count
from typing import Generic, NamedTuple, TypeVar

ThingT = TypeVar("ThingT", bound=Hashable)
WaiterT = TypeVar("WaiterT")


class _Seat(NamedTuple, Generic[WaiterT]):
    waiter: WaiterT
    came: int
    at: float


class Flight(Generic[ThingT, WaiterT]):
    """One fill, from its first departure to its landing. `marked`: its answer must not be stored."""

    def __init__(self, thing: ThingT, key: str) -> None:
        self.thing = thing
        self.key = key
        self.sent = 0.0
        self.marked = False
        self._departed = 0
        self._seats: list[_Seat[WaiterT]] = []

    def waiters(self) -> list[WaiterT]:
        """Everyone who waits for it."""
        return [seat.waiter for seat in self._seats]

    def share(self, until: float) -> tuple[list[WaiterT], list[WaiterT]]:
        """(who may have the answer, who needs another fill), if a lease held the answer true up to `until`.

        `until` is -inf for an answer without a lease.
        """
        served: list[WaiterT] = []
        left: list[WaiterT] = []
        for seat in self._seats:
            good = seat.came < self._departed or seat.at < until
            (served if good else left).append(seat.waiter)
        return served, left


class Flights(Generic[ThingT, WaiterT]):
    """The fills under way. Events are numbered as they happen: two of them may share a moment of the clock."""

    def __init__(self) -> None:
        self._order = count(1)
        self._open: dict[ThingT, Flight[ThingT, WaiterT]] = {}
        self._by_key: dict[str, set[Flight[ThingT, WaiterT]]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._by_key.values()))

    def join(self, thing: ThingT, waiter: WaiterT, now: float) -> bool:
        """Wait for the fill of `thing` that is under way; False if there is none to wait for."""
        flight = self._open.get(thing)
        if flight is not None:
            flight._seats.append(_Seat(waiter, next(self._order), now))
        return flight is not None

    def begin(self, thing: ThingT, key: str, waiters: list[WaiterT], now: float) -> Flight[ThingT, WaiterT]:
        """A new fill for these waiters, which later ones may join until it is marked."""
        flight = Flight[ThingT, WaiterT](thing, key)
        flight._seats = [_Seat(waiter, next(self._order), now) for waiter in waiters]
        self._open[thing] = flight
        self._by_key.setdefault(key, set()).add(flight)
        return flight

    def depart(self, flight: Flight[ThingT, WaiterT], now: float) -> None:
        """The fill is being sent to a replica (again: whatever an earlier try brings is not used)."""
        flight.sent = now
        flight._departed = next(self._order)

    def keys(self) -> frozenset[str]:
        """What the fills under way are of."""
        return frozenset(self._by_key)

    def mark(self, key: str) -> None:
        """An invalidation of `key` arrived: fills under way are answered once, not stored, and joined no more."""
        for flight in self._by_key.get(key, ()):
            flight.marked = True
            self._close(flight)

    def land(self, flight: Flight[ThingT, WaiterT]) -> None:
        """The fill is over."""
        self._close(flight)
        flights = self._by_key.get(flight.key, set())
        flights.discard(flight)
        if not flights:
            self._by_key.pop(flight.key, None)

    def _close(self, flight: Flight[ThingT, WaiterT]) -> None:
        if self._open.get(flight.thing) is flight:
            del self._open[flight.thing]
