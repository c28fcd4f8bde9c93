"""One connection of a `BoundedSite`. Garbage gets problem+json and is closed; nothing waits for a slow client."""

import re
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IDelayedCall, IHandshakeListener, INegotiated, ITCPTransport
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.server import Request
from zope.interface import implementer

from pygmy.errors import Problem, bad_request, unavailable
from pygmy.logs import Logger
from pygmy.sending import send
from pygmy.tls.ends import trouble_of
from pygmy.tls.names import names_in
from pygmy.web.hosts import why_not
from pygmy.web.problems import PROBLEM_MEDIA, answer_problem, as_problem, problem_body, problem_headers
from pygmy.web.requests import request_id, sane_request_id, too_large

if TYPE_CHECKING:
    from pygmy.web.site import BoundedSite

log = Logger()
_HELLO = b"\x16"  # how a TLS handshake begins, and no request
_ABSOLUTE = re.compile(rb"https?://[^/?]*", re.IGNORECASE)


class BoundedRequest(Request):
    """A request whose body is bounded while it arrives, and whose failure is never shown as HTML."""

    defaultContentType = b"application/json"
    channel: "BoundedChannel"
    body_limit = 0
    _received = 0

    def handleContentChunk(self, data: bytes) -> None:
        """A part of the body, of a length that was not announced if it is chunked."""
        self._received += len(data)
        if self._received <= self.body_limit:
            super().handleContentChunk(data)
        else:
            self.channel.refuse(too_large(self.body_limit))

    def process(self) -> None:
        """As twisted.web, except for the path "*", which it answers without a body."""
        if self.path == b"*":
            self.path = b"/*"
        super().process()

    def processingFailed(self, reason: Failure) -> Failure:
        """What no error handler caught."""
        if not self.finished and not self._disconnected:
            self.write(answer_problem(self, as_problem(reason, request_id(self))))
            self.finish()
        return reason


@implementer(IHandshakeListener)
class BoundedChannel(HTTPChannel):
    """HTTP/1.1 with the limits of its site, over TCP or TLS.

    `_since` is when the present state began: shaking hands (TLS), idle (no byte of a request yet), reading, answering
    or refused. `bears` are the nodes whose name the other side has proven to bear, by a certificate of our CA.
    `gone`: it is no longer there.
    """

    bears: frozenset[str] = frozenset()

    timeOut = None  # the site sweeps instead
    transport: Any
    _networkProducer: Any

    def __init__(self, site: "BoundedSite") -> None:
        super().__init__()
        limits = site.limits
        self.site = self.factory = site
        self.requestFactory = site.requestFactory
        self.MAX_LENGTH = self.totalHeadersSize = limits.header_bytes
        self.maxHeaders = limits.headers
        self._limits = limits
        self._seconds = site.reactor.seconds
        self._since = self._seconds()
        self._idle = True
        self._refused = False
        self.gone = False
        self._left: Callable[[], None] | None = None
        self._tls = self._shaking = False
        self._turn: IDelayedCall | None = None
        self._held = False  # nothing is read, as the client does not read

    @property
    def answering(self) -> bool:
        """Whether a request is being answered."""
        return self._handlingRequest

    def connectionMade(self) -> None:
        """Register with the site, which may have enough of us."""
        self._tls = self._shaking = INegotiated.providedBy(self.transport)
        super().connectionMade()
        if self.site.opened(self):
            return
        if self._tls and not self.site.lingers(self):
            self.transport.abortConnection()
            return
        self.refuse(unavailable("Too many connections. Try again soon."))
        self.transport.loseConnection()

    def handshakeCompleted(self) -> None:
        """TLS: from here on it is as any connection, of somebody who may have shown a certificate."""
        self._shaking = False
        self._since = self._seconds()
        certificate = self.transport.getPeerCertificate()
        if certificate is not None:  # verified, or there would be no connection
            self.bears = names_in(certificate.to_cryptography())

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """Nobody is there any more."""
        if self._shaking and (trouble := trouble_of(reason)) is not None:
            self.site.refusals(self.transport.getPeer(), trouble.why, trouble.claimed)
        self._handlingRequest = False
        self.gone = True
        left, self._left = self._left, None
        if left is not None:
            left()
        if self._turn is not None:
            self._turn.cancel()
        super().connectionLost(reason)
        self.site.closed(self)

    # ---- bytes in

    def dataReceived(self, data: bytes) -> None:
        """Bytes of requests, of any cut."""
        if self.transport.disconnecting and not self._refused:
            return  # over TLS more may come: nobody would hear the answer
        if self._idle:
            for way in () if self.site.draining else self.site.short_ways:
                if way(self, data):
                    return
            self._idle = False
            self._since = self._seconds()
            if data[:1] == _HELLO and not self._tls:  # it would wait for an answer to that
                self.refuse(bad_request("Expected plain HTTP here, not TLS."))
        if not self._refused:
            self._parse(data)

    def _parse(self, data: bytes) -> None:
        try:
            LineReceiver.dataReceived(self, data)
        except ValueError:  # a Content-Length of thousands of digits, say
            self.refuse(bad_request("The request cannot be read."))
        self._see_if_idle()

    def _see_if_idle(self) -> None:
        """What was left of the bytes may have been an empty line, which is no request."""
        if not (self._handlingRequest or self._refused or self._buffer or self.requests):
            self._idle = True

    def lineReceived(self, line: bytes) -> None:
        """A line of a head; those after a refused one are heard out and dropped."""
        if not self._refused:
            super().lineReceived(line)

    def rawDataReceived(self, data: bytes) -> None:
        """Bytes of a body; those of a refused one are heard out and dropped."""
        if not self._refused:
            super().rawDataReceived(data)

    def allHeadersReceived(self) -> None:
        """Refuse a wrong Host; and a body by its announced length, before asking for it or storing any of it."""
        self._path = origin_form(self._path)
        request = self.requests[-1]
        trouble = why_not(request.requestHeaders.getRawHeaders(b"Host", []), self._version)
        request.body_limit = self._limits.body_at(self._path.partition(b"?")[0])
        if trouble:
            self.refuse(bad_request(trouble))
        elif self.length is not None and self.length > request.body_limit:
            self.refuse(too_large(request.body_limit))
        else:
            super().allHeadersReceived()

    def allContentReceived(self) -> None:
        """Answer the request, unless the chunk that ends its body was one too many."""
        if not self._refused:
            super().allContentReceived()

    def requestDone(self, request: Request) -> None:
        """An answer is complete: on to the next request.

        One that is here already waits for the reactor's next turn: who sends thousands at once, each of which is
        answered at once, would else hold up everybody until the last of them.
        """
        if self._buffer or any(self._dataBuffer):
            self._turn = self.site.reactor.callLater(0, self._go_on, request)
        else:
            self._go_on(request)

    def _go_on(self, request: Request) -> None:
        self._turn = None
        if self.site.draining:
            self.persistent = False
        self._since = self._seconds()
        super().requestDone(request)
        if not self.persistent:
            self._handlingRequest = False
        self._see_if_idle()
        self.site.settled()

    # ---- requests that come a short way

    def body_limit(self, path: bytes) -> int:
        """The longest body that this path takes."""
        return self._limits.body_at(path)

    def begin_short(self, left: Callable[[], None] | None = None) -> None:
        """One is being answered; what comes meanwhile is kept. `left()`: what to do if the other side leaves then."""
        self._idle = False
        self._handlingRequest = True
        self._left = left
        self._since = self._seconds()
        self.setRawMode()

    def answer_short(self, answer: bytes) -> None:
        """One is answered at once, by these bytes."""
        self._since = self._seconds()
        send(self.transport, answer)

    def end_short(self) -> None:
        """Its answer is complete."""
        self._handlingRequest = False
        self._left = None
        self._idle = True
        self._since = self._seconds()
        kept, self._dataBuffer = b"".join(self._dataBuffer), []
        self.setLineMode()
        if self.site.draining:
            self.loseConnection()
        else:
            if (kept or self._held) and not self._waitingForTransport:
                self._held = False
                self._networkProducer.resumeProducing()
            if kept:
                self.dataReceived(kept)
        self.site.settled()

    # ---- refusals

    def lineLengthExceeded(self, line: bytes) -> None:
        """A line beyond all headers."""
        self.refuse(self._head_too_large())

    def _respondToBadRequestAndDisconnect(self) -> None:
        """Whatever twisted.web could not read."""
        long = self._receivedHeaderSize > self.totalHeadersSize or self._receivedHeaderCount > self.maxHeaders
        self.refuse(self._head_too_large() if long else bad_request(self._malformed()))

    def _malformed(self) -> str:
        if not hasattr(self, "_version"):  # it has that from a first line until the end of the request
            return "Expected a first line such as GET /books HTTP/1.1, its target in visible ASCII characters."
        return "Expected well-formed headers, and a body just as Content-Length or Transfer-Encoding announces it."

    def _head_too_large(self) -> Problem:
        if not self.requests:  # it begins with the second line
            return Problem(414, "URI too long", f"Expected a first line of at most {self.totalHeadersSize} bytes.")
        detail = f"Expected at most {self.maxHeaders} headers in {self.totalHeadersSize} bytes."
        return Problem(431, "Headers too large", detail)

    def refuse(self, problem: Problem) -> None:
        """Answer what cannot become a request, and close.

        Closing at once would reset the connection while the client still sends, and the answer would be lost: only
        our half is closed (as TLS does by itself until the other side agrees), and the rest is heard out for `linger`
        seconds.
        """
        if self._refused:
            return
        self._refused = True
        self._idle = False
        self._since = self._seconds()
        self._networkProducer.unregisterProducer()  # else a write before the end of a handshake would stop reading
        self.transport.write(_raw_answer(problem, self._sent_request_id()))
        if ITCPTransport.providedBy(self.transport) and not self._tls:
            self.transport.loseWriteConnection()
        else:
            self.transport.loseConnection()

    def _sent_request_id(self) -> bytes | None:
        if not self.requests:
            return None
        found: list[bytes] = self.requests[-1].requestHeaders.getRawHeaders(b"X-Request-ID", [None])
        return found[-1]

    # ---- time

    def check_time(self, now: float) -> None:
        """Close what has been in its state for too long."""
        spent, limits = now - self._since, self._limits
        if self._refused:
            if spent > limits.linger:
                self.transport.abortConnection()
        elif self._shaking:
            if spent > limits.request:
                self.transport.abortConnection()
        elif self._waitingForTransport or self.transport.disconnecting:
            if spent > limits.idle:  # an answer that its client does not read
                self.transport.abortConnection()
        elif self._idle:
            if spent > limits.idle:
                self.loseConnection()
        elif not self._handlingRequest and spent > limits.request:
            self.refuse(Problem(408, "Request timeout", "The request did not arrive in time."))

    def pauseProducing(self) -> None:
        """The client does not read its answers as fast as they come: it is not asked for more requests.

        twisted.web would go on reading while it answers one, and again once it has.
        """
        self._since = self._seconds()
        super().pauseProducing()
        self._held = True
        self._networkProducer.pauseProducing()


def origin_form(target: bytes) -> bytes:
    """The target without `http://host`, which a server must accept as well (RFC 9112, 3.2.2)."""
    absolute = _ABSOLUTE.match(target)
    if absolute is None:
        return target
    rest = target[absolute.end() :]
    return rest if rest.startswith(b"/") else b"/" + rest


def _raw_answer(problem: Problem, sent_id: bytes | None) -> bytes:
    """A whole answer, for where no Request exists to write it."""
    chosen = sane_request_id(sent_id)
    body = problem_body(problem, chosen)
    headers: dict[str, Any] = {
        "Content-Type": PROBLEM_MEDIA,
        "Content-Length": len(body),
        "Connection": "close",
        "X-Request-ID": chosen,
        **problem_headers(problem),
    }
    reason = HTTPStatus(problem.status).phrase
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {problem.status} {reason}\r\n{head}\r\n".encode("ascii") + body
