"""The answers to one envelope's calls, as they become ready: an NDJSON line each, on either way that it came."""

from typing import TYPE_CHECKING, Protocol

import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web.server import Request

from pygmy.messages.internal import Answer, AnswerBody
from pygmy.reactors import Turn
from pygmy.sending import send

if TYPE_CHECKING:
    from pygmy.web.channel import BoundedChannel

NDJSON = b"application/x-ndjson"
_ENCODER = msgspec.json.Encoder()
_WHOLE = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s"
_BEGIN = b"HTTP/1.1 200 OK\r\nContent-Type: " + NDJSON + b"\r\nTransfer-Encoding: chunked\r\n\r\n"


class Sink(Protocol):
    """Where an answer is written: all of it at once, or a beginning, parts and an end."""

    @property
    def gone(self) -> bool:
        """Nobody listens any more."""

    def whole(self, media: bytes, body: bytes) -> None:
        """The answer, of which this is all."""

    def begin(self) -> None:
        """There will be parts."""

    def part(self, lines: bytes) -> None:
        """The next one."""

    def end(self) -> None:
        """There are no more."""


class Reply:
    """Gathers the answers to `expected` calls; what becomes ready in one reactor turn is one write."""

    def __init__(self, sink: Sink, clock: IReactorTime, expected: int) -> None:
        self._sink = sink
        self._missing = expected
        self._ready = Turn(clock, self._flush)
        self._begun = False

    def add(self, number: int, body: AnswerBody) -> None:
        """The answer to the call with this id."""
        self._missing -= 1
        if self._sink.gone:
            return
        self._ready.add(_ENCODER.encode(Answer(number, body)))

    def _flush(self, ready: list[bytes]) -> None:
        lines = b"\n".join([*ready, b""])
        if self._sink.gone:
            return
        if not self._missing and not self._begun:
            self._sink.whole(NDJSON, lines)
            return
        if not self._begun:
            self._begun = True
            self._sink.begin()
        self._sink.part(lines)
        if not self._missing:
            self._sink.end()


class OnRequest:
    """A sink: a request of twisted.web's."""

    def __init__(self, request: Request) -> None:
        self.gone = False
        self._request = request
        request.notifyFinish().addErrback(self._client_gone)

    def _client_gone(self, _: Failure) -> None:
        self.gone = True

    def whole(self, media: bytes, body: bytes) -> None:
        """See `Sink`."""
        self._request.setHeader(b"Content-Type", media)
        self._request.setHeader(b"Content-Length", b"%d" % len(body))
        self.part(body)
        self.end()

    def begin(self) -> None:
        """See `Sink`."""
        self._request.setHeader(b"Content-Type", NDJSON)

    def part(self, lines: bytes) -> None:
        """See `Sink`."""
        self._request.write(lines)

    def end(self) -> None:
        """See `Sink`."""
        self._request.finish()


class OnChannel:
    """A sink: a connection whose request has come the short way."""

    def __init__(self, channel: "BoundedChannel") -> None:
        self._channel = channel
        channel.begin_short()

    @property
    def gone(self) -> bool:
        """See `Sink`."""
        return self._channel.gone

    def whole(self, media: bytes, body: bytes) -> None:
        """See `Sink`."""
        send(self._channel.transport, whole(media, body))
        self._channel.end_short()

    def begin(self) -> None:
        """See `Sink`."""
        self._channel.transport.write(_BEGIN)

    def part(self, lines: bytes) -> None:
        """See `Sink`."""
        self._channel.transport.write(b"%x\r\n%s\r\n" % (len(lines), lines))

    def end(self) -> None:
        """See `Sink`."""
        self._channel.transport.write(b"0\r\n\r\n")
        self._channel.end_short()


def whole(media: bytes, body: bytes) -> bytes:
    """The bytes of an answer."""
    return _WHOLE % (media, len(body), body)
