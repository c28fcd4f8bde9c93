"""The order tier's ledger on replicas: orders are read from disk, up to the last one that is committed."""

from typing import Any, cast

from twisted.internet.defer import Deferred

from pygmy.database import Boot, Store
from pygmy.ledger.driver import Driver, Place
from pygmy.ledger.seam import Read
from pygmy.messages.operations import Mark, Order
from pygmy.state.orders import ORDERS, OrderBook

_KEYS = frozenset({ORDERS})


class ReplicatedOrders(Driver):
    """An `OrderLedger`."""

    def __init__(self, place: Place, store: Store, boot: Boot, *args: Any, **settings: Any) -> None:
        marks = (row for row in boot.rows if isinstance(row, Mark))
        # Of the orders among them nothing is in memory: only marks have names for keys.
        undo = ((u.key, cast("Mark | None", u.before)) for u in boot.undo if isinstance(u.key, str))
        self._book = OrderBook(marks, undo)
        super().__init__(place, store, boot, self._book, *args, **settings)

    def read(self, order_ids: tuple[int, ...]) -> Deferred[Read[Order | None]]:
        """These orders."""

        async def found() -> Read[Order | None]:
            last = await self._last_committed()
            orders = await self._store.orders(number for number in order_ids if number <= last)
            by_id = {order.order_id: order for order in orders}
            return Read(tuple(by_id.get(number) for number in order_ids))

        return Deferred.fromCoroutine(found())

    def page(self, after: int, limit: int) -> Deferred[Read[Order]]:
        """Orders by id."""

        async def found() -> Read[Order]:
            last = await self._last_committed()
            orders = await self._store.orders_page(after, limit + 1, last)
            return Read(orders[:limit], more=len(orders) > limit)

        return Deferred.fromCoroutine(found())

    def reconciled_upto(self) -> int:
        """The catalog seq up to which every sale has its order."""
        return self._book.reconciled_upto

    def reconciles(self) -> bool:
        """The order view's leader does it."""
        return self.replica.leads()

    def _last_committed(self) -> Deferred[int]:
        return self._when_readable(_KEYS, lambda: self._book.last_order_id)
