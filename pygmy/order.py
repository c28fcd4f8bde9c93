"""The order server: a buy is a sale at a catalog, then an order in this tier's log, then the answer."""

from collections.abc import Callable, Sequence

from msgspec.structs import replace as with_changes
from treq.client import HTTPClient
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import IResource

from pygmy.balancing.balancer import Balancer
from pygmy.balancing.forwarding import Errand, Forwarder, Gate, Patience
from pygmy.balancing.local import Local
from pygmy.balancing.watch import Heartbeats
from pygmy.cluster import Cluster, Node, Role
from pygmy.errors import Problem, key_reused, outcome_unknown
from pygmy.ledger.seam import OrderLedger
from pygmy.logs import Logger
from pygmy.messages.internal import (
    AnswerBody,
    Bought,
    Buy,
    Call,
    Execute,
    Executed,
    Orders,
    OrdersPage,
)
from pygmy.messages.operations import Order, Ordered, RecordOrder, Result, Reused, Sell, Sold
from pygmy.peers import Links
from pygmy.reconciler import Reconciler, order_of
from pygmy.routes.condition import cluster_body, health_body
from pygmy.routes.log import log_route
from pygmy.routes.outcomes import refusal
from pygmy.routes.table import table_route
from pygmy.routes.writing import Writing
from pygmy.web.app import make_app, root_resource
from pygmy.web.auth import Secrets
from pygmy.web.internal import Internal, Receive
from pygmy.web.metrics import Metrics
from pygmy.web.openapi import Auth, Route
from pygmy.web.status import ClusterBody, Health, common_routes

log = Logger()

# A front end waits 3 s for an answer: what is not settled by then is better said to be unknown in time.
PATIENCE = Patience(total=2.6, read=1.0, write=1.0)
RECORD_SECONDS = 2.6
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
                return Bought(await self._buy(call.body, call.request_id))
            case Orders(after, limit):
                page = await self._ledger.page(after, limit)
                return OrdersPage(page.rows, page.more)
            case _:
                raise Problem(404, "Not found", "An order server does not answer this call.")

    # ---- a buy

    async def _buy(self, buy: Buy, request_id: str) -> Order:
        """Sell, then write the order. Only what a log has committed is a success or a refusal for want of stock."""
        (done,) = await self._ledger.find(buy.op_id)
        if done is not None and isinstance(done.outcome, Ordered):
            return _same_request(buy, done.outcome.order)
        result, sold = await self._sell(buy, request_id)
        recorded = await self._record(buy.op_id, order_of(sold, result, buy.basket))
        if isinstance(recorded.outcome, Ordered):
            _tell(recorded.outcome.order, result, recorded, request_id)
            return recorded.outcome.order
        raise refusal(recorded.outcome) or Problem(500, "Internal error", "The order log's answer does not fit.")

    async def _sell(self, buy: Buy, request_id: str) -> tuple[Result, Sold]:
        """Any catalog server; the same op_id wherever it is tried again."""
        sell = Execute(buy.op_id, Sell(buy.lines, buy.basket))
        errand = Errand(f"SELL {_lines(buy)}", request_id, sell, buy.op_id)
        reply = await self.catalogs.forward(errand, Executed)
        result = reply.answer.result
        if isinstance(result.outcome, Sold):
            return result, result.outcome
        if not reply.sure and not result.seq and not isinstance(result.outcome, Reused):
            raise outcome_unknown("A catalog server did not answer in time.")
        raise refusal(result.outcome) or Problem(500, "Internal error", "The catalog's answer does not fit.")

    async def _record(self, op_id: str, order: RecordOrder) -> Result:
        """The sale stands: whatever goes wrong from here on leaves its order to be written, by whomever."""
        try:
            return await self._ledger.execute(order, op_id).addTimeout(RECORD_SECONDS, self._clock, _too_slow)
        except Problem as problem:
            raise outcome_unknown(
                f"The books are sold, but their order is not written yet: {problem.detail}"
            ) from None

    # ---- HTTP

    def resource(self) -> IResource:
        """Everything that this server serves, the internal path included."""
        here = Local(self._node.name, self.answer)
        routes = (
            *(_members_only(route) for route in Writing(here, here).shop_routes()),
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


def _same_request(buy: Buy, order: Order) -> Order:
    """The order again, if it is the one that this very request would make; else 422."""
    asked = [(line.item, line.quantity) for line in buy.lines]
    if asked != [(line.item, line.quantity) for line in order.lines] or buy.basket != order.basket:
        raise key_reused()
    return order


def _tell(order: Order, sold: Result, recorded: Result, request_id: str) -> None:
    """By which request the order came to be, and where to find it in both logs: `pygmy trace` begins here."""
    log.info(
        "order {order}: sold in batch {sold}, written in batch {written}",
        order=order.order_id,
        sold=f"{sold.epoch}-{sold.seq}",
        written=f"{recorded.epoch}-{recorded.seq}",
        rid=request_id,
    )


def _lines(buy: Buy) -> str:
    return " ".join(f"{line.quantity}x{line.item}" for line in buy.lines)


def _members_only(route: Route) -> Route:
    """Buying at an order server is for front ends; orders are for admins here as there."""
    return with_changes(route, auth=Auth.MEMBER) if route.method == "POST" else route


def _too_slow(result: object, timeout: float) -> Result:
    raise outcome_unknown(f"not within {timeout:.1f} s")
