"""A front end in memory: one clock, no socket, back ends that answer what a test tells them to."""

from collections.abc import Callable
from typing import Any

import msgspec
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher
from twisted.web.iweb import IAgent
from zope.interface import implementer

from pygmy.cluster import Node, parse_cluster
from pygmy.errors import Problem
from pygmy.frontend import FrontEnd, Settings
from pygmy.messages.internal import Call, Filled, Invalidated, Listed, Renewed
from pygmy.messages.operations import Book, Order, OrderLine
from pygmy.peers import Link, Links, http_client
from pygmy.web.app import make_app, root_resource
from pygmy.web.auth import Secrets
from pygmy.web.internal import Internal
from pygmy.web.metrics import Metrics
from pygmy.web.status import ClusterBody, Health, common_routes

SECRETS = Secrets("cluster-secret-of-tests", "admin-token-of-tests")
ADMIN = {"Authorization": f"Bearer {SECRETS.admin}"}
MEMBER = {"Authorization": f"Bearer {SECRETS.cluster}"}
LEASE = 1.0


class BackEnd:
    """A catalog or order server: real paths, scripted answers.

    `answers` maps a call's type to what makes its answer: a value, a Problem to raise, or a Deferred.
    """

    def __init__(self, node: Node, clock: Clock) -> None:
        self.node = node
        self.up = True
        self.frozen = False
        self.health = Health("Healthy", str(node.role), node.name, "RUNNING", 3, 2)
        self.answers: dict[type, Callable[[Any], Any]] = {}
        self.calls: list[Call] = []
        self.acked: list[int] = []
        metrics = Metrics(str(node.role), node.name)
        routes = common_routes(
            health=lambda: self.health, cluster=lambda: ClusterBody(node.name, ()), metrics=metrics
        )
        app = make_app(routes, secrets=SECRETS, metrics=metrics)
        internal = Internal(SECRETS, clock, self._receive, self._answer)
        self.agent = RequestTraversalAgent(root_resource(app, internal=internal))

    def _receive(self, sender: str, message: object) -> None:
        if isinstance(message, Invalidated):
            self.acked.append(message.number)

    def _answer(self, sender: str, call: Call) -> "Deferred[Any]":
        self.calls.append(call)
        answer = self.answers.get(type(call.body))
        return maybeDeferred(answer, call.body) if answer else fail(Problem(503, "Unavailable", "Not now."))

    def bodies(self, kind: type) -> list[Any]:
        return [call.body for call in self.calls if isinstance(call.body, kind)]


@implementer(IAgent)
class Wire:
    """Requests by host and port to back ends that are up, refused by those that are down."""

    def __init__(self, backs: dict[str, BackEnd]) -> None:
        self._backs = {back.node.netloc: back for back in backs.values()}
        self.lost_after_delivery: set[str] = set()

    def request(self, method: bytes, uri: bytes, headers: Any = None, bodyProducer: Any = None) -> Any:
        back = self._backs[uri.decode().split("/")[2]]
        if not back.up:
            return fail(ConnectionRefusedError())
        if back.frozen:
            return Deferred()
        return back.agent.request(method, uri, headers, bodyProducer)


class Asked:
    """A request under way: `answer` once it is here."""

    def __init__(self, exchange: "Deferred[Any]") -> None:
        self.status = 0
        self.body = b""
        self.headers: Any = None
        self.failure: Any = None
        self.exchange = exchange
        exchange.addCallbacks(self._head, self._failed)

    def _head(self, response: Any) -> Any:
        self.headers = response.headers
        return response.content().addCallback(self._done, response.code)

    def _done(self, body: bytes, status: int) -> None:
        self.status, self.body = status, body

    def _failed(self, failure: Any) -> None:
        self.failure = failure

    def header(self, name: str) -> str | None:
        found = self.headers.getRawHeaders(name)
        return found[0] if found else None

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Shop:
    """A cluster with one front end under test."""

    def __init__(
        self,
        text: str = "a, b\na, b\na\n",
        caching: bool = True,
        settings: Settings | None = None,
        start: bool = True,
    ) -> None:
        self.clock = Clock()
        self.clock.advance(1_000)
        cluster = parse_cluster(text)
        self.backs = {node.name: BackEnd(node, self.clock) for node in cluster.nodes if node != cluster.frontends[0]}
        self.wire = Wire(self.backs)
        self.log: list[str] = []
        self.events: list[dict[str, Any]] = []
        client = http_client(self.wire)
        node = cluster.frontends[0]
        urls = {other.name: other.url for other in cluster.nodes}
        links = Links(urls, node.name, SECRETS.cluster, self.clock, main=client, heartbeats=client)
        self.metrics = Metrics("frontend", node.name)
        self.front = FrontEnd(
            cluster, node, links, client, self.clock, SECRETS, self.metrics,
            caching=caching, settings=settings or Settings(), now=self.clock.seconds,
        )  # fmt: skip
        self.agent = RequestTraversalAgent(self.front.resource())
        self.client = http_client(self.agent)
        globalLogPublisher.addObserver(self._observe)
        if start:
            self.front.startService()
            self.settle()

    def close(self) -> None:
        globalLogPublisher.removeObserver(self._observe)

    def _observe(self, event: dict[str, Any]) -> None:
        if event["log_namespace"].startswith("pygmy"):
            self.log.append(formatEvent(event))
            self.events.append(event)

    def settle(self) -> None:
        for _ in range(8):
            self.clock.advance(0)
            self.agent.flush()
            for back in self.backs.values():
                back.agent.flush()

    def advance(self, seconds: float, step: float = 0.05) -> None:
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end - 1e-9:
            self.clock.advance(min(step, end - self.clock.seconds()))
            self.settle()

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Asked:
        sent = dict(headers or {})
        data = None
        if body is not None:
            data = msgspec.json.encode(body)
            sent["Content-Type"] = "application/json"
        url = f"http://shop.example{path}"
        asked = Asked(self.client.request(method, url, headers=sent, data=data))
        self.settle()
        return asked

    def get(self, path: str, headers: dict[str, str] | None = None) -> Asked:
        return self.ask("GET", path, headers=headers)

    def tell(self, sender: str, message: Any) -> None:
        """A back end sends the front end a one-way message over the internal path."""
        link = Link("http://shop.example", sender, SECRETS.cluster, self.client, self.clock)
        link.send(message)
        self.settle()

    def lines(self, start: str) -> list[str]:
        return [line for line in self.log if line.startswith(start)]

    def all_answer(self, kind: type, answer: Callable[[Any], Any]) -> None:
        for back in self.backs.values():
            back.answers[kind] = answer


def book(item: int = 1, count: int = 10, seq: int = 7) -> Book:
    return Book(item, f"Book {item}", "graduate school", 3000, count, 3, seq)


def filled(item: int = 1, count: int = 10, seq: int = 7, session: Any = (1, 0), lease: float = LEASE) -> Filled:
    return Filled(book(item, count, seq), session, lease)


def listed(*items: int, more: bool = False) -> Listed:
    return Listed(tuple((item, f"Book {item}") for item in items), more, (1, 0), LEASE)


def renewed(session: Any = (1, 0), lease: float = LEASE) -> Renewed:
    return Renewed(session, lease)


def order(number: int, op_id: str, item: int = 1, quantity: int = 1) -> Order:
    return Order(number, op_id, (OrderLine(item, quantity, 3000),), 3000 * quantity, 1_619_804_684_000)
