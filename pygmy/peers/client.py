"""The treq client of every link: what it keeps open, how it reads, and what its failures mean."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import msgspec
from hyperlink import EncodedURL
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import ConnectError, ConnectingCancelledError, ConnectionRefusedError, DNSLookupError
from twisted.internet.interfaces import IConsumer, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from pygmy.peers.agent import NodeAgent
from pygmy.peers.answers import GiveUp, Reader
from pygmy.tls.ends import trouble_of

T = TypeVar("T")

BODY_LIMIT = 64 * 1024


class LinkDown(Exception):
    """No answer came. `sent` False: surely never accepted there.

    `reason`: refused, unreachable, timeout, lost, closed, garbled, tls or http-<status>; `detail` says more of it,
    where there is more to say.
    """

    def __init__(self, reason: str, sent: bool, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent
        self.detail = detail


class AsciiUrl(EncodedURL):
    """A URL that is ASCII already.

    treq would encode it anew for every request, and take the colons of an IPv6 host for a domain name's.
    """

    _ascii: bytes | None = None

    def to_uri(self) -> "AsciiUrl":
        """As it is."""
        return self

    @property
    def ascii(self) -> bytes:
        """As it goes to an agent."""
        if self._ascii is None:
            self._ascii = self.to_text().encode("ascii")
        return self._ascii


@implementer(IBodyProducer)
class ImmediateBody:
    """A request body written at once; twisted's own producers take turns of the global reactor."""

    def __init__(self, body: bytes) -> None:
        self.length = len(body)
        self._body = body

    def startProducing(self, consumer: IConsumer) -> "Deferred[None]":
        """All of it, now."""
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """There is nothing left to pause."""

    def resumeProducing(self) -> None:
        """Nor to resume."""

    def stopProducing(self) -> None:
        """Nor to stop."""


class NodeClient(HTTPClient):
    """treq's client, and `exchange`: a short way for the requests of links, which every step of a buy is.

    Over a `NodeAgent` its reader is told of what comes by the very connection. treq looks for cookies and redirects,
    copies the headers, is ready for compressed answers, and takes four Deferreds, which is most of what a request
    costs; over any other agent it is treq's all the same. Bodies of bytes are written at once, not through the
    global Cooperator.
    """

    def __init__(self, agent: IAgent) -> None:
        super().__init__(agent, data_to_body_producer=ImmediateBody)
        self._short = agent.exchange if isinstance(agent, NodeAgent) else None

    def exchange(self, url: AsciiUrl, headers: Headers, body: bytes, reader: Reader) -> GiveUp:
        """POST this body; the reader may be told of the answer, or of there being none, before this returns."""
        if self._short is not None:
            return self._short(url.ascii, headers, body, reader)
        asking = self.post(url, headers=headers, data=body, unbuffered=True, allow_redirects=False)
        return _ByTreq(cast("Deferred[IResponse]", asking), reader).give_up


class _ByTreq:
    """An exchange of treq's, whose reader is told of what comes."""

    def __init__(self, asking: "Deferred[IResponse]", reader: Reader) -> None:
        self._under_way: Deferred[Any] = asking
        self._reader = reader
        asking.addCallbacks(self._begun, reader.ended)

    def _begun(self, response: IResponse) -> None:
        body = _Body(self._reader.received)
        self._under_way = body.done
        self._reader.begun(response)
        response.deliverBody(body)
        body.done.addCallbacks(lambda _: self._reader.ended(None), self._reader.ended)

    def give_up(self) -> None:
        """As `GiveUp`, but that it hears that it was cancelled."""
        self._under_way.cancel()


def http_client(agent: IAgent) -> NodeClient:
    """The client for all calls to nodes, over this agent."""
    return NodeClient(agent)


class _Body(Protocol):
    """Hands on each part of a response body as it comes; `done` fires at its end, and fails if it was cut.

    Cancelling `done` closes the connection.
    """

    def __init__(self, received: Callable[[bytes], None]) -> None:
        self._received = received
        self.done: Deferred[None] = Deferred(lambda _: self._abandon())

    def _abandon(self) -> None:
        transport = cast(Any, self.transport)
        # Over TLS, to lose it waits for a peer that may have gone; twisted.web's own agent offers nothing else.
        getattr(transport, "abortConnection", transport.loseConnection)()

    def dataReceived(self, data: bytes) -> None:
        """A part of the body; once one is bad, or the reader has gone, the rest is of no use."""
        if self.done.called:
            return
        try:
            self._received(data)
        except Exception:
            self.done.errback(Failure())
            self._abandon()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The end of the body."""
        if self.done.called:
            return
        if reason.check(ResponseDone):
            self.done.callback(None)
        else:
            self.done.errback(reason)


async def read_body(response: IResponse, received: Callable[[bytes], None]) -> None:
    """Pass the body to `received`, part by part. An exception from there, or a cut, is raised here."""
    body = _Body(received)
    response.deliverBody(body)
    await body.done


def link_down(failure: Failure) -> LinkDown:
    """What an exchange's failure means: above all, whether anything can have been delivered."""
    error = failure.value
    if isinstance(error, LinkDown):
        return error
    if (trouble := trouble_of(failure)) is not None:
        return LinkDown("tls", trouble.sent, trouble.why)
    if isinstance(error, ConnectionRefusedError):
        return LinkDown("refused", sent=False)
    if isinstance(error, ConnectingCancelledError):
        return LinkDown("timeout", sent=False)
    if isinstance(error, ConnectError | DNSLookupError):
        return LinkDown("unreachable", sent=False)
    return LinkDown("lost", sent=True)


def get_json(
    client: HTTPClient, url: str, type: type[T], timeout: float, clock: IReactorTime
) -> "Deferred[tuple[int, T]]":
    """GET (a /health, say): status and body. LinkDown on what is not a JSON `type`, or after `timeout` s."""

    async def ask() -> tuple[int, T]:
        response = await client.get(AsciiUrl.from_text(url), unbuffered=True, allow_redirects=False)
        parts = bytearray()

        def received(data: bytes) -> None:
            if len(parts) <= BODY_LIMIT:
                parts.extend(data)

        await read_body(response, received)
        try:
            return response.code, msgspec.json.decode(bytes(parts), type=type)
        except (msgspec.DecodeError, UnicodeDecodeError):
            reason = "garbled" if response.code == 200 else f"http-{response.code}"
            raise LinkDown(reason, sent=True) from None

    return _bounded(Deferred.fromCoroutine(ask()), timeout, clock)


def _bounded(exchange: "Deferred[T]", timeout: float, clock: IReactorTime) -> "Deferred[T]":
    """Within `timeout` seconds, failing with LinkDown only (or CancelledError, when the caller cancels)."""
    expired = False

    def expire() -> None:
        nonlocal expired
        expired = True
        exchange.cancel()

    timer = clock.callLater(timeout, expire)

    def ended(result: T | Failure) -> T | Failure:
        if timer.active():
            timer.cancel()
        if not isinstance(result, Failure):
            return result
        if expired:
            return Failure(LinkDown("timeout", sent=not result.check(ConnectingCancelledError)))
        return result if result.check(CancelledError) else Failure(link_down(result))

    return cast("Deferred[T]", exchange.addBoth(ended))
