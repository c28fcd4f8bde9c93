"""Keeping what is cached under lease: a front end's renewals."""

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from pygmy.balancing.watch import Ticking
from pygmy.caching.cache import Leases
from pygmy.errors import Problem
from pygmy.messages.internal import Renew, Renewed
from pygmy.peers import LinkDown, Links

log = Logger()


class Renewals(Ticking):
    """Extends, each `interval` seconds, the session of every catalog that something was cached from."""

    def __init__(
        self,
        holder: str,
        catalogs: tuple[str, ...],
        leases: Leases,
        links: Links,
        clock: IReactorTime,
        now: Callable[[], float],
        interval: float,
    ) -> None:
        super().__init__(self._tick, clock, interval)
        self._holder = holder
        self._catalogs = catalogs
        self._leases = leases
        self._links = links
        self._now = now

    def _tick(self) -> None:
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
