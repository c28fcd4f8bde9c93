"""One node, put together: its database, links and server, listening."""

import os
from pathlib import Path
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.application.strports import service as listening
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import IResource

from pygmy.catalog import CatalogServer
from pygmy.clock import boottime, utc_milliseconds
from pygmy.cluster import Cluster, Node, Role
from pygmy.database import Boot, Store, StoreError
from pygmy.datadir import make_durable
from pygmy.frontend import FrontEnd
from pygmy.ledger.catalog import ReplicatedCatalog
from pygmy.ledger.driver import Place
from pygmy.ledger.orders import ReplicatedOrders
from pygmy.messages.operations import NewBook, Tier
from pygmy.opening import load_books
from pygmy.order import OrderServer
from pygmy.peers import Links, http_client, pooled_agent
from pygmy.replication.log import Diverged, LogBroken
from pygmy.routes.starting import starting_resource
from pygmy.web.auth import Secrets, SecretsError
from pygmy.web.metrics import Metrics
from pygmy.web.site import BoundedSite

log = Logger()

FAILED_EXIT = 70  # sysexits.h: internal software error
WINDOW_BATCHES = 1024
DRAIN_SECONDS = 10.0


def make_node(
    *,
    role: Role,
    cluster: Cluster,
    node: Node,
    data: str,
    port: str,
    books: str | None = None,
    cache: bool = True,
    reactor: Any,
) -> IService:
    """A node as a service: starting opens its database and listens on `port` (an endpoint string).

    `data` is the data directory of all nodes. Raises ValueError or OSError, in one line, for what a person can mend.
    """
    try:
        secrets = Secrets.load(data)
    except SecretsError as error:
        raise ValueError(str(error)) from None
    opening = load_books(books) if role is Role.CATALOG else ()
    directory = Path(data) / node.name
    make_durable(directory)
    return NodeService(cluster, node, directory, port, secrets, opening, cache, reactor)


class NodeService(MultiService):
    """One node. It listens at once, and says that it is starting until its database is open."""

    def __init__(
        self,
        cluster: Cluster,
        node: Node,
        directory: Path,
        port: str,
        secrets: Secrets,
        opening: tuple[NewBook, ...],
        cache: bool,
        reactor: Any,
    ) -> None:
        super().__init__()
        self._cluster = cluster
        self._node = node
        self._directory = directory
        self._secrets = secrets
        self._opening = opening
        self._cache = cache
        self._reactor = reactor
        self._metrics = Metrics(str(node.role), node.name)
        urls = {other.name: other.url for other in cluster.nodes if other != node}
        self._links = Links.on_reactor(urls, node.name, secrets.cluster, reactor)
        agent, self._close_agent = pooled_agent(reactor, 1)
        self._client = http_client(agent)
        self._metrics.watch("messages to other nodes", lambda: self._links.waiting)
        self._driver: ReplicatedCatalog | ReplicatedOrders | None = None
        self._server: FrontEnd | CatalogServer | OrderServer | None = None
        self._site = BoundedSite(self._first_resource(), reactor)
        self._port = listening(port, self._site, reactor=reactor)
        self._port.setServiceParent(self)

    # ---- starting

    def _first_resource(self) -> IResource:
        if self._node.role is Role.FRONTEND:
            front_end = FrontEnd(
                self._cluster,
                self._node,
                self._links,
                self._client,
                self._reactor,
                self._secrets,
                self._metrics,
                caching=self._cache,
            )
            self._server = front_end
            return front_end.resource()
        return starting_resource(self._cluster, self._node, self._secrets, self._metrics, self._reactor)

    def startService(self) -> None:
        """Start; a replica opens its database first."""
        super().startService()
        if isinstance(self._server, FrontEnd):
            self._site.shortcut = self._server.shortcut
            self._server.startService()
        else:
            Deferred.fromCoroutine(self._open()).addErrback(self._cannot_start)

    async def _open(self) -> None:
        tier: Tier = "catalog" if self._node.role is Role.CATALOG else "order"
        path = str(self._directory / f"{tier}.sqlite")
        store = await Store.open(path, tier, self._reactor, observe=lambda writes, _: self._metrics.commit(writes))
        # Seconds since 1970: greater than any incarnation that a lost disk of this node has counted.
        boot = await store.boot(WINDOW_BATCHES, least=utc_milliseconds() // 1000)
        server = self._make_server(store, boot)
        self._site.resource = server.resource()
        server.startService()
        self._server = server

    def _make_server(self, store: Store, boot: Boot) -> CatalogServer | OrderServer:
        names = tuple(other.name for other in self._cluster.tier(self._node.role))
        place = Place(self._node.name, names, {other.name: other.url for other in self._cluster.nodes})
        common = (place, store, boot, self._links, self._reactor, self._failed)
        server: CatalogServer | OrderServer
        driver: ReplicatedCatalog | ReplicatedOrders
        if self._node.role is Role.CATALOG:
            driver = catalog = ReplicatedCatalog(*common)
            server = self._catalog_server(catalog)
        else:
            driver = orders = ReplicatedOrders(*common)
            server = self._order_server(orders)
        self._metrics.watch("writes", lambda: driver.replica.queued)
        self._metrics.watch("reads that wait for a commit", lambda: driver.replica.readers)
        self._metrics.watch("commits", lambda: store.pending)
        self._driver = driver
        driver.start()
        return server

    def _catalog_server(self, ledger: ReplicatedCatalog) -> CatalogServer:
        return CatalogServer(
            self._cluster,
            self._node,
            ledger,
            ledger.receive,
            self._reactor,
            self._secrets,
            self._metrics,
            self._opening,
        )

    def _order_server(self, ledger: ReplicatedOrders) -> OrderServer:
        return OrderServer(
            self._cluster,
            self._node,
            ledger,
            ledger.receive,
            self._links,
            self._client,
            self._reactor,
            self._secrets,
            self._metrics,
            boottime,
            utc_milliseconds,
        )

    # ---- ending

    def stopService(self) -> "Deferred[None]":
        """SIGTERM: a replica leaves its view while it still hears its peers; then no more requests, then no port."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._driver is not None:
            await self._driver.stop()
        await self._port.stopService()
        await self._site.drain().addTimeout(DRAIN_SECONDS, self._reactor, lambda result, timeout: None)
        if self._server is not None:
            await self._server.stopService()
        await self._links.close()
        await self._close_agent()
        self.running = False

    def _cannot_start(self, failure: Failure) -> None:
        """The database cannot be used: one line, and the end."""
        if not failure.check(StoreError):
            log.failure("{node} cannot start", failure, node=self._node.name)
        self._end(1, f"{self._node.name} cannot start: {failure.getErrorMessage()}")

    def _failed(self, failure: Failure) -> None:
        """Fail-stop: what this node has said is on its disk; what it might say next would not be."""
        why = f"{self._node.name} stops at once: {failure.getErrorMessage()}"
        if failure.check(LogBroken):
            why += (
                f". Start it again; if it stops with these words again, move {self._directory} away and start it: "
                "it then fetches everything from the others"
            )
        if not failure.check(Diverged):
            log.failure("{node} stops", failure, node=self._node.name)
        self._end(FAILED_EXIT, why)

    def _end(self, code: int, why: str) -> None:
        log.critical("{why}", why=why)
        os._exit(code)
