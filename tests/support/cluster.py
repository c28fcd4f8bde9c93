"""A whole store in memory: real servers, ledgers, databases and links; one clock, no socket, no thread.

Every message takes `LATENCY` on the wire, every commit `DISK` seconds, so things overlap as they do outside.  Time
stands still unless a test advances it.
"""

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost, ConnectionRefusedError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock
from twisted.logger import LogLevel, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.web.iweb import IAgent
from zope.interface import implementer

from pygmy.catalog import CatalogServer
from pygmy.cluster import Node, Role, parse_cluster
from pygmy.database import Ballots, Boot, Store
from pygmy.frontend import FrontEnd, Settings
from pygmy.identity import begin, recognize
from pygmy.ledger.catalog import ReplicatedCatalog
from pygmy.ledger.driver import Place
from pygmy.ledger.orders import ReplicatedOrders
from pygmy.messages.internal import Envelope
from pygmy.messages.operations import NewBook
from pygmy.opened import Opening, opening
from pygmy.opening import load_books
from pygmy.order import OrderServer
from pygmy.peers import Links, http_client
from pygmy.replication.founding import check_charter
from pygmy.routes.starting import starting_resource
from pygmy.voting import Voting
from pygmy.web.metrics import Metrics
from tests.support.inline_store import InlineReactor
from tests.support.shop import ADMIN, MEMBER, SECRETS, Asked

__all__ = ["ADMIN", "MEMBER", "Answer", "MemoryCluster", "MemoryNode"]

LATENCY = 0.001
DISK = 0.002
WALL = 1_700_000_000_000  # ms: what wall clocks show when the clock shows 0
CLIENT = "client"
_ENVELOPE = msgspec.json.Decoder(Envelope)


class Answer(NamedTuple):
    """What a request got; `json` None if the body is none."""

    status: int
    headers: dict[str, str]
    json: Any
    body: bytes


@implementer(IReactorTime)
class Life:
    """The cluster's clock as one life of a node sees it: what it has put off dies with it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.alive = True

    def seconds(self) -> float:
        return float(self._clock.seconds())

    def callLater(self, delay: float, callable: Callable[..., Any], *args: object, **kwargs: object) -> Any:
        return self._clock.callLater(delay, self._run, callable, args, kwargs)

    def getDelayedCalls(self) -> Any:
        return self._clock.getDelayedCalls()

    def _run(self, call: Callable[..., object], args: Any, kwargs: Any) -> None:
        if self.alive:
            call(*args, **kwargs)


class Disk:
    """A database's thread: everything takes `seconds`, in order; what has not run when the node dies never does."""

    def __init__(self, life: Life, seconds: float) -> None:
        self._life = life
        self.seconds = seconds

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass

    def callInThread(self, function: Callable[..., object], *args: Any) -> None:
        self._life.callLater(self.seconds, function, *args)

    def callInThreadWithCallback(
        self, on_result: Any, function: Callable[..., object], *args: Any, **kwargs: Any
    ) -> None:
        def run() -> None:
            try:
                result, success = function(*args, **kwargs), True
            except Exception:
                result, success = Failure(), False
            on_result(success, result)

        self._life.callLater(self.seconds, run)


class _Exchange:
    """One request on its way, and its answer."""

    def __init__(self, sender: str, to: str) -> None:
        self.sender, self.to = sender, to
        self.response: Deferred[Any] = Deferred(self._cancelled)
        self.agent: Any = None
        self._inner: Any = None

    def _cancelled(self, _: object) -> None:
        if self._inner is not None:
            self._inner.cancel()

    def deliver(self, resource: Any, request: tuple[Any, ...]) -> None:
        self.agent = RequestTraversalAgent(resource)
        self._inner = self.agent.request(*request)
        self._inner.addBoth(lambda result: None if self.response.called else self.response.callback(result))

    def flush(self) -> bool:
        pumps = list(self.agent._pumps)
        moved = bool(sum(pump.flush() for pump in pumps))
        self.agent._pumps = {p for p in pumps if not (p.clientIO.disconnected and p.serverIO.disconnected)}
        return moved

    def break_off(self, gone: str) -> None:
        """One of the two has died: the other one's connection is lost."""
        pumps, self.agent._pumps = list(self.agent._pumps), set()
        for pump in pumps:
            transport = pump.clientIO if gone == self.to else pump.serverIO
            if not transport.disconnected:
                transport.disconnected = True
                transport.disconnectReason = Failure(ConnectionLost())
                transport.reportDisconnect()


class Wire:
    """All connections between nodes. `delivered(sender, to, envelope)` is told of each node-to-node request."""

    def __init__(self, cluster: "MemoryCluster") -> None:
        self._cluster = cluster
        self.cut: set[frozenset[str]] = set()
        self.held: set[tuple[str, str]] = set()  # (who asks, who answers): these answers are on their way for long
        self.delivered: Callable[[str, str, Envelope], None] = lambda sender, to, envelope: None
        self._open: list[_Exchange] = []

    def agent(self, sender: str) -> "_Agent":
        return _Agent(self, sender)

    def send(self, sender: str, request: tuple[Any, ...]) -> "Deferred[Any]":
        cluster = self._cluster
        node = cluster.by_netloc[request[1].decode().split("/")[2]]
        exchange = _Exchange(sender, node.name)
        cluster.clock.callLater(LATENCY, self._arrive, exchange, node, request)
        return exchange.response

    def _arrive(self, exchange: _Exchange, node: "MemoryNode", request: tuple[Any, ...]) -> None:
        if exchange.response.called or not self._joined(exchange):
            return  # given up meanwhile; or lost, and its sender has its own patience
        if not node.up:
            if self._cluster.lives(exchange.sender):
                exchange.response.errback(ConnectionRefusedError())
            return
        envelope = _envelope(request)
        exchange.deliver(node.resource, request)
        self._open.append(exchange)
        if envelope is not None:
            self.delivered(exchange.sender, exchange.to, envelope)

    def _joined(self, exchange: _Exchange) -> bool:
        return frozenset((exchange.sender, exchange.to)) not in self.cut

    def flush(self) -> bool:
        moved = False
        for exchange in list(self._open):
            if self._joined(exchange) and (exchange.sender, exchange.to) not in self.held:
                moved |= exchange.flush()
        self._open = [exchange for exchange in self._open if exchange.agent._pumps]
        return moved

    def dead(self, name: str) -> None:
        """Break every connection of a node that has died."""
        broken = [exchange for exchange in self._open if name in (exchange.sender, exchange.to)]
        self._open = [exchange for exchange in self._open if exchange not in broken]
        for exchange in broken:
            exchange.break_off(name)


def _envelope(request: tuple[Any, ...]) -> Envelope | None:
    if not request[1].endswith(b"/internal"):
        return None
    try:
        return _ENVELOPE.decode(request[3]._body)
    except msgspec.DecodeError:
        return None


@implementer(IAgent)
class _Agent:
    def __init__(self, wire: Wire, sender: str) -> None:
        self._wire, self._sender = wire, sender

    def request(self, method: bytes, uri: bytes, headers: Any = None, bodyProducer: Any = None) -> Any:
        return self._wire.send(self._sender, (method, uri, headers, bodyProducer))


class MemoryNode:
    """One node; what is on its disk survives `kill`."""

    def __init__(self, cluster: "MemoryCluster", node: Node, path: Path, books: Sequence[NewBook]) -> None:
        self._cluster = cluster
        self.node = node
        self.name = node.name
        self.path = path
        self.books = books
        self.opening: Opening | None = None  # in place of the books
        self.up = False
        self.failures: list[Failure] = []
        self.life: Any = None
        self.disk: Any = None
        self.resource: Any = None
        self.server: Any = None
        self.driver: Any = None
        self.store: Any = None
        self.ballots: Any = None
        self.inbox: Any = None
        self.links: Any = None
        self.metrics: Any = None

    def start(self) -> None:
        """A new process."""
        cluster = self._cluster
        self.up, self.life = True, Life(cluster.clock)
        self.metrics = Metrics(str(self.node.role), self.name)
        client = http_client(cluster.wire.agent(self.name))
        urls = {other.name: other.url for other in cluster.cluster.nodes if other.name != self.name}
        self.links = Links(urls, self.name, SECRETS.cluster, self.life, main=client, heartbeats=client)
        self.links.deliver = self._receive
        self.disk = Disk(self.life, DISK)
        if self.node.role is Role.FRONTEND:
            self.server = FrontEnd(
                cluster.cluster, self.node, self.links, client, self.life, SECRETS, self.metrics,
                caching=cluster.caching, settings=Settings(), now=self.life.seconds, others=self._receive,
            )  # fmt: skip
            self._serve()
        else:
            self.resource = starting_resource(
                cluster.cluster, self.node, self._receive, SECRETS, self.metrics, self.life
            )
        opening = Deferred.fromCoroutine(self._open(client, self.life))
        opening.addErrback(self._failed)

    def _receive(self, sender: str, message: Any) -> None:
        if self.inbox is not None:
            self.inbox(sender, message)

    def _to_replica(self, sender: str, message: Any) -> None:
        if self.driver is not None:
            self.driver.receive(sender, message)

    async def _open(self, client: Any, life: Life) -> None:
        """As `pygmy.node` does it."""
        options: Any = {"now": life.seconds, "threads": self.disk}
        path = self.path.with_suffix(".voter.db")
        self.ballots = ballots = await Ballots.open(str(path), self.name, InlineReactor(), **options)
        if self.node.role is Role.FRONTEND:
            await self._vote(ballots, None, life)
            return
        tier: Any = "catalog" if self.node.role is Role.CATALOG else "order"
        self.store = await Store.open(str(self.path), tier, InlineReactor(), node=self.name, **options)
        file = await recognize(self.store, ballots)
        voting = await self._vote(ballots, file.identity.cluster_id, life)
        boot = await begin(self.store, ballots, file, 1024, 0)
        if life.alive:
            self._make_server(boot, client, voting)

    async def _vote(self, ballots: Ballots, cluster_id: str | None, life: Life) -> Voting:
        kept = await ballots.state()
        names = tuple(node.name for node in self._cluster.cluster.nodes)
        kept = replace(kept, charter=check_charter(kept.charter, cluster_id, names))

        def founded(cluster_id: str) -> None:
            if self.store is not None:
                self.store.save_cluster(cluster_id)

        voting = Voting(
            self.name, names, kept, ballots, self.links, life, founded, self._failed,
            random=Random(self.name), now=life.seconds,
        )  # fmt: skip
        if life.alive:
            self.inbox = voting.inbox(self._to_replica)
            voting.start()
        return voting

    def _make_server(self, boot: Boot, client: Any, voting: Voting) -> None:
        cluster, life = self._cluster.cluster, self.life
        names = tuple(other.name for other in cluster.tier(self.node.role))
        place = Place(self.name, names, {other.name: other.url for other in cluster.nodes})
        membership = voting.membership(str(self.node.role))
        common = (place, self.store, boot, self.links, life, self._failed, membership)
        clocks: Any = {"now": life.seconds, "wall": self._cluster.wall}
        if self.node.role is Role.CATALOG:
            self.driver = ReplicatedCatalog(*common, **clocks)
            self.server = CatalogServer(
                cluster,
                self.node,
                self.driver,
                self._receive,
                life,
                SECRETS,
                self.metrics,
                self.opening or opening(self.books),
            )
        else:
            self.driver = ReplicatedOrders(*common, **clocks)
            self.server = OrderServer(
                cluster, self.node, self.driver, self._receive, self.links, client, life, SECRETS,
                self.metrics, life.seconds, self._cluster.wall,
            )  # fmt: skip
        self.driver.start()
        self._serve()

    def _serve(self) -> None:
        self.server.startService()
        self.resource = self.server.resource()

    def _failed(self, failure: Failure) -> None:
        """Fail-stop, as the process does it."""
        self.failures.append(failure)
        self.kill()

    def kill(self) -> None:
        """As kill -9: no word to anyone; what was not on disk is lost."""
        if not self.up:
            return
        self.up = self.life.alive = False
        self._cluster.wire.dead(self.name)
        for opened in (self.store, self.ballots):
            if opened is not None:
                opened._file._pool.hang_up()
                if opened._file._lock is not None:
                    opened._file._lock.release()
        self.server = self.driver = self.store = self.ballots = self.resource = self.inbox = None

    @property
    def mode(self) -> str:
        """INIT, SYNC or RUNNING; "DOWN" without a process, "OPENING" before its database is open."""
        if not self.up:
            return "DOWN"
        return "OPENING" if self.driver is None else str(self.driver.replica.mode)


class MemoryCluster:
    """A store of so many nodes, all booted. `books`: what each catalog opens with, or a dict of that by node."""

    def __init__(
        self,
        catalogs: int = 2,
        orders: int = 2,
        frontends: int = 1,
        *,
        books: Sequence[NewBook] | dict[str, Sequence[NewBook]] | None = None,
        caching: bool = True,
        start: bool = True,
    ) -> None:
        self.clock = Clock()
        self.clock.advance(1_000)
        self.cluster = parse_cluster(_cluster_file(catalogs, orders, frontends))
        self.caching = caching
        self.wire = Wire(self)
        self._home = tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
        self.nodes: dict[str, MemoryNode] = {}
        for node in self.cluster.nodes:
            stock = books.get(node.name) if isinstance(books, dict) else books
            path = Path(self._home.name) / f"{node.name}.sqlite"
            self.nodes[node.name] = MemoryNode(self, node, path, load_books(None) if stock is None else stock)
        self.by_netloc = {node.node.netloc: node for node in self.nodes.values()}
        self.client = http_client(self.wire.agent(CLIENT))
        self.log: list[str] = []
        self.troubles: list[str] = []
        self._observer: Any = self._observe
        globalLogPublisher.addObserver(self._observer)  # type: ignore[arg-type]
        if start:
            self.boot(*self.nodes)
            self.until(self.open, "the store is open")

    def _observe(self, event: dict[str, Any]) -> None:
        if event["log_namespace"].startswith("pygmy"):
            self.log.append(formatEvent(event))
        if event["log_level"] >= LogLevel.error:
            failure = event.get("log_failure")
            self.troubles.append(formatEvent(event) + ("" if failure is None else "\n" + failure.getTraceback()))

    def close(self) -> None:
        """The end. Nothing that no test has asked for may have gone wrong."""
        globalLogPublisher.removeObserver(self._observer)
        for node in self.nodes.values():
            node.kill()
        self._home.cleanup()
        assert not self.failed() + self.troubles, "\n".join(self.failed() + self.troubles)

    def failed(self) -> list[str]:
        """Why nodes have stopped by themselves."""
        return [f"{n.name}: {failure.getTraceback()}" for n in self.nodes.values() for failure in n.failures]

    # ---- time

    def wall(self) -> int:
        """The wall clock, ms."""
        return WALL + round(self.clock.seconds() * 1000)

    def advance(self, seconds: float) -> None:
        """Let so much time pass, with all that happens in it."""
        end = self.clock.seconds() + seconds
        self._settle()
        while self._step(end):
            pass
        self.clock.advance(max(0.0, end - self.clock.seconds()))
        self._settle()

    def until(self, done: Callable[[], object], what: str, limit: float = 30.0) -> None:
        """Let time pass until `done()`; AssertionError if that takes more than `limit` seconds."""
        end = self.clock.seconds() + limit
        self._settle()
        while not done():
            assert self._step(end), f"not within {limit} s: {what} ({self.modes()}, {self.failed() + self.troubles})"

    def _step(self, end: float) -> bool:
        """Up to the next thing that is due; False if nothing is due before `end`."""
        calls = self.clock.getDelayedCalls()
        due = min((call.getTime() for call in calls), default=end)
        if due >= end:
            return False
        self.clock.advance(max(0.0, due - self.clock.seconds()))
        self._settle()
        return True

    def _settle(self) -> None:
        """Everything that takes no time."""
        for _ in range(1000):
            self.clock.advance(0)
            calls = self.clock.getDelayedCalls()
            due = any(call.getTime() <= self.clock.seconds() for call in calls)
            if not self.wire.flush() and not due:
                return
        raise AssertionError("the cluster goes round in circles")

    # ---- nodes

    def kill(self, *names: str) -> None:
        """End these processes, without a word."""
        for name in names:
            self.nodes[name].kill()

    def boot(self, *names: str) -> None:
        """Start these processes (again), on the disks they have."""
        for name in names:
            assert not self.nodes[name].up, f"{name} is up"
            self.nodes[name].start()

    def freeze(self, name: str) -> None:
        """As SIGSTOP: its port is open, and nothing comes from it. (It does not thaw: kill it.)"""
        self.nodes[name].life.alive = False
        for other in (*self.nodes, CLIENT):
            self.cut(name, other)

    def stop(self, name: str) -> None:
        """SIGTERM, and wait for the end of it."""
        node = self.nodes[name]
        stopped = [] if node.driver is None else [node.driver.stop()]
        self.until(lambda: all(d.called for d in stopped), f"{name} stops")
        node.kill()

    def cut(self, one: str, other: str) -> None:
        """Lose everything between two nodes."""
        self.wire.cut.add(frozenset((one, other)))

    def mend(self) -> None:
        """All links are good again."""
        self.wire.cut.clear()

    def lives(self, name: str) -> bool:
        """True if there is someone to hear an answer."""
        return name == CLIENT or self.nodes[name].up

    def modes(self) -> dict[str, str]:
        """What each replica is doing."""
        return {name: node.mode for name, node in self.nodes.items() if node.node.role is not Role.FRONTEND}

    def running(self, *names: str) -> bool:
        """True if these replicas (none named: all) are RUNNING."""
        return all(self.nodes[name].mode == "RUNNING" for name in names or self.modes())

    def wait_running(self, *names: str) -> None:
        """Until they are."""
        self.until(lambda: self.running(*names), f"{names or 'all'} running")

    def open(self) -> bool:
        """True if all replicas are in and every node says that it is healthy."""
        return all(
            node.up and node.server is not None and node.server.health().message == "Healthy"
            for node in self.nodes.values()
        ) and all(len(self.nodes[name].driver.replica.view.sources) == self._tier_size(name) for name in self.modes())

    def _tier_size(self, name: str) -> int:
        return len(self.cluster.tier(self.nodes[name].node.role))

    # ---- requests

    def start_request(
        self, name: str, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Asked:
        """Send a request to a node and do not wait."""
        sent = dict(headers or {})
        data = None
        if body is not None:
            data = msgspec.json.encode(body)
            sent["Content-Type"] = "application/json"
        url = f"{self.nodes[name].node.url}{path}"
        client: Any = self.client
        return Asked(client.request(method, url, headers=sent, data=data))

    def ask(
        self, name: str, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """Send a request to a node and let time pass until it is answered."""
        asked = self.start_request(name, method, path, body, headers)
        self.until(lambda: answered(asked), f"{method} {path}")
        return answer_of(asked)

    def get(self, name: str, path: str, headers: dict[str, str] | None = None) -> Answer:
        return self.ask(name, "GET", path, None, headers)

    def post(self, name: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        return self.ask(name, "POST", path, body, headers)

    def patch(self, name: str, path: str, body: Any, headers: dict[str, str] | None = None) -> Answer:
        return self.ask(name, "PATCH", path, body, ADMIN if headers is None else headers)

    def delete(self, name: str, path: str, headers: dict[str, str] | None = None) -> Answer:
        return self.ask(name, "DELETE", path, None, ADMIN if headers is None else headers)

    def buy(self, item: int = 1, key: str = "", quantity: int = 1, at: str = "frontend-0") -> Answer:
        """Buy through a front end."""
        headers = {"Idempotency-Key": key} if key else {}
        return self.post(at, f"/books/{item}", {"quantity": quantity}, headers)

    def table(self, name: str) -> bytes:
        """A replica's rows."""
        answer = self.get(name, "/table", MEMBER)
        assert answer.status == 200, answer
        return answer.body

    def rows(self, name: str) -> list[dict[str, Any]]:
        """A replica's rows, decoded."""
        return [msgspec.json.decode(line) for line in self.table(name).splitlines()]

    def stock(self, item: int, name: str = "catalog-0") -> int:
        """How many copies of a book a replica has."""
        return next(int(row["count"]) for row in self.rows(name) if row["item"] == item)


def answered(asked: Asked) -> bool:
    """True once the whole answer is here, or surely none comes."""
    return asked.exchange.called and (asked.failure is not None or asked.status != 0)


def answer_of(asked: Asked) -> Answer:
    """The answer."""
    if asked.failure is not None:
        asked.failure.raiseException()
    headers = {name.decode().lower(): values[-1].decode() for name, values in asked.headers.getAllRawHeaders()}
    media = headers.get("content-type", "")
    json = (
        msgspec.json.decode(asked.body) if asked.body and media.endswith("json") and "ndjson" not in media else None
    )
    return Answer(asked.status, headers, json, asked.body)


def _cluster_file(catalogs: int, orders: int, frontends: int) -> str:
    """The cluster file: every node on localhost, on the port that its place gives it."""
    lines = []
    for first, count in ((5000, catalogs), (5001, orders), (5002, frontends)):
        lines.append(", ".join(f"localhost:{first + 3 * index}" for index in range(count)))
    return "\n".join(lines) + "\n"
