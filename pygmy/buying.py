"""A buy is a sale at a catalog, then an order in this tier's log, then the answer; and many go together."""

from collections.abc import Mapping, Sequence
from itertools import islice

from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from pygmy.balancing.forwarding import Errand, Forwarder, Patience
from pygmy.errors import Problem, key_reused, outcome_unknown
from pygmy.ledger.seam import OrderLedger
from pygmy.logs import Logger
from pygmy.messages.internal import AnswerBody, Bought, Buy, Execute, Executed, Keyed, Refused
from pygmy.messages.operations import Order, Ordered, RecordOrder, Result, Sell, Sold
from pygmy.peers import as_refused
from pygmy.reactors import Turn
from pygmy.reconciler import order_of
from pygmy.routes.checkout import TOGETHER
from pygmy.routes.outcomes import refusal

log = Logger()

# A front end waits 3 s for an answer: what is not settled by then is better said to be unknown in time.
PATIENCE = Patience(total=2.6, read=1.0, write=1.0)  # with the catalogs
RECORD_SECONDS = 2.6

Sale = Keyed[Sell]


class _Asked(Struct):
    """A call on its way."""

    sales: tuple[Sale, ...]
    answer: Deferred[AnswerBody]


class Buying:
    """Buys of one turn of the reactor are one search, one call to a catalog and one batch.

    They are refused one by one, but what goes wrong on the way goes wrong for all of them: no more is known then.
    """

    def __init__(self, ledger: OrderLedger, catalogs: Forwarder, clock: IReactorTime) -> None:
        self._ledger = ledger
        self._catalogs = catalogs
        self._turn = Turn(clock, self._begin)
        self._clock = clock

    def buy(self, buy: Buy) -> Deferred[AnswerBody]:
        """Sell, then write the orders. Only what a log has committed is a success or a refusal for want of stock."""
        answer: Deferred[AnswerBody] = Deferred()
        self._turn.add(_Asked(buy.sales, answer))
        return answer

    def _begin(self, asked: list[_Asked]) -> None:
        together: list[_Asked] = []
        room = TOGETHER
        for one in asked:
            room -= len(one.sales)
            if room < 0 and together:
                self._start(together)
                together, room = [], TOGETHER - len(one.sales)
            together.append(one)
        self._start(together)

    def _start(self, asked: Sequence[_Asked]) -> None:
        Deferred.fromCoroutine(self._go(asked)).addErrback(_fail, asked)

    async def _go(self, asked: Sequence[_Asked]) -> None:
        outcomes = iter(await self._outcomes([sale for one in asked for sale in one.sales]))
        for one in asked:
            one.answer.callback(Bought(tuple(islice(outcomes, len(one.sales)))))

    async def _outcomes(self, sales: Sequence[Sale]) -> Sequence[Ordered | Refused]:
        done = await self._ledger.find(*(sale.op_id for sale in sales))
        outcomes = {
            place: _as_before(sales[place], result.outcome.order)
            for place, result in enumerate(done)
            if result is not None and isinstance(result.outcome, Ordered)
        }
        new = {place: sale for place, sale in enumerate(sales) if place not in outcomes}
        if new:
            outcomes |= await self._buy(new)
        return [outcomes[place] for place in range(len(sales))]

    async def _buy(self, sales: Mapping[int, Sale]) -> dict[int, Ordered | Refused]:
        """At any catalog server; with the same op_ids wherever it is tried again."""
        requests = tuple((f"SELL {_lines(sale.operation)}", sale.request_id) for sale in sales.values())
        errand = Errand(requests, Execute(tuple(sales.values())), write=True)
        reply = await self._catalogs.forward(errand, Executed)
        outcomes: dict[int, Ordered | Refused] = {}
        sold: dict[int, Result] = {}
        orders: list[tuple[str, RecordOrder]] = []
        for (place, sale), result in zip(sales.items(), reply.answer.results, strict=True):
            if isinstance(result.outcome, Sold):
                sold[place] = result
                orders.append((sale.op_id, order_of(result.outcome, result, sale.operation.basket)))
            else:
                outcomes[place] = as_refused(refusal(result, reply.sure))
        for (place, result), recorded in zip(sold.items(), await self._record(orders), strict=True):
            outcomes[place] = _ordered(sales[place], result, recorded)
        return outcomes

    async def _record(self, orders: Sequence[tuple[str, RecordOrder]]) -> Sequence[Result]:
        """The sales stand: whatever goes wrong from here on leaves their orders to be written, by whomever."""
        if not orders:
            return []
        recording = self._ledger.execute_all(orders)
        try:
            return await recording.addTimeout(RECORD_SECONDS, self._clock, _too_slow)
        except Problem as problem:
            raise outcome_unknown(
                f"The books are sold, but their order is not written yet: {problem.detail}"
            ) from None


def _as_before(sale: Sale, order: Order) -> Ordered | Refused:
    """The order that there is under this op_id, if it is what this very request would make; else 422."""
    sell = sale.operation
    asked = [(line.item, line.quantity) for line in sell.lines]
    if asked != [(line.item, line.quantity) for line in order.lines] or sell.basket != order.basket:
        return as_refused(key_reused())
    return Ordered(order)


def _ordered(sale: Sale, sold: Result, recorded: Result) -> Ordered | Refused:
    if not isinstance(recorded.outcome, Ordered):
        return as_refused(refusal(recorded))
    _tell(recorded.outcome.order, sold, recorded, sale.request_id)
    return recorded.outcome


def _fail(failure: Failure, asked: Sequence[_Asked]) -> None:
    for one in asked:
        one.answer.errback(failure)


def _tell(order: Order, sold: Result, recorded: Result, request_id: str) -> None:
    """By which request the order came to be, and where to find it in both logs: `pygmy trace` begins here."""
    log.info(
        "order {order}: sold in batch {sold}, written in batch {written}",
        order=order.order_id,
        sold=f"{sold.epoch}-{sold.seq}",
        written=f"{recorded.epoch}-{recorded.seq}",
        rid=request_id,
    )


def _lines(sell: Sell) -> str:
    return " ".join(f"{line.quantity}x{line.item}" for line in sell.lines)


def _too_slow(result: object, timeout: float) -> list[Result]:
    raise outcome_unknown(f"not within {timeout:.1f} s")
