"""Keeping what is cached under lease: a front end's renewals."""

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from pygmy.caching.cache import Leases
from pygmy.errors import Problem
from pygmy.logs import Logger
from pygmy.messages.internal import Renew, Renewed
from pygmy.peers import LinkDown, Links
from pygmy.ticking import Ticking

log = Logger()


UNUSED_SECONDS = 5.0


class Renewals(Ticking):
    """Extends, each `interval` seconds, the session of every catalog that something was cached from.

    While nobody looks anything up (`lookups` counts that) the leases are left to run out. The next look-up is a fill
    then, which extends its catalog's session, and with it all that was cached under that.
    """

    def __init__(
        self,
        holder: str,
        catalogs: tuple[str, ...],
        leases: Leases,
        links: Links,
        clock: IReactorTime,
        now: Callable[[], float],
        interval: float,
        lookups: Callable[[], int],
    ) -> None:
        super().__init__(self._tick, clock, interval)
        self._holder = holder
        self._catalogs = catalogs
        self._leases = leases
        self._links = links
        self._now = now
        self._lookups = lookups
        self._seen, self._used_at = 0, now()

    def _tick(self) -> None:
        lookups = self._lookups()
        if lookups != self._seen:
            self._seen, self._used_at = lookups, self._now()
        if self._now() - self._used_at > UNUSED_SECONDS:
            return
        for name in self._catalogs:
            session = self._leases.session(name)
            if session is not None:
                renewing = Deferred.fromCoroutine(self._renew(name, Renew(self._holder, session)))
                renewing.addErrback(lambda failure: log.failure("a renewal failed", failure))

    async def _renew(self, name: str, body: Renew) -> None:
        sent = self._now()
        try:
            # No longer than two intervals: by then two newer renewals are on their way.
            answer = await self._links.call(name, body, "-", 2 * self._interval)
        except (LinkDown, Problem):
            return  # the lease runs out if no later one succeeds; heartbeats tell what is wrong
        if isinstance(answer, Renewed):
            self._leases.extend(name, answer.session, answer.lease, sent, self._now())
