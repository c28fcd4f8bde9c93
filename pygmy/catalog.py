"""The catalog server: it sells, restocks and looks up, through its tier's ledger."""

import time
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import IResource

from pygmy.balancing.local import Local
from pygmy.caching.lookups import Lookups
from pygmy.cluster import Cluster, Node
from pygmy.errors import Problem, unavailable
from pygmy.ledger.seam import CatalogLedger
from pygmy.logs import Logger
from pygmy.messages.internal import (
    AnswerBody,
    Call,
    Execute,
    Executed,
    Fill,
    Filled,
    Keyed,
    List,
    Listed,
    Renew,
    Renewed,
    Sales,
    SalesPage,
)
from pygmy.messages.operations import Book, Result
from pygmy.opened import Opening
from pygmy.opener import Opener
from pygmy.routes.condition import cluster_body, health_body
from pygmy.routes.log import log_route
from pygmy.routes.reading import Reading
from pygmy.routes.table import table_route
from pygmy.routes.writing import Writing
from pygmy.web.app import make_app, root_resource
from pygmy.web.auth import Secrets
from pygmy.web.internal import Internal, Receive, Riders
from pygmy.web.metrics import Metrics
from pygmy.web.openapi import Route
from pygmy.web.status import ClusterBody, Health, common_routes

log = Logger()


class CatalogServer(MultiService):
    """One catalog server: `resource()` is what it serves; as a service it opens the stock of an empty catalog.

    `receive` gets the one-way messages, which are none of this server's business; nor are `more_routes`.
    """

    def __init__(
        self,
        cluster: Cluster,
        node: Node,
        ledger: CatalogLedger,
        receive: Receive,
        clock: IReactorTime,
        secrets: Secrets,
        metrics: Metrics,
        opening: Opening,
        more_routes: Sequence[Route] = (),
        riders: Riders = lambda sender: [],
    ) -> None:
        super().__init__()
        self._riders = riders
        self._more_routes = more_routes
        self._cluster = cluster
        self._node = node
        self._ledger = ledger
        self._receive = receive
        self._clock = clock
        self._secrets = secrets
        self._metrics = metrics
        metrics.watch_tier(ledger.condition, ledger.peers)
        self.opener = Opener(node.name, ledger, opening, clock)
        self.opener.setServiceParent(self)

    # ---- calls from other nodes

    def answer(self, sender: str, call: Call) -> "Deferred[AnswerBody]":
        """A call of an order server, a front end or this server's own HTTP side."""
        if self.opener.stock is not None:
            return fail(unavailable(self._ledger.condition().why or "The catalog is not open yet."))
        return Deferred.fromCoroutine(self._answer(call))

    async def _answer(self, call: Call) -> AnswerBody:
        match call.body:
            case Execute(operations):
                results = await self._ledger.execute_all([(one.op_id, one.operation) for one in operations])
                for one, result in zip(operations, results, strict=True):
                    _tell(one, result)
                return Executed(tuple(results))
            case Fill(item, holder):
                read = await self._ledger.read((item,), holder)
                return Filled(read.rows[0], read.session, read.lease)
            case List(topic, after, limit, holder):
                page = await self._ledger.page(topic, after, limit, holder)
                books = tuple((book.item, book.title) for book in page.rows)
                return Listed(books, page.more, page.session, page.lease)
            case Renew(holder, session):
                renewed = self._ledger.renew(holder, session)
                if renewed is None:
                    raise unavailable("No lease can be given just now.")
                return Renewed(*renewed)
            case Sales(after, until, limit):
                return SalesPage(*await self._ledger.sales(after, until, limit))
            case _:
                raise Problem(404, "Not found", "A catalog does not answer this call.")

    # ---- HTTP

    def resource(self) -> IResource:
        """Everything that this server serves, the internal path included."""
        here = Local(self._node.name, self.answer)
        reading = Reading(Lookups(here, "", None, time.monotonic), None)
        routes = (
            *(route for route in reading.routes() if route.path.startswith("/books")),
            *(route for route in Writing(here, here, self._clock).routes() if route.method == "PATCH"),
            log_route(self._ledger.batches),
            table_route("Every row with its version, as JSON lines", self._state, self._rows),
            *self._more_routes,
            *common_routes(health=self.health, cluster=self.cluster, metrics=self._metrics),
        )
        app = make_app(routes, secrets=self._secrets, metrics=self._metrics, title="Pygmy, a catalog server")
        internal = Internal(self._secrets, self._clock, self._receive, self.answer, self._riders)
        return root_resource(app, internal=internal)

    def _state(self) -> str:
        return self._ledger.condition().state

    async def _rows(self) -> Sequence[Book]:
        return (await self._ledger.table()).rows

    def health(self) -> Health:
        """Healthy while this replica serves."""
        condition = self._ledger.condition()
        if not condition.why and self.opener.stock is not None:
            condition = replace(condition, why="The catalog is not open yet.")
        return health_body(self._node, condition)

    def cluster(self) -> ClusterBody:
        """The tier as this replica sees it."""
        return cluster_body(self._cluster, self._node, self._ledger.condition(), self._ledger.peers())


def _tell(one: Keyed[Any], result: Result) -> None:
    log.info(
        "{operation}: {outcome} in {epoch}-{seq}",
        operation=type(one.operation).__name__,
        outcome=type(result.outcome).__name__,
        epoch=result.epoch,
        seq=result.seq,
        rid=one.request_id,
    )
