"""The order tier's state machine: the gapless list of orders, and how far it is reconciled with the sales.

Orders themselves are looked up on disk; the machine keeps the two numbers that deciding needs.
"""

from collections.abc import Iterable
from typing import cast

from pygmy.messages.operations import (
    Change,
    Mark,
    Marked,
    MarkReconciled,
    Operation,
    Order,
    Ordered,
    Outcome,
    Recorded,
    RecordForced,
    RecordOrder,
    Row,
)
from pygmy.messages.replication import Version
from pygmy.state.machine import Journal

LAST_ORDER = "last_order_id"
RECONCILED = "reconciled_upto"
ORDERS = "orders"  # the key that a read of orders waits for


class OrderBook:
    """The fold of the order log. Rows are `Order`s and `Mark`s; see `pygmy.state.machine.Machine`."""

    def __init__(self, marks: Iterable[Mark] = (), undo: Iterable[tuple[str, Mark | None]] = ()) -> None:
        self._marks = Journal()
        self._marks.load(((mark.name, mark) for mark in marks), undo)
        self._orders: list[Order] = []

    def _mark(self, name: str) -> int:
        mark = cast("Mark | None", self._marks.get(name))
        return mark.value if mark else 0

    @property
    def last_order_id(self) -> int:
        """The highest order id given out; ids are 1..this."""
        return self._mark(LAST_ORDER)

    @property
    def reconciled_upto(self) -> int:
        """The catalog seq up to which every sale has its order."""
        return self._mark(RECONCILED)

    def begin(self) -> None:
        """Start a batch."""
        self._marks.begin()
        self._orders = []

    def rollback(self) -> None:
        """Undo the batch begun last (its orders' rows go with the marks: see `changes`)."""
        self._marks.rollback()
        self._orders = []

    def changes(self, seq: int) -> list[Change]:
        """The orders that the batch appended, and the marks."""
        appended: list[Row] = list(self._orders)
        return [Change(seq, None, order) for order in appended] + self._marks.changes(seq)

    def touched(self) -> frozenset[str]:
        """Whoever reads orders waits for a batch under way; no front end caches any."""
        return frozenset({ORDERS})

    def apply(self, op_id: str, operation: Operation, at: int, version: Version) -> Outcome:
        """Carry out one operation of the order tier."""
        match operation:
            case RecordOrder():
                order_id = self.last_order_id + 1
                self._marks.put(LAST_ORDER, Mark(LAST_ORDER, order_id))
                order = Order(order_id, op_id, operation.lines, operation.total, operation.at, operation.basket)
                self._orders.append(order)
                return Ordered(order)
            case MarkReconciled():
                upto = max(operation.upto, self.reconciled_upto)
                self._marks.put(RECONCILED, Mark(RECONCILED, upto))
                return Marked(upto)
            case RecordForced():
                return Recorded()
            case _:
                raise TypeError(f"not an operation of the order tier: {type(operation).__name__}")
