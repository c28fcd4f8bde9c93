"""The order server: it takes buys, and shows the orders that came of them."""

from collections.abc import Callable, Sequence

from msgspec.structs import replace as with_changes
from treq.client import HTTPClient
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import IResource

from pygmy.balancing.balancer import Balancer
from pygmy.balancing.forwarding import Forwarder, Gate
from pygmy.balancing.local import Local
from pygmy.balancing.watch import Heartbeats
from pygmy.buying import PATIENCE, Buying
from pygmy.cluster import Cluster, Node, Role
from pygmy.errors import Problem
from pygmy.ledger.seam import OrderLedger
from pygmy.messages.internal import (
    AnswerBody,
    Buy,
    Call,
    Orders,
    OrdersPage,
)
from pygmy.messages.operations import Order
from pygmy.peers import Links
from pygmy.reconciler import Reconciler
from pygmy.routes.condition import cluster_body, health_body
from pygmy.routes.log import log_route
from pygmy.routes.table import table_route
from pygmy.routes.writing import Writing
from pygmy.web.app import make_app, root_resource
from pygmy.web.auth import Secrets
from pygmy.web.internal import Internal, Receive
from pygmy.web.metrics import Metrics
from pygmy.web.openapi import Auth, Route
from pygmy.web.status import ClusterBody, Health, common_routes

IN_FLIGHT = 4096
TABLE_PAGE = 1000


class OrderServer(MultiService):
    """One order server: `resource()` is what it serves; as a service it watches the catalogs and reconciles.

    `receive` gets the one-way messages, which are none of this server's business; nor are `more_routes`.
    """

    def __init__(
        self,
        cluster: Cluster,
        node: Node,
        ledger: OrderLedger,
        receive: Receive,
        links: Links,
        client: HTTPClient,
        clock: IReactorTime,
        secrets: Secrets,
        metrics: Metrics,
        now: Callable[[], float],
        wall: Callable[[], int],
        more_routes: Sequence[Route] = (),
    ) -> None:
        super().__init__()
        self._more_routes = more_routes
        self._cluster = cluster
        self._node = node
        self._ledger = ledger
        self._receive = receive
        self._links = links
        self._clock = clock
        self._secrets = secrets
        self._metrics = metrics
        catalogs = Balancer("catalog", tuple(catalog.name for catalog in cluster.catalogs))
        urls = {catalog.name: catalog.url for catalog in cluster.catalogs}
        gate = Gate(IN_FLIGHT)
        self.catalogs = Forwarder(catalogs, urls, links, gate, metrics, clock, now, PATIENCE)
        self._buying = Buying(ledger, self.catalogs, clock)
        metrics.watch("sales under way", lambda: gate.inside)
        metrics.watch_tier(ledger.condition, ledger.peers)
        self._heartbeats = Heartbeats(
            cluster.catalogs, {Role.CATALOG: catalogs}, client, metrics, clock, now, interval=1.0
        )
        self._heartbeats.setServiceParent(self)
        Reconciler(ledger, self.catalogs, clock, wall).setServiceParent(self)

    # ---- calls from other nodes

    def answer(self, sender: str, call: Call) -> "Deferred[AnswerBody]":
        """A call of a front end or of this server's own HTTP side."""
        return Deferred.fromCoroutine(self._answer(call))

    async def _answer(self, call: Call) -> AnswerBody:
        match call.body:
            case Buy():
                return await self._buying.buy(call.body)
            case Orders(after, limit):
                page = await self._ledger.page(after, limit)
                return OrdersPage(page.rows, page.more)
            case _:
                raise Problem(404, "Not found", "An order server does not answer this call.")

    # ---- HTTP

    def resource(self) -> IResource:
        """Everything that this server serves, the internal path included."""
        here = Local(self._node.name, self.answer)
        routes = (
            *(_members_only(route) for route in Writing(here, here, self._clock).shop_routes()),
            log_route(self._ledger.batches),
            table_route("Every order, as JSON lines", self._state, self._rows),
            *self._more_routes,
            *common_routes(health=self.health, cluster=self.cluster, metrics=self._metrics),
        )
        app = make_app(routes, secrets=self._secrets, metrics=self._metrics, title="Pygmy, an order server")
        internal = Internal(self._secrets, self._clock, self._receive, self.answer, self._links.riders)
        return root_resource(app, internal=internal)

    def _state(self) -> str:
        return self._ledger.condition().state

    async def _rows(self) -> Sequence[Order]:
        rows: list[Order] = []
        more = True
        while more:
            page = await self._ledger.page(rows[-1].order_id if rows else 0, TABLE_PAGE)
            rows.extend(page.rows)
            more = page.more
        return rows

    def health(self) -> Health:
        """Healthy while this replica serves."""
        return health_body(self._node, self._ledger.condition())

    def cluster(self) -> ClusterBody:
        """The tier as this replica hears it, and the catalogs by their heartbeats."""
        self._heartbeats.want()
        condition, peers = self._ledger.condition(), self._ledger.peers()
        return cluster_body(self._cluster, self._node, condition, peers, self._heartbeats)


def _members_only(route: Route) -> Route:
    """Buying at an order server is for front ends; orders are for admins here as there."""
    return with_changes(route, auth=Auth.MEMBER) if route.method == "POST" else route
