"""The listening side with bounds on everything: headers, bodies, time, connections."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

from msgspec import Struct
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.web.resource import IResource
from twisted.web.server import Site

from pygmy.ticking import in_step
from pygmy.tls.refusals import Refusals
from pygmy.web.channel import BoundedChannel, BoundedRequest

# A front end's short way: the exact bytes of a request that came whole, while nothing else is under way on
# its connection -> the exact bytes of the keep-alive answer, or None to go the ordinary way.
Shortcut = Callable[[bytes], bytes | None]
# Takes what has come on a connection on which nothing is under way; False: it is to go the ordinary way.
ShortWay = Callable[[BoundedChannel, bytes], bool]


class Limits(Struct, frozen=True):
    """Bytes, counts and seconds. `body_of` names longer bodies by exact path.

    `idle` bounds the time between requests and the time a client may leave an answer unread; `request` the time
    from a request's first byte to its last; `linger` how long a refused client is heard out.
    """

    header_bytes: int = 16_384
    headers: int = 64
    body: int = 64 * 1024
    body_of: tuple[tuple[bytes, int], ...] = ((b"/internal", 8 * 1024 * 1024),)
    idle: float = 60.0
    request: float = 15.0
    linger: float = 2.0
    connections: int = 2_000

    def body_at(self, path: bytes) -> int:
        """The longest body that this path takes."""
        for exact, limit in self.body_of:
            if exact == path:
                return limit
        return self.body


class BoundedSite(Site):
    """`Site(resource)` within `limits`, HTTP/1.1 keep-alive, pipelined requests answered in order.

    Time is watched by one sweep a second over the open connections: a timer per request would cost more than
    parsing it, and half a second more or less does not matter here.

    `people` True: nodes are not let in here, whatever they know or show.
    """

    SWEEP = 1.0
    requestFactory = BoundedRequest

    def __init__(
        self,
        resource: IResource,
        clock: IReactorTime,
        limits: Limits = Limits(),  # noqa: B008
        shortcut: Shortcut | None = None,
        people: bool = False,
    ) -> None:
        super().__init__(resource, reactor=clock, parsePOSTFormSubmission=False)
        self.limits = limits
        self.people = people
        self.serve(resource, shortcut)
        self.refusals = Refusals(clock.seconds)
        self.channels: set[BoundedChannel] = set()
        self._lingering: set[BoundedChannel] = set()
        self.draining = False
        self._listening = False
        self._drained: list[Deferred[None]] = []
        self._sweeper = LoopingCall(self._sweep)
        self._sweeper.clock = clock

    def serve(self, resource: IResource, shortcut: Shortcut | None = None) -> None:
        """From now on this, to connections that are there already, too.

        `shortcut`, and a resource's `internal` and `short`, are short ways to some of what it serves.
        """
        self.resource = resource
        internal = None if self.people else getattr(resource, "internal", None)
        ways = (shortcut and _by(shortcut), internal and internal.short, getattr(resource, "short", None))
        self.short_ways: tuple[ShortWay, ...] = tuple(way for way in ways if way is not None)

    def buildProtocol(self, addr: IAddress | None) -> BoundedChannel:  # type: ignore[override]
        """A channel without HTTP/2 negotiation and proxies around it."""
        return BoundedChannel(self)

    def startFactory(self) -> None:
        """Twisted's access log is left out: a line per cache hit would cost more than the hit."""
        self._listening = True
        if not self._sweeper.running:
            self._sweeper.start(self.SWEEP, now=False)
            in_step(self._sweeper)

    def stopFactory(self) -> None:
        """The port is closed; connections live on, and so does the sweep as long as there are any."""
        self._listening = False
        self._stop_if_done()

    def log(self, request: Any) -> None:
        """See `startFactory`."""

    def getContentFile(self, length: int | None) -> BytesIO:
        """Bodies are bounded: memory will do, and twisted.web's temporary files would block the reactor."""
        return BytesIO()

    def opened(self, channel: BoundedChannel) -> bool:
        """Register a connection; False when there are too many."""
        if len(self.channels) >= self.limits.connections:
            return False
        self.channels.add(channel)
        return True

    def lingers(self, channel: BoundedChannel) -> bool:
        """Watch one too many, which over TLS is told so after its handshake only; False: there are enough of them."""
        if len(self._lingering) >= max(1, self.limits.connections // 10):
            return False
        self._lingering.add(channel)
        return True

    def closed(self, channel: BoundedChannel) -> None:
        """Forget a connection."""
        self.channels.discard(channel)
        self._lingering.discard(channel)
        self.settled()
        self._stop_if_done()

    @property
    def busy(self) -> int:
        """How many requests are being answered."""
        return sum(channel.answering for channel in self.channels)

    def drain(self) -> "Deferred[None]":
        """Close idle connections now and the others after their answer; fires when no request is under way."""
        self.draining = True
        for channel in [one for one in self.channels if not one.answering]:
            channel.loseConnection()
        if not self.busy:
            return succeed(None)
        self._drained.append(Deferred())
        return self._drained[-1]

    def settled(self) -> None:
        """An answer is complete, or its client is gone."""
        if self._drained and not self.busy:
            waiting, self._drained = self._drained, []
            for waiter in waiting:
                waiter.callback(None)

    def _sweep(self) -> None:
        now = self.reactor.seconds()
        for channel in (*self.channels, *self._lingering):
            channel.check_time(now)

    def _stop_if_done(self) -> None:
        if self._sweeper.running and not self._listening and not self.channels and not self._lingering:
            self._sweeper.stop()


def _by(shortcut: Shortcut) -> ShortWay:
    """The short way that a shortcut is."""

    def way(channel: BoundedChannel, data: bytes) -> bool:
        answer = shortcut(data)
        if answer is None:
            return False
        channel.answer_short(answer)
        return True

    return way
