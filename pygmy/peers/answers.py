"""Answers to the requests of nodes: what is told of them as they come, and what an agent makes of that."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Protocol, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IProtocol, ITransport
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse
from zope.interface import implementer

_HEADS = 256  # heads of answers that are remembered
# Ends an exchange, with its connection: nothing more is to be heard of it.
GiveUp = Callable[[], None]


class BadAnswer(Exception):
    """What came is no answer that this agent can read."""


class Reader(Protocol):
    """Whoever is told of an answer, as it comes."""

    def begun(self, head: Any) -> None:
        """Its head is here; `code` is its status."""

    def received(self, data: bytes) -> None:
        """A part of its body."""

    def ended(self, reason: Failure | None) -> None:
        """It is complete (None), or nothing more comes, for this reason. The last that is heard of it."""


class Head:
    """The head of an answer, taken apart; `length` None: the body is chunked. Answers repeat their heads."""

    __slots__ = ("code", "headers", "keeps", "length", "phrase")

    def __init__(self, raw: bytes) -> None:
        status, *lines = raw.split(b"\r\n")
        version, code, self.phrase = (*status.split(b" ", 2), b"")[:3]
        if version != b"HTTP/1.1" or not code.isdigit():
            raise BadAnswer("expected an answer in HTTP/1.1")
        self.code = int(code)
        self.headers = Headers()
        for line in lines:
            name, colon, value = line.partition(b":")
            if not colon:
                raise BadAnswer("expected headers")
            self.headers.addRawHeader(name, value.strip())
        self.length = self._length()
        self.keeps = self._one(b"Connection").lower() != b"close"

    def _length(self) -> int | None:
        if self.code in (204, 304):
            return 0
        if self._one(b"Transfer-Encoding").lower() == b"chunked":
            return None
        length = self._one(b"Content-Length")
        if not length.isdigit():
            raise BadAnswer("expected an answer whose length is known")
        return int(length)

    def _one(self, name: bytes) -> bytes:
        return (self.headers.getRawHeaders(name) or [b""])[-1]


head_of = lru_cache(maxsize=_HEADS)(Head)


@implementer(IResponse)
class _Response:
    """An answer as any agent gives it; what comes before somebody reads it is kept."""

    version = (b"HTTP", 1, 1)
    request = None
    previousResponse: IResponse | None = None

    def __init__(self, head: Head, give_up: GiveUp) -> None:
        self.code = head.code
        self.phrase = head.phrase
        self.headers = head.headers
        self.length = head.length
        self._give_up = give_up
        self._protocol: IProtocol | None = None
        self._kept: list[bytes] = []
        self._end: Failure | None = None

    def deliverBody(self, protocol: IProtocol) -> None:
        """Its `dataReceived` gets the body, part by part; `connectionLost` its end (ResponseDone: all of it)."""
        self._protocol = protocol
        protocol.makeConnection(cast(ITransport, self))
        for data in self._kept:
            protocol.dataReceived(data)
        self._kept = []
        if self._end is not None:
            protocol.connectionLost(self._end)

    def setPreviousResponse(self, response: IResponse) -> None:
        """There was a redirect before."""
        self.previousResponse = response

    def abortConnection(self) -> None:
        """What the reader of a body may ask of its transport."""
        self._give_up()
        self.ended(Failure(ConnectionAborted()))

    loseConnection = abortConnection

    def received(self, data: bytes) -> None:
        """A part of the body."""
        if self._protocol is None:
            self._kept.append(data)
        else:
            self._protocol.dataReceived(data)

    def ended(self, reason: Failure) -> None:
        """The end of the body."""
        if self._end is None:
            self._end = reason
            if self._protocol is not None:
                self._protocol.connectionLost(reason)


class Answering:
    """The reader that turns what it is told into what an agent gives."""

    def __init__(self) -> None:
        self.answer: Deferred[IResponse] = Deferred(lambda _: self.give_up())
        self.give_up: GiveUp
        self._response: _Response | None = None

    def begun(self, head: Head) -> None:
        """See `Reader`."""
        self._response = _Response(head, lambda: self.give_up())
        self.answer.callback(cast(IResponse, self._response))

    def received(self, data: bytes) -> None:
        """See `Reader`."""
        if self._response is not None:
            self._response.received(data)

    def ended(self, reason: Failure | None) -> None:
        """See `Reader`."""
        if self._response is not None:
            self._response.ended(reason or _DONE)
        else:
            self.answer.errback(reason)


_DONE = Failure(ResponseDone())
