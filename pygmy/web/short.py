"""The short way to a route: the same handlers, without twisted.web's request object and without Klein around them.

It is for requests that come whole and are plain: one keep-alive HTTP/1.1 request of a known path and method. All
others go the ordinary way, which gives the same answer (but for Date and X-Request-ID). Parsing, routing and writing
cost two thirds of the time that a front end had for a buy; here they cost a tenth of that.
"""

import re
from collections.abc import Callable, Sequence
from io import BytesIO
from time import time
from typing import TYPE_CHECKING, Any, cast

from msgspec import Struct
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IAddress
from twisted.python.failure import Failure
from twisted.web.http import NO_BODY_CODES, RESPONSES, datetimeToString, parse_qs
from twisted.web.http_headers import Headers
from twisted.web.iweb import IRequest
from twisted.web.server import version

from pygmy.logs import Logger
from pygmy.reactors import at_turn_end
from pygmy.sending import send
from pygmy.web.hosts import is_host
from pygmy.web.openapi import Route
from pygmy.web.requests import CONDITIONS

if TYPE_CHECKING:
    from pygmy.web.channel import BoundedChannel

log = Logger()

Serve = Callable[..., "Deferred[bytes]"]

_LONGEST = 4_096
_MOST_HEADERS = 32
_HEADS = 512  # heads that are remembered, taken apart
_LINE = re.compile(rb"([A-Z]{3,6}) ((/[a-z]+)(?:/([A-Za-z0-9._~-]+))?(?:\?([!-\"$-~]*))?) HTTP/1\.1\Z")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_VALUE = re.compile(rb"[ -~]*\Z")
# What changes how a request is read, or the connection itself, or is refused; and what is so with a write.
_SPECIAL = frozenset({b"transfer-encoding", b"expect", b"upgrade", b"te", b"trailer"})
_SPECIAL_IN_WRITES = _SPECIAL | CONDITIONS


class _Head(Struct, frozen=True):
    """The head of a request, taken apart; `length` is that of its body."""

    method: bytes
    uri: bytes
    path: bytes
    serve: Serve
    parts: dict[str, str]
    query: bytes
    headers: Headers
    length: int


class _AnswerHeaders:
    """Of an answer: one value a name, and no line ends in it."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}

    def lines(self) -> bytes:
        """As they stand in the head. Line ends in a value are as spaces: no value can bring more headers."""
        lines = b"".join([b"%s: %s\r\n" % header for header in self.values.items()])
        if lines.count(b"\r") + lines.count(b"\n") == 2 * len(self.values):
            return lines
        return b"".join(
            [b"%s: %s\r\n" % (name, b" ".join(value.splitlines())) for name, value in self.values.items()]
        )

    def getRawHeaders(self, name: bytes) -> list[bytes] | None:
        """As twisted.web's."""
        value = self.values.get(name)
        return None if value is None else [value]


class ShortRequest:
    """What handlers use of `twisted.web.iweb.IRequest`."""

    def __init__(self, channel: "BoundedChannel", head: _Head, body: bytes) -> None:
        self.channel = channel
        self.method = head.method
        self.uri = head.uri
        self.path = head.path
        self.args: dict[bytes, list[bytes]] = parse_qs(head.query, 1) if head.query else {}
        self.requestHeaders = head.headers
        self.responseHeaders = _AnswerHeaders()
        self.content = BytesIO(body)
        self.code = 200
        self.code_message = RESPONSES[200]

    def getHeader(self, key: bytes) -> bytes | None:
        """The last of the request's headers of this name."""
        values = self.requestHeaders.getRawHeaders(key)
        return values[-1] if values else None

    def setHeader(self, name: bytes, value: bytes) -> None:
        """Of the answer."""
        self.responseHeaders.values[name] = value

    def setResponseCode(self, code: int, message: bytes | None = None) -> None:
        """Of the answer."""
        self.code = code
        self.code_message = message or RESPONSES.get(code, b"Unknown Status")

    def getClientAddress(self) -> IAddress:
        """Who asks."""
        return cast(IAddress, self.channel.getPeer())


class ShortWay:
    """Routes by method and path, each with what serves it: `serve(request, **parts)` fires with the body.

    Call it with a connection on which nothing is under way, and what has come there; False: go the ordinary way.
    Answers that become ready in one turn of the reactor are sent at its end.
    """

    def __init__(self, served: Sequence[tuple[Route, Serve]], wall: Callable[[], float] = time) -> None:
        self._routes: dict[tuple[bytes, bytes, bool], tuple[Serve, str]] = {}
        for route, serve in served:
            found = re.fullmatch(r"(/[a-z]+)(?:/{(\w+)})?", route.path)
            if found is not None:
                key = route.method.encode("ascii"), found[1].encode("ascii"), found[2] is not None
                self._routes[key] = serve, found[2] or ""
        self._heads: dict[bytes, _Head] = {}
        self._ready: list[tuple[BoundedChannel, bytes]] = []
        self._wall = wall
        self._second = -1
        self._common = b""

    def __call__(self, channel: "BoundedChannel", data: bytes) -> bool:
        """Serve the one request that the data is, if it is."""
        end = data.find(b"\r\n\r\n")
        if not 0 < end <= _LONGEST:
            return False
        raw = data[:end]
        head = self._heads.get(raw) or self._learn(raw)
        if head is None or len(data) != end + 4 + head.length or head.length > channel.body_limit(head.path):
            return False
        request = ShortRequest(channel, head, data[end + 4 :])
        serving = head.serve(cast(IRequest, request), **head.parts)
        channel.begin_short(serving.cancel)
        serving.addCallback(self._answer, request).addErrback(_failed, channel)
        return True

    def _answer(self, body: bytes, request: ShortRequest) -> None:
        channel = request.channel
        if channel.gone:
            return
        second = int(self._wall())
        if second != self._second:
            self._second = second
            self._common = b"\r\nServer: %s\r\nDate: %s\r\n" % (version, datetimeToString(second))
        top = b"HTTP/1.1 %d %s%s" % (request.code, request.code_message, self._common)
        lines = request.responseHeaders.lines()
        shown = b"" if request.code in NO_BODY_CODES else body
        if not self._ready:
            at_turn_end(channel.site.reactor, self._send)
        self._ready.append((channel, b"".join((top, lines, b"\r\n", shown))))

    def _send(self) -> None:
        ready, self._ready = self._ready, []
        for channel, answer in ready:
            if not channel.gone:
                send(channel.transport, answer)
                channel.end_short()

    # ---- heads

    def _learn(self, raw: bytes) -> _Head | None:
        head = self._read(raw)
        if head is not None and not head.headers.hasHeader(b"Authorization"):  # secrets are not kept
            if len(self._heads) >= _HEADS:
                self._heads.clear()
            self._heads[raw] = head
        return head

    def _read(self, raw: bytes) -> _Head | None:
        first, *lines = raw.split(b"\r\n")
        line = _LINE.match(first)
        if line is None or len(lines) > _MOST_HEADERS:
            return None
        method, uri, path, part, query = line.groups()
        serve, name = self._routes.get((method, path, part is not None), (None, ""))
        headers = None if serve is None else _headers(lines, _SPECIAL if method == b"GET" else _SPECIAL_IN_WRITES)
        length = None if headers is None else _length(headers)
        if serve is None or headers is None or length is None:
            return None
        parts = {} if part is None else {name: part.decode("ascii")}
        whole = path if part is None else path + b"/" + part
        return _Head(method, uri, whole, serve, parts, query or b"", headers, length)


def _headers(lines: list[bytes], special: frozenset[bytes]) -> Headers | None:
    """None where one is odd, or special, or is about the connection."""
    headers = Headers()
    for line in lines:
        name, colon, rest = line.partition(b":")
        value = rest.strip(b" \t")
        if not colon or not _NAME.match(name) or not _VALUE.match(value):
            return None
        lowered = name.lower()
        if lowered in special or (lowered == b"connection" and value.lower() != b"keep-alive"):
            return None
        headers.addRawHeader(name, value)
    hosts = headers.getRawHeaders(b"Host") or []
    return headers if len(hosts) == 1 and is_host(hosts[0]) else None


def _length(headers: Headers) -> int | None:
    values = headers.getRawHeaders(b"Content-Length")
    if values is None:
        return 0
    return int(values[0]) if len(values) == 1 and re.fullmatch(rb"[0-9]{1,8}", values[0]) else None


def _failed(failure: Failure, channel: "BoundedChannel") -> Any:
    """Errors have been answered before; this is its client's leaving, or a bug."""
    if not failure.check(CancelledError):
        log.failure("an answer failed", failure)
        channel.transport.abortConnection()
