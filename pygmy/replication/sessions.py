"""What a catalog replica lets front ends cache: subleases of its own read lease (docs/protocol.md).

Every item that a front end may hold is registered in the turn in which it was read.  A write is acknowledged only
when each front end that may hold something it touches has dropped it (acked by number) or can no longer serve it
(its lease has lapsed: then its session number moves on, and all it cached under the old one is void).
"""

from collections.abc import Callable

from pygmy.messages.internal import Invalidate, Session
from pygmy.replication.leases import NEVER

NUMBERS = 1_000_000_000  # invalidations that one incarnation may send

Tell = Callable[[str, Invalidate], None]


class _Holder:
    """One front end: what it may hold, until when, under which number, and what it was told to drop."""

    def __init__(self) -> None:
        self.keys: set[str] = set()
        self.expiry = NEVER
        self.number = 0
        self.open: dict[int, tuple[frozenset[str], Invalidate]] = {}

    def lapse(self) -> None:
        self.keys.clear()
        self.open.clear()
        self.number += 1


class Sessions:
    """All front ends' sessions with this incarnation of the replica."""

    def __init__(self, incarnation: int, tell: Tell) -> None:
        self._incarnation = incarnation
        self._tell = tell
        self._holders: dict[str, _Holder] = {}
        # Numbers are unique across boots too, so a late ack of an older one releases nothing.
        self._last = incarnation * NUMBERS
        self.sent = self.lapsed = 0  # invalidations: for people

    def _holder(self, name: str) -> _Holder:
        return self._holders.setdefault(name, _Holder())

    def fill(self, name: str, keys: frozenset[str], lease: float, now: float) -> tuple[Session | None, float]:
        """Register what is being read for this front end: its session and lease (None, 0: do not cache)."""
        holder = self._holder(name)
        if holder.open or lease <= 0:
            return None, 0.0
        holder.keys |= keys
        holder.expiry = max(holder.expiry, now + lease)
        return (self._incarnation, holder.number), lease

    def renew(self, name: str, held: Session | None, lease: float, now: float) -> tuple[Session, float] | None:
        """Extend the front end's session; another one gets the current name and 0 s. None: no answer now."""
        holder = self._holder(name)
        if holder.open or lease <= 0:
            return None
        current = (self._incarnation, holder.number)
        if held != current:
            return current, 0.0
        holder.expiry = max(holder.expiry, now + lease)
        return current, lease

    def invalidate(self, keys: frozenset[str] | None, now: float) -> frozenset[int]:
        """Have these keys (None: everything) dropped everywhere; the numbers to wait for."""
        numbers = set()
        for name, holder in self._holders.items():
            touched = frozenset(holder.keys) if keys is None else frozenset(holder.keys & keys)
            if not touched:
                continue
            if now > holder.expiry:
                self._lapse(holder)
                continue
            self._last += 1
            self.sent += 1
            numbers.add(self._last)
            message = Invalidate(self._last, None if keys is None else tuple(sorted(touched)))
            holder.open[self._last] = touched, message
            self._tell(name, message)
        return frozenset(numbers)

    def invalidated(self, name: str, number: int) -> None:
        """The front end has dropped what this invalidation named."""
        holder = self._holder(name)
        if number in holder.open:
            holder.keys -= holder.open.pop(number)[0]

    def tick(self, now: float) -> None:
        """Repeat the open invalidations, but for those whose front end's lease has lapsed."""
        self.lapse_expired(now)
        for name, holder in self._holders.items():
            for _, message in holder.open.values():
                self._tell(name, message)

    def lapse_expired(self, now: float) -> None:
        """Give up the invalidations whose front end's lease has lapsed."""
        for holder in self._holders.values():
            if holder.open and now > holder.expiry:
                self._lapse(holder)

    def open_numbers(self) -> frozenset[int]:
        """The invalidations neither acked nor given up."""
        return frozenset(number for holder in self._holders.values() for number in holder.open)

    def _lapse(self, holder: _Holder) -> None:
        """Go on without the front end's word: nothing of its session is served any more."""
        self.lapsed += 1
        holder.lapse()
