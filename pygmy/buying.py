"""A buy is a sale at a catalog, then an order in this tier's log, then the answer; and many go together."""

from collections.abc import Sequence

from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from pygmy.balancing.forwarding import Errand, Forwarder, Patience
from pygmy.errors import Problem, key_reused, outcome_unknown
from pygmy.ledger.seam import OrderLedger
from pygmy.logs import Logger
from pygmy.messages.internal import AnswerBody, Bought, Buy, Execute, Executed, Keyed
from pygmy.messages.operations import Order, Ordered, Result, Reused, Sell, Sold
from pygmy.reactors import Turn
from pygmy.reconciler import order_of
from pygmy.routes.outcomes import refusal

log = Logger()

# A front end waits 3 s for an answer: what is not settled by then is better said to be unknown in time.
PATIENCE = Patience(total=2.6, read=1.0, write=1.0)  # with the catalogs
RECORD_SECONDS = 2.6
TOGETHER = 256  # buys: as many as the tiers' batches take


class _Asked(Struct):
    """A buy on its way."""

    buy: Buy
    request_id: str
    answer: Deferred[AnswerBody]


class Buying:
    """Buys of one turn of the reactor are one search, one call to a catalog and one batch.

    They are refused one by one, but what goes wrong on the way goes wrong for all of them: no more is known then.
    """

    def __init__(self, ledger: OrderLedger, catalogs: Forwarder, clock: IReactorTime) -> None:
        self._ledger = ledger
        self._catalogs = catalogs
        self._clock = clock
        self._turn = Turn(clock, self._begin)

    def buy(self, buy: Buy, request_id: str) -> Deferred[AnswerBody]:
        """Sell, then write the order. Only what a log has committed is a success or a refusal for want of stock."""
        answer: Deferred[AnswerBody] = Deferred()
        self._turn.add(_Asked(buy, request_id, answer))
        return answer

    def _begin(self, asked: list[_Asked]) -> None:
        for start in range(0, len(asked), TOGETHER):
            together = asked[start : start + TOGETHER]
            Deferred.fromCoroutine(self._go(together)).addErrback(_fail, together)

    async def _go(self, asked: Sequence[_Asked]) -> None:
        done = await self._ledger.find(*(one.buy.op_id for one in asked))
        new = [one for one, result in zip(asked, done, strict=True) if not _answered_before(one, result)]
        sold = await self._sell(new) if new else []
        if sold:
            await self._record(sold)

    async def _sell(self, asked: Sequence[_Asked]) -> Sequence[tuple[_Asked, Result, Sold]]:
        """Any catalog server; the same op_ids wherever it is tried again. What was sold."""
        sells = tuple(Keyed(one.buy.op_id, Sell(one.buy.lines, one.buy.basket), one.request_id) for one in asked)
        requests = tuple((f"SELL {_lines(one.buy)}", one.request_id) for one in asked)
        try:
            reply = await self._catalogs.forward(Errand(requests, Execute(sells), asked[0].buy.op_id), Executed)
        except Problem as problem:
            raise _in_doubt() if problem.outcome_unknown else problem from None  # it names the key of one for all
        sold = []
        for one, result in zip(asked, reply.answer.results, strict=True):
            if isinstance(result.outcome, Sold):
                sold.append((one, result, result.outcome))
            elif not reply.sure and not result.seq and not isinstance(result.outcome, Reused):
                one.answer.errback(_in_doubt())
            else:
                one.answer.errback(_refusal(result))
        return sold

    async def _record(self, sold: Sequence[tuple[_Asked, Result, Sold]]) -> None:
        """The sales stand: whatever goes wrong from here on leaves their orders to be written, by whomever."""
        orders = [(one.buy.op_id, order_of(sale, result, one.buy.basket)) for one, result, sale in sold]
        recording = self._ledger.execute_all(orders)
        try:
            results = await recording.addTimeout(RECORD_SECONDS, self._clock, _too_slow)
        except Problem as problem:
            raise outcome_unknown(
                f"The books are sold, but their order is not written yet: {problem.detail}"
            ) from None
        for (one, sale, _), result in zip(sold, results, strict=True):
            if isinstance(result.outcome, Ordered):
                _tell(result.outcome.order, sale, result, one.request_id)
                one.answer.callback(Bought(result.outcome.order))
            else:
                one.answer.errback(_refusal(result))


def _answered_before(one: _Asked, done: Result | None) -> bool:
    """Whether this buy has its order: the same one again, if it is what this very request would make; else 422."""
    if done is None or not isinstance(done.outcome, Ordered):
        return False
    buy, order = one.buy, done.outcome.order
    asked = [(line.item, line.quantity) for line in buy.lines]
    if asked != [(line.item, line.quantity) for line in order.lines] or buy.basket != order.basket:
        one.answer.errback(key_reused())
    else:
        one.answer.callback(Bought(order))
    return True


def _in_doubt() -> Problem:
    return outcome_unknown("A catalog server did not answer in time.")


def _refusal(result: Result) -> Problem:
    return refusal(result.outcome) or Problem(500, "Internal error", "The log's answer does not fit.")


def _fail(failure: Failure, asked: Sequence[_Asked]) -> None:
    for one in asked:
        if not one.answer.called:
            error = failure.value
            one.answer.errback(error.copy() if isinstance(error, Problem) else failure)


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


def _too_slow(result: object, timeout: float) -> list[Result]:
    raise outcome_unknown(f"not within {timeout:.1f} s")
