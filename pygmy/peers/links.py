"""All links of a node."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from msgspec import Raw
from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.web.iweb import IPolicyForHTTPS

from pygmy.messages.internal import AnswerBody, CallBody, OneWay
from pygmy.peers.agent import NodeAgent
from pygmy.peers.client import NodeClient, http_client
from pygmy.peers.link import Link, encode

KEPT_SECONDS = 0.05


class _Kept:
    """An answer that waits for a message to go with it, not for long."""

    def __init__(self, beats: list[Raw], clock: IReactorTime, line: "list[_Kept]") -> None:
        self.answer: Deferred[list[Raw]] = Deferred()
        self._beats = beats
        self._line = line
        self._timer = clock.callLater(KEPT_SECONDS, self._overdue)

    def ready(self, message: Raw) -> None:
        """This is it. To be called once it is out of the line."""
        self._timer.cancel()
        self.answer.callback([*self._beats, message])

    def _overdue(self) -> None:
        self._line.remove(self)
        self.answer.callback(self._beats)


class Links:
    """All links of a node, by the other node's name: for messages and calls, and a lane for heartbeats.

    Heartbeats have connections of their own and wait behind nothing; of those that a stuck peer has not taken, only
    the newest few are kept. What a node tells itself gets to `deliver` in a later turn of the reactor, and so do
    the messages that come with answers.
    """

    deliver: Callable[[str, OneWay], None] | None = None

    def __init__(
        self,
        urls: Mapping[str, str],
        sender: str,
        secret: str,
        clock: IReactorTime,
        *,
        main: NodeClient,
        heartbeats: NodeClient,
        width: int = 2,
        limit: int = 10_000,
        close: Callable[[], "Deferred[Any]"] = lambda: succeed(None),
    ) -> None:
        def lane(client: NodeClient, width: int, limit: int, patience: float) -> dict[str, Link]:
            return {
                name: Link(
                    url,
                    sender,
                    secret,
                    client,
                    clock,
                    width=width,
                    limit=limit,
                    patience=patience,
                    name=name,
                    arrived=partial(self._deliver, name),
                )
                for name, url in urls.items()
            }

        self._me = sender
        self._clock = clock
        self._main = lane(main, width, limit, 3.0)
        self._heartbeats = lane(heartbeats, 1, 8, 1.0)
        self._close = close
        self._owing = ""
        self._kept: dict[str, list[_Kept]] = {}

    @classmethod
    def on_reactor(
        cls,
        urls: Mapping[str, str],
        sender: str,
        secret: str,
        reactor: Any,
        *,
        width: int = 2,
        policy: IPolicyForHTTPS | None = None,
    ) -> "Links":
        """Links over TCP, or over TLS by `policy` where a URL says https."""
        main, heartbeats = NodeAgent(reactor, width, policy), NodeAgent(reactor, 1, policy)
        return cls(
            urls,
            sender,
            secret,
            reactor,
            main=http_client(main),
            heartbeats=http_client(heartbeats),
            width=width,
            close=lambda: gatherResults([main.close(), heartbeats.close()]),
        )

    def __getitem__(self, name: str) -> Link:
        return self._main[name]

    def tell(self, names: Iterable[str], message: OneWay, *, heartbeat: bool = False, within: float = 0.0) -> None:
        """One way to each of these nodes; `heartbeat`: on the connections that wait behind nothing.

        It is encoded once. A name that is no node's is left out. `within` as for `Link.send`.
        """
        lane = self._heartbeats if heartbeat else self._main
        encoded: Raw | None = None
        for name in names:
            if name in lane:
                encoded = encoded or encode(message)
                lane[name].send(encoded, within)
            elif name == self._me:
                self._clock.callLater(0, self._deliver, name, message)

    def owe(self, name: str) -> None:
        """The answer to the request from this node that is being taken is to wait for what we `reply`."""
        self._owing = name

    def reply(self, name: str, message: OneWay) -> None:
        """Tell this node, by an answer that waits for it, if there is one: that saves a request.

        The newest: should one wait for what never comes, each reply would else go to the request before its own, and
        there would always be one out.
        """
        if kept := self._kept.get(name):
            kept.pop().ready(encode(message))
        else:
            self.tell((name,), message)

    def riders(self, name: str) -> "list[Raw] | Deferred[list[Raw]]":
        """What is to go with the answer to this node: heartbeats, and what we `owe` it."""
        beats = self._heartbeats[name].take() if name in self._heartbeats else []
        owing, self._owing = self._owing, ""
        if owing != name:
            return beats
        kept = self._kept.setdefault(name, [])
        kept.append(_Kept(beats, self._clock, kept))
        return kept[-1].answer

    def _deliver(self, sender: str, message: OneWay) -> None:
        if self.deliver is not None:
            self.deliver(sender, message)

    def call(self, name: str, body: CallBody, request_id: str, timeout: float) -> "Deferred[AnswerBody]":
        """As `Link.call`."""
        return self._main[name].call(body, request_id, timeout)

    @property
    def waiting(self) -> int:
        """How many messages and calls are queued, unsent."""
        return sum(link.waiting for link in self._main.values())

    def close(self) -> "Deferred[None]":
        """Close all links and their connections."""
        for link in (*self._main.values(), *self._heartbeats.values()):
            link.close()
        return self._close().addCallback(lambda _: None)
