"""Sales without an order get one: the sale in the catalog's log is the outbox, and this empties it.

It happens when an order server dies between the sale and the order.  Looking again finds nothing to do for a sale
that has its order, since both stand under one op_id.
"""

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from pygmy.balancing.forwarding import Errand, Forwarder
from pygmy.errors import Problem
from pygmy.ledger.seam import OrderLedger
from pygmy.logs import Logger
from pygmy.messages.internal import Sale, Sales, SalesPage
from pygmy.messages.operations import MarkReconciled, OrderLine, RecordOrder, Result, Sold
from pygmy.ticking import Ticking

log = Logger()

INTERVAL = 1.0
GRACE_MS = 1000  # a younger sale's order may well be on its way
PAGE = 500


def order_of(sold: Sold, sale: Result, basket: bool) -> RecordOrder:
    """The order that a sale asks for: prices and time are the sale's."""
    lines = tuple(OrderLine(line.item, line.quantity, line.price) for line in sold.lines)
    return RecordOrder(lines, sold.total, sale.at, sale.seq, basket)


class Reconciler(Ticking):
    """Each second, on the one server whose turn it is, goes through the sales since the last time."""

    def __init__(
        self, ledger: OrderLedger, catalogs: Forwarder, clock: IReactorTime, wall: Callable[[], int]
    ) -> None:
        super().__init__(self._tick, clock, INTERVAL)
        self._ledger = ledger
        self._catalogs = catalogs
        self._wall = wall
        self._busy = False
        self._looked_upto = 0

    def _tick(self) -> None:
        if not self._ledger.reconciles():
            self._looked_upto = 0
        elif not self._busy:
            self._busy = True
            Deferred.fromCoroutine(self._reconcile()).addErrback(_tell).addBoth(self._done)

    def _done(self, _: object) -> None:
        self._busy = False

    async def _reconcile(self) -> None:
        """Page by page up to the newest sale that is old enough."""
        while await self._page() and self._ledger.reconciles():
            pass

    async def _page(self) -> bool:
        """Write the orders that are missing, then move the mark behind these sales; whether there may be more."""
        after = max(self._ledger.reconciled_upto(), self._looked_upto)
        body = Sales(after, self._wall() - GRACE_MS, PAGE)
        page = (await self._catalogs.forward(Errand((), body), SalesPage)).answer
        orders = await self._ledger.find(*(sale.op_id for sale in page.sales))
        for sale, order in zip(page.sales, orders, strict=True):
            if order is None:
                await self._order(sale)
        if page.sales:
            await self._ledger.execute(MarkReconciled(page.upto), f"r:{page.upto}")
        self._looked_upto = page.upto
        return len(page.sales) >= PAGE

    async def _order(self, sale: Sale) -> None:
        sold = sale.result.outcome
        if not isinstance(sold, Sold):
            return
        await self._ledger.execute(order_of(sold, sale.result, sale.basket), sale.op_id)
        log.info("reconciled the sale {op_id}: it had no order", op_id=sale.op_id)


def _tell(failure: Failure) -> None:
    """A tier that does not answer now will another time."""
    if not failure.check(Problem):
        log.failure("reconciling failed", failure)
