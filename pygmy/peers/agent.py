"""The agent under treq's client, for requests to nodes: keep-alive HTTP/1.1 in as few steps as that takes.

Twisted's own agent does all that browsers may want, and costs several times as much; every step of a buy is such a
request. This one does what nodes say to each other: bodies written at once, answers whose length is known or which
are chunked. Links are its `Reader`s, without a Deferred on the way; others ask as they would any agent. It works with
any HTTP/1.1 server, and everything works with `twisted.web.client.Agent` in its place.
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IConsumer, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import URI, BrowserLikePolicyForHTTPS
from twisted.web.http import _ChunkedTransferDecoder
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IPolicyForHTTPS, IResponse
from zope.interface import implementer

from pygmy.peers.answers import Answering, BadAnswer, GiveUp, Head, Reader, head_of
from pygmy.sending import send

CONNECT_SECONDS = 1.0
# The server closes a connection that was idle for 60 s: be first, or a request may meet the closing.
IDLE_SECONDS = 30.0
_LONGEST_HEAD = 32 * 1024


class _Connection(Protocol):
    """One connection, with one request under way at most; `idle(self)` is called whenever it can take another."""

    transport: Any

    def __init__(self, idle: "Callable[[_Connection], None]", lost: "Callable[[_Connection], None]") -> None:
        self._idle = idle
        self._lost = lost
        self._buffer = b""
        self._reader: Reader | None = None
        self._head: Head | None = None  # of the answer whose body is coming
        self._missing = 0
        self._chunks: _ChunkedTransferDecoder | None = None
        self._closed: Deferred[None] | None = None
        self.since = 0.0  # when it became idle

    def ask(self, data: bytes, reader: Reader) -> None:
        """Send a whole request, whose answer this reader is told of."""
        self._reader = reader
        send(self.transport, data)

    def give_up(self, reader: Reader) -> None:
        """As `GiveUp`."""
        if self._reader is reader:
            self._reader = None
            self.transport.abortConnection()

    def close(self) -> Deferred[None]:
        """Close it, idle as it is; fires once it is closed."""
        self._closed = Deferred()
        self.transport.abortConnection()
        return self._closed

    def dataReceived(self, data: bytes) -> None:
        """Bytes of answers, of any cut."""
        reader = self._reader
        try:
            if reader is None:
                raise BadAnswer("an answer that nobody has asked for")
            if self._head is None:
                self._read_head(reader, self._buffer + data if self._buffer else data)
            else:
                self._read_body(reader, data)
        except BadAnswer:
            self._break(Failure())
        except Exception as error:  # a chunk that is none, a header's name that is none
            self._break(Failure(BadAnswer(str(error))))

    def _read_head(self, reader: Reader, data: bytes) -> None:
        end = data.find(b"\r\n\r\n")
        if end < 0:
            if len(data) > _LONGEST_HEAD:
                raise BadAnswer("expected a shorter head")
            self._buffer = data
            return
        self._buffer = b""
        self._head = head = head_of(data[:end])
        if head.length is None:
            self._chunks = _ChunkedTransferDecoder(self._part, self._finish)
        else:
            self._missing = head.length
        reader.begun(head)
        rest = data[end + 4 :]
        if self._reader is reader and (rest or head.length == 0):
            self._read_body(reader, rest)

    def _read_body(self, reader: Reader, data: bytes) -> None:
        if self._chunks is not None:
            self._chunks.dataReceived(data)
            return
        self._missing -= len(data)
        if self._missing < 0:
            raise BadAnswer("more than the length that was announced")
        if data:
            reader.received(data)
        if not self._missing:
            self._finish(b"")

    def _part(self, data: bytes) -> None:
        if self._reader is not None:
            self._reader.received(data)

    def _finish(self, rest: bytes) -> None:
        """The answer is complete: the next request first, or the reader might wish for a connection of its own."""
        reader, self._reader = self._reader, None
        head, self._head, self._chunks = self._head, None, None
        if reader is None:
            return  # given up meanwhile
        if rest or not (head is not None and head.keeps):
            self.transport.abortConnection()
        else:
            self._idle(self)
        reader.ended(None)

    def _break(self, reason: Failure) -> None:
        self.transport.abortConnection()
        self._end(reason)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Nobody is there any more."""
        self._lost(self)
        self._end(reason)
        if self._closed is not None:
            self._closed.callback(None)

    def _end(self, reason: Failure) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.ended(reason)


class _Place:
    """Where the requests for one URL go: what each of them begins with, and the connections that are open there."""

    def __init__(self, agent: "NodeAgent", uri: bytes) -> None:
        self._agent = agent
        parsed = URI.fromBytes(uri)
        self._target = parsed.originForm
        self._host = parsed.netloc
        self.connections = agent.connections.setdefault((parsed.scheme, parsed.netloc), deque())
        self._endpoint = agent.endpoint(parsed)
        self._factory = Factory.forProtocol(cast(Any, lambda: _Connection(self._idle, self._lost)))
        self._factory.noisy = False

    def head(self, method: bytes, headers: Headers | None, body: bytes | None) -> bytes:
        """What goes before the body."""
        lines = [b"%s %s HTTP/1.1\r\nHost: %s" % (method, self._target, self._host)]
        for name, values in () if headers is None else headers.getAllRawHeaders():
            lines += [b"%s: %s" % (name, value) for value in values]
        if body is not None:
            lines.append(b"Content-Length: %d" % len(body))
        return b"\r\n".join([*lines, b"", b""])

    def ask(self, data: bytes, reader: Reader) -> GiveUp:
        """Send a request on a connection that is open, the last used first, or on a new one."""
        while self.connections:
            connection = self.connections.pop()
            if self._agent.seconds() - connection.since < IDLE_SECONDS:
                connection.ask(data, reader)
                return partial(connection.give_up, reader)
            connection.transport.abortConnection()
        return _Connecting(cast("Deferred[_Connection]", self._endpoint.connect(self._factory)), data, reader).give_up

    def _idle(self, connection: _Connection) -> None:
        if len(self.connections) >= self._agent.width or self._agent.closed:
            connection.transport.abortConnection()
            return
        connection.since = self._agent.seconds()
        self.connections.append(connection)

    def _lost(self, connection: _Connection) -> None:
        if connection in self.connections:
            self.connections.remove(connection)


class _Connecting:
    """A request whose connection is not there yet."""

    def __init__(self, connecting: "Deferred[_Connection]", data: bytes, reader: Reader) -> None:
        self._connecting = connecting
        self._connection: _Connection | None = None
        self._data = data
        self._reader = reader
        connecting.addCallbacks(self._connected, reader.ended)

    def _connected(self, connection: _Connection) -> None:
        self._connection = connection
        connection.ask(self._data, self._reader)

    def give_up(self) -> None:
        """As `GiveUp`, but that it hears that connecting was cancelled."""
        if self._connection is not None:
            self._connection.give_up(self._reader)
        else:
            self._connecting.cancel()


class _Collector:
    """What a body producer takes for its consumer."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data


@implementer(IAgent)
class NodeAgent:
    """Keeps up to `width` idle connections a host, and repeats nothing.

    `policy` says whom to believe over TLS, and what to show them (None: whom a browser does). A request that is
    given up, or whose Deferred is cancelled, has its connection closed. Failures are those of connecting, the reason
    for which the connection was lost, or `BadAnswer`.
    """

    def __init__(self, reactor: Any, width: int, policy: IPolicyForHTTPS | None = None) -> None:
        self.width = width
        self.seconds: Callable[[], float] = reactor.seconds
        self.connections: dict[tuple[bytes, bytes], deque[_Connection]] = {}  # idle ones, by scheme and place
        self.closed = False
        self._reactor = reactor
        self._policy = policy
        self._places: dict[bytes, _Place] = {}

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> "Deferred[IResponse]":
        """As any agent's; the body has to be produced at once."""
        answering = Answering()
        body = None if bodyProducer is None else _produced(bodyProducer)
        answering.give_up = self._ask(method, uri, headers, body, answering)
        return answering.answer

    def exchange(self, uri: bytes, headers: Headers, body: bytes, reader: Reader) -> GiveUp:
        """POST this body; the reader may be told of the answer, or of there being none, before this returns."""
        return self._ask(b"POST", uri, headers, body, reader)

    def _ask(self, method: bytes, uri: bytes, headers: Headers | None, body: bytes | None, reader: Reader) -> GiveUp:
        """URLs are remembered: a cluster has few."""
        place = self._places.get(uri)
        if place is None:
            place = self._places[uri] = _Place(self, uri)
        return place.ask(place.head(method, headers, body) + (body or b""), reader)

    def endpoint(self, uri: URI) -> IStreamClientEndpoint:
        """Where this URL's host listens."""
        endpoint = HostnameEndpoint(self._reactor, uri.host, uri.port, timeout=CONNECT_SECONDS)
        if uri.scheme != b"https":
            return endpoint
        policy = self._policy or BrowserLikePolicyForHTTPS()
        return wrapClientTLS(policy.creatorForNetloc(uri.host, uri.port), endpoint)

    def close(self) -> "Deferred[Any]":
        """Close the idle connections (fires when that is done), and others once their request is through."""
        self.closed = True
        idle = [connection for place in self.connections.values() for connection in place]
        return gatherResults([connection.close() for connection in idle])


def _produced(producer: IBodyProducer) -> bytes:
    collector = _Collector()
    producer.startProducing(cast(IConsumer, collector))
    return collector.data
