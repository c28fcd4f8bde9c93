"""Links between nodes: whatever gathers while the previous requests are out goes as one (POST /internal)."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from msgspec import Raw
from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.iweb import IAgent

from pygmy.messages.internal import AnswerBody, CallBody, OneWay

T = TypeVar("T")


class LinkDown(Exception):
    """No answer came. `reason`: refused, timeout, lost, closed, http-<status>; `sent` False: surely never delivered."""

    def __init__(self, reason: str, sent: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent


def encode(message: OneWay) -> Raw:
    """A message encoded once, to be sent to several peers."""
    raise NotImplementedError


def http_client(agent: IAgent) -> HTTPClient:
    """A treq client whose request bodies are written at once, not through the global Cooperator."""
    raise NotImplementedError


def pooled_agent(reactor: Any, width: int) -> tuple[IAgent, Callable[[], "Deferred[Any]"]]:
    """An agent that keeps up to `width` connections a host, retries nothing; and what closes them."""
    raise NotImplementedError


def get_json(
    client: HTTPClient, url: str, type: type[T], timeout: float, clock: IReactorTime
) -> "Deferred[tuple[int, T]]":
    """GET (a /health, say): status and body. LinkDown on anything that is not a JSON `type`, or after `timeout` s."""
    raise NotImplementedError


class Link:
    """One direction, to one node."""

    def __init__(
        self,
        url: str,
        sender: str,
        secret: str,
        client: HTTPClient,
        clock: IReactorTime,
        *,
        width: int = 2,
        limit: int = 10_000,
    ) -> None:
        raise NotImplementedError

    def send(self, message: OneWay | Raw) -> None:
        """Send one way. Lost if its request fails or the queue is full: the protocol repeats."""

    def call(self, body: CallBody, request_id: str, timeout: float) -> "Deferred[AnswerBody]":
        """Ask. Fails with the Problem that the other side refused with, LinkDown, or overloaded (nothing sent).

        After `timeout` seconds, or when cancelled, it is dropped if unsent.
        """
        raise NotImplementedError

    @property
    def waiting(self) -> int:
        """How many messages and calls are queued, unsent."""
        raise NotImplementedError

    def close(self) -> None:
        """Fail what waits with LinkDown("closed")."""


class Links:
    """All links of a node, by the other node's name: a lane for messages and calls, and one for heartbeats."""

    def __init__(
        self,
        urls: Mapping[str, str],
        sender: str,
        secret: str,
        clock: IReactorTime,
        *,
        main: HTTPClient,
        heartbeats: HTTPClient,
        width: int = 2,
        limit: int = 10_000,
    ) -> None:
        raise NotImplementedError

    @classmethod
    def on_reactor(
        cls, urls: Mapping[str, str], sender: str, secret: str, reactor: Any, *, width: int = 2
    ) -> "Links":
        """Links over TCP."""
        raise NotImplementedError

    def send(self, name: str, message: OneWay | Raw) -> None:
        """One way to a node."""

    def heartbeat(self, name: str, message: OneWay | Raw) -> None:
        """One way on the connection that waits behind nothing."""

    def call(self, name: str, body: CallBody, request_id: str, timeout: float) -> "Deferred[AnswerBody]":
        """As `Link.call`."""
        raise NotImplementedError

    def close(self) -> "Deferred[None]":
        """Close all links and their connections."""
        raise NotImplementedError
