"""Buys on their way to the order tier: those of one turn of the reactor go as one call."""

from collections.abc import Sequence

from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from pygmy.balancing.forwarding import SETTLED, Errand, Forwards
from pygmy.errors import Problem, outcome_unknown
from pygmy.messages.internal import Bought, Buy, Keyed, Refused
from pygmy.messages.operations import Order, Sell
from pygmy.peers import problem_of
from pygmy.reactors import Turn
from pygmy.web.problems import log_unheard

TOGETHER = 256  # buys: as many as the tiers' batches take


class _Asked(Struct):
    """A buy on its way; `what`: how log lines call its request."""

    what: str
    sale: Keyed[Sell]
    order: Deferred[Order]


class Checkout:
    """Each buy gets its own answer; what goes wrong on the way goes wrong for all that went together.

    A buy whose order is cancelled, as its client has left, goes on all the same.
    """

    def __init__(self, orders: Forwards, clock: IReactorTime) -> None:
        self._orders = orders
        self._turn = Turn(clock, self._begin)

    def buy(self, what: str, sale: Keyed[Sell]) -> Deferred[Order]:
        """Its order; fails with the Problem that its buyer is to be told."""
        order: Deferred[Order] = Deferred()
        self._turn.add(_Asked(what, sale, order))
        return order

    def _begin(self, asked: list[_Asked]) -> None:
        for start in range(0, len(asked), TOGETHER):
            together = asked[start : start + TOGETHER]
            Deferred.fromCoroutine(self._go(together)).addErrback(_fail, together)

    async def _go(self, asked: Sequence[_Asked]) -> None:
        requests = tuple((one.what, one.sale.request_id) for one in asked)
        errand = Errand(requests, Buy(tuple(one.sale for one in asked)), write=True)
        reply = await self._orders.forward(errand, Bought)
        if len(reply.answer.outcomes) != len(asked):
            raise outcome_unknown(f"{reply.replica} answered something else")
        for one, outcome in zip(asked, reply.answer.outcomes, strict=True):
            if isinstance(outcome, Refused):
                _refuse(one, Failure(_problem(outcome, reply.sure)))
            else:
                one.order.callback(outcome.order)


def _problem(refused: Refused, sure: bool) -> Problem:
    """A refusal that is not settled says nothing while an earlier try may still be under way."""
    if not sure and refused.status not in SETTLED:
        return outcome_unknown("an earlier try went unanswered")
    return problem_of(refused)


def _refuse(one: _Asked, failure: Failure) -> None:
    if one.order.called:  # by whoever cancelled it
        log_unheard(failure, one.sale.request_id)
    else:
        one.order.errback(failure)


def _fail(failure: Failure, asked: Sequence[_Asked]) -> None:
    for one in asked:
        _refuse(one, failure)
