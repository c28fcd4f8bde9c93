"""One node, put together: its databases, vote, links and server, listening."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace
from twisted.application.service import IService, MultiService
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.web.resource import IResource

from pygmy.backups import Backups
from pygmy.catalog import CatalogServer
from pygmy.clock import boottime, utc_milliseconds
from pygmy.cluster import Cluster, Node, Role
from pygmy.database import Ballots, Boot, Store, StoreError
from pygmy.datadir import backups_path, database_path, opened_path, voter_path
from pygmy.durable import make_durable
from pygmy.frontend import FrontEnd
from pygmy.identity import Witnessing, begin, recognize
from pygmy.ledger.catalog import ReplicatedCatalog
from pygmy.ledger.driver import Driver, Place
from pygmy.ledger.orders import ReplicatedOrders
from pygmy.listening import Listening
from pygmy.logs import Logger
from pygmy.messages.internal import OneWay
from pygmy.messages.operations import TIERS
from pygmy.opened import Opening, opening_of
from pygmy.order import OrderServer
from pygmy.peers import Links, NodeAgent, http_client
from pygmy.replication.founding import WrongCluster, check_charter
from pygmy.replication.log import Diverged, LogBroken
from pygmy.routes.backup import backup_route
from pygmy.routes.forcing import ViewBody, forcing_routes
from pygmy.routes.starting import starting_resource
from pygmy.schedule import Schedule
from pygmy.ticking import Ticking
from pygmy.tls.places import check_places, endpoint_from
from pygmy.voting import Voting
from pygmy.web.auth import Secrets, SecretsError
from pygmy.web.metrics import Metrics
from pygmy.web.openapi import Route

if TYPE_CHECKING:
    from pygmy.tls.contexts import Credentials, NodesPolicy

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
    alone_since: float,
    books: str | None = None,
    cache: bool = True,
    backups: Schedule | None = None,
    tls: Path | None = None,
    listen: Sequence[str] = (),
    insecure: bool = False,
    reactor: Any,
) -> IService:
    """A node as a service: starting opens its database and listens on `port` (an endpoint string).

    `data` is the data directory of all nodes, `backups` for replicas only. From the moment `alone_since` (`boottime`)
    on, no other process has been this node. `tls` is the folder with the certificates of a store that speaks TLS;
    without one, a node that listens to other machines must be told that it is `insecure`. `listen`: where a front end
    is reached by people besides. Raises ValueError or OSError, in one line, for what a person can mend.
    """
    places = tuple(map(endpoint_from, (port, *listen)))
    check_places(node.name, places[0], places[1:], tls=tls is not None, insecure=insecure)
    try:
        secrets = Secrets.load(data)
    except SecretsError as error:
        raise ValueError(str(error)) from None
    credentials = None if tls is None else _credentials(tls, node.name)
    if credentials is not None:
        secrets = replace(secrets, certified=frozenset(other.name for other in cluster.nodes))
    opening = opening_of(books, opened_path(Path(data), node.name)) if role is Role.CATALOG else None
    make_durable(Path(data) / node.name)
    schedule = backups or Schedule()
    common = (cluster, node, Path(data), port, alone_since, secrets, opening, cache, schedule, reactor)
    return NodeService(*common, credentials, listen)


class NodeService(MultiService):
    """One node. It listens at once, and says that it is starting until its databases are open."""

    def __init__(
        self,
        cluster: Cluster,
        node: Node,
        data: Path,
        port: str,
        alone_since: float,
        secrets: Secrets,
        opening: Opening | None,
        cache: bool,
        schedule: Schedule,
        reactor: Any,
        credentials: "Credentials | None" = None,
        listen: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self._alone_since = alone_since
        self._cluster = cluster
        self._node = node
        self._data = data
        self._secrets = secrets
        self._opening = opening
        self._cache = cache
        self._schedule = schedule
        self._reactor = reactor
        self._metrics = Metrics(str(node.role), node.name)
        urls = {other.name: other.url for other in cluster.nodes if other != node}
        policy = None if credentials is None else _policy(cluster, credentials)
        self._links = Links.on_reactor(urls, node.name, secrets.cluster, reactor, policy=policy)
        self._links.deliver = self._receive
        self._agent = NodeAgent(reactor, 1, policy)
        self._client = http_client(self._agent)
        self._metrics.watch("messages to other nodes", lambda: self._links.waiting)
        self._opened: Deferred[None] = succeed(None)
        self._inbox: Callable[[str, OneWay], None] | None = None
        self._ballots: Ballots | None = None
        self._voting: Voting | None = None
        self._witnessing: Witnessing | None = None
        self._backups: Backups | None = None
        self._driver: ReplicatedCatalog | ReplicatedOrders | None = None
        self._server: FrontEnd | CatalogServer | OrderServer | None = None
        self._resource = self._first_resource()
        self._listening = Listening(self._resource, port, reactor, credentials, listen)
        self._listening.setServiceParent(self)
        if credentials is not None:
            self._warn_of_expiry(credentials)

    def _warn_of_expiry(self, credentials: "Credentials") -> None:
        from pygmy.tls.certificates import utc_now
        from pygmy.tls.expiry import DAY, warn_of_expiry

        daily = Ticking(lambda: warn_of_expiry(credentials, utc_now()), self._reactor, DAY)
        daily.setServiceParent(self._listening)

    # ---- one-way messages

    def _receive(self, sender: str, message: OneWay) -> None:
        """What comes before this node knows what it has promised is lost, as on a bad line."""
        if self._inbox is not None:
            self._inbox(sender, message)

    def _head(self) -> object:
        return None if self._driver is None else self._driver.replica.log.head

    def _to_replica(self, sender: str, message: OneWay) -> None:
        if self._driver is not None:
            self._driver.receive(sender, message)

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
                others=self._receive,
            )
            front_end.opening = True
            self._server = front_end
            return front_end.resource()
        return starting_resource(
            self._cluster, self._node, self._receive, self._secrets, self._metrics, self._reactor
        )

    def startService(self) -> None:
        """Start; a front end serves at once, a replica once its database is open."""
        super().startService()
        if isinstance(self._server, FrontEnd):
            self._listening.serve(self._resource, self._server.shortcut)
            self._server.startService()
        steps = self._open_voter() if self._node.role is Role.FRONTEND else self._open_replica()
        self._opened = Deferred.fromCoroutine(steps).addErrback(self._cannot_start)

    async def _open_ballots(self) -> Ballots:
        path = voter_path(self._data, self._node.name)
        self._ballots = ballots = await Ballots.open(str(path), self._node.name, self._reactor)
        return ballots

    async def _open_voter(self) -> None:
        """A front end keeps no books, but it has a vote."""
        ballots = await self._open_ballots()
        await self._vote(ballots, None, lambda cluster_id: None)
        assert isinstance(self._server, FrontEnd)
        self._server.opening = False

    async def _open_replica(self) -> None:
        """First the vote, which other tiers may be waiting for; then the books."""
        ballots = await self._open_ballots()
        store = await Store.open(
            str(database_path(self._data, self._node.name)),
            TIERS[self._node.role],
            self._reactor,
            node=self._node.name,
            observe=lambda writes, _: self._metrics.commit(writes),
        )
        file = await recognize(store, ballots)

        def founded(cluster_id: str) -> None:
            if file.identity.cluster_id is None:
                store.save_cluster(cluster_id).addErrback(self._failed)

        voting = await self._vote(ballots, file.identity.cluster_id, founded)
        # Seconds since 1970: greater than any incarnation that a lost disk of this node has counted.
        boot = await begin(store, ballots, file, WINDOW_BATCHES, utc_milliseconds() // 1000)
        self._serve(store, boot, voting)
        self._witnessing = Witnessing(store, ballots, boot.incarnation, self._head, self._reactor, self._failed)
        self._witnessing.startService()

    async def _vote(self, ballots: Ballots, cluster_id: str | None, founded: Callable[[str], None]) -> Voting:
        """Take part in the votes, with what was promised before this start. Raises WrongCluster."""
        kept = await ballots.state()
        names = tuple(node.name for node in self._cluster.nodes)
        self._voting = voting = Voting(
            self._node.name,
            names,
            replace(kept, charter=check_charter(kept.charter, cluster_id, names)),
            ballots,
            self._links,
            self._reactor,
            founded,
            self._failed,
            random=SystemRandom(),
        )
        self._inbox = voting.inbox(self._to_replica)
        voting.start()
        return voting

    def _serve(self, store: Store, boot: Boot, voting: Voting) -> None:
        """Start the replica, its backups and its server, which takes the requests from now on."""
        names = tuple(other.name for other in self._cluster.tier(self._node.role))
        place = Place(self._node.name, names, {other.name: other.url for other in self._cluster.nodes})
        membership = voting.membership(str(self._node.role))
        common = (place, store, boot, self._links, self._reactor, self._failed, membership)
        server: CatalogServer | OrderServer
        driver: ReplicatedCatalog | ReplicatedOrders
        if self._node.role is Role.CATALOG:
            driver = catalog = ReplicatedCatalog(*common, alone_since=self._alone_since)
            backups = self._make_backups(store, driver)
            server = self._catalog_server(catalog, backup_route(backups.back_up))
        else:
            driver = orders = ReplicatedOrders(*common, alone_since=self._alone_since)
            backups = self._make_backups(store, driver)
            server = self._order_server(orders, backup_route(backups.back_up))
        self._metrics.watch("writes", lambda: driver.replica.queued)
        self._metrics.watch("reads that wait for a commit", lambda: driver.replica.readers)
        self._metrics.watch("commits", lambda: store.pending)
        self._driver, self._backups, self._server = driver, backups, server
        self._listening.serve(server.resource())
        driver.start()
        backups.startService()
        server.startService()

    def _make_backups(self, store: Store, driver: Driver) -> Backups:
        return Backups(
            self._node.name,
            TIERS[self._node.role],
            backups_path(self._data, self._node.name),
            store,
            lambda: driver.condition().head[1],
            self._schedule,
            self._reactor,
            utc_milliseconds,
            partial(deferToThreadPool, self._reactor, self._reactor.getThreadPool()),
        )

    def _catalog_server(self, ledger: ReplicatedCatalog, backup: Route) -> CatalogServer:
        opening, self._opening = self._opening, None  # once opened, its books need not be in memory twice
        assert opening is not None
        return CatalogServer(
            self._cluster,
            self._node,
            ledger,
            self._receive,
            self._reactor,
            self._secrets,
            self._metrics,
            opening,
            (*self._replica_routes(ledger), backup),
            self._links.riders,
        )

    def _order_server(self, ledger: ReplicatedOrders, backup: Route) -> OrderServer:
        return OrderServer(
            self._cluster,
            self._node,
            ledger,
            self._receive,
            self._links,
            self._client,
            self._reactor,
            self._secrets,
            self._metrics,
            boottime,
            utc_milliseconds,
            (*self._replica_routes(ledger), backup),
        )

    def _replica_routes(self, driver: Driver) -> tuple[Route, ...]:
        """What only a replica has, and no other kind of ledger."""
        return forcing_routes(lambda: view_body(self._node.name, driver), driver.force)

    # ---- ending

    def stopService(self) -> "Deferred[None]":
        """SIGTERM: a replica leaves its view while it still hears its peers; then no more requests, then no port."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._opened.cancel()  # where it was about to start
        for loop in (self._witnessing, self._backups):
            if loop is not None:
                loop.stopService()
        if self._driver is not None:
            await self._driver.stop()
        await self._listening.stopService()
        await self._listening.drain().addTimeout(DRAIN_SECONDS, self._reactor, lambda result, timeout: None)
        if self._server is not None:
            await self._server.stopService()
        if self._voting is not None:
            self._voting.stop()
        if self._ballots is not None:
            await self._ballots.close()
        await self._links.close()
        await self._agent.close()
        self.running = False

    def _cannot_start(self, failure: Failure) -> None:
        """The database cannot be used: one line, and the end."""
        if failure.check(CancelledError):
            return
        if not failure.check(StoreError, WrongCluster):
            log.failure("{node} cannot start", failure, node=self._node.name)
        self._end(1, f"{self._node.name} cannot start: {failure.getErrorMessage()}")

    def _failed(self, failure: Failure) -> None:
        """Fail-stop: what this node has said is on its disk; what it might say next would not be."""
        why = f"{self._node.name} stops at once: {failure.getErrorMessage()}"
        if failure.check(LogBroken):
            database = database_path(self._data, self._node.name)
            why += (
                f". Start it again; if it stops with these words again, move {database}* away and start it: "
                "it then fetches everything from the others"
            )
        if not failure.check(Diverged):
            log.failure("{node} stops", failure, node=self._node.name)
        self._end(FAILED_EXIT, why)

    def _end(self, code: int, why: str) -> None:
        log.critical("{why}", why=why)
        os._exit(code)


# A node that speaks no TLS starts the faster without what speaks it, which is why that is imported here and there.


def _credentials(tls: Path, node: str) -> "Credentials":
    from pygmy.tls.contexts import load_credentials

    return load_credentials(tls, node)


def _policy(cluster: Cluster, credentials: "Credentials") -> "NodesPolicy":
    """Whom this node believes to be which node."""
    from pygmy.tls.contexts import NodesPolicy

    return NodesPolicy(credentials, {(node.host, node.port): node.name for node in cluster.nodes})


def view_body(name: str, driver: Driver) -> ViewBody:
    """What GET /view shows."""
    replica, known = driver.replica, driver.replica.known
    return ViewBody(
        node=name,
        state=replica.mode,
        epoch=known.epoch if known else 0,
        gen=known.gen if known else 0,
        members=tuple(sorted(known.members)) if known else (),
        sources=tuple(sorted(known.sources)) if known else (),
        head=replica.log.head,
        newest=replica.log.last_at,
        objection=driver.cannot_force(known.number if known else (0, 0)),
    )
