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
from twisted.web.http import NO_BODY_CODES, RESPONSES, datetimeToString
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
_REMEMBERED = 512  # headers that were read before: most clients send the same ones with each request
_LINE = re.compile(rb"([A-Z]{3,6}) ((/[a-z]+)(?:/([A-Za-z0-9._~-]+))?(?:\?[!-\"$-~]*)?) HTTP/1\.1\Z")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_VALUE = re.compile(rb"[ -~]*\Z")
# What changes how a request is read, or the connection itself.
_SPECIAL = frozenset({b"transfer-encoding", b"expect", b"upgrade", b"te", b"trailer"})


class _Fields(Struct, frozen=True):
    """The headers of a request: the length of its body, and whether it sets a condition, which no write may."""

    headers: Headers
    length: int
    conditional: bool


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

    def __init__(
        self, channel: "BoundedChannel", method: bytes, uri: bytes, path: bytes, headers: Headers, body: bytes
    ) -> None:
        self.channel = channel
        self.method = method
        self.uri = uri
        self.path = path
        self.requestHeaders = headers
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
        self._fields: dict[bytes, _Fields] = {}
        self._ready: list[tuple[BoundedChannel, bytes]] = []
        self._wall = wall
        self._second = -1
        self._common = b""

    def __call__(self, channel: "BoundedChannel", data: bytes) -> bool:
        """Serve the one request that the data is, if it is."""
        cut, end = data.find(b"\r\n"), data.find(b"\r\n\r\n")
        line = _LINE.match(data, 0, cut) if 0 < cut < end <= _LONGEST else None
        if line is None:
            return False
        method, uri, first, part = line.groups()
        serve, name = self._routes.get((method, first, part is not None), (None, ""))
        if serve is None:
            return False
        raw = data[cut + 2 : end]
        fields = self._fields.get(raw) or self._learn(raw)
        path = first if part is None else first + b"/" + part
        if (
            fields is None
            or (fields.conditional and method != b"GET")
            or len(data) != end + 4 + fields.length
            or fields.length > channel.body_limit(path)
        ):
            return False
        request = ShortRequest(channel, method, uri, path, fields.headers, data[end + 4 :])
        parts = {} if part is None else {name: part.decode("ascii")}
        serving = serve(cast(IRequest, request), **parts)
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

    def _learn(self, raw: bytes) -> _Fields | None:
        fields = _read(raw.split(b"\r\n"))
        if fields is not None and not fields.headers.hasHeader(b"Authorization"):  # secrets are not kept
            if len(self._fields) >= _REMEMBERED:
                self._fields.clear()
            self._fields[raw] = fields
        return fields


def _read(lines: list[bytes]) -> _Fields | None:
    headers = _headers(lines) if len(lines) <= _MOST_HEADERS else None
    length = None if headers is None else _length(headers)
    if headers is None or length is None:
        return None
    conditional = any(name.lower() in CONDITIONS for name, _ in headers.getAllRawHeaders())
    return _Fields(headers, length, conditional)


def _headers(lines: list[bytes]) -> Headers | None:
    """None where one is odd, or special, or is about the connection."""
    headers = Headers()
    for line in lines:
        name, colon, rest = line.partition(b":")
        value = rest.strip(b" \t")
        if not colon or not _NAME.match(name) or not _VALUE.match(value):
            return None
        lowered = name.lower()
        if lowered in _SPECIAL or (lowered == b"connection" and value.lower() != b"keep-alive"):
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
