"""The opening stock of an empty catalog: put on the shelves once for the whole tier, whichever servers try."""

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from pygmy.errors import Problem, unavailable
from pygmy.gathering import results_of
from pygmy.ledger.seam import CatalogLedger
from pygmy.logs import Logger
from pygmy.messages.operations import Opened, OpenStock, Reused
from pygmy.opened import Opening, together
from pygmy.ticking import Ticking

log = Logger()

TICK = 0.1  # seconds
LEADERS_TICKS = 50  # for so many the others leave a large stock to the leader


class Opener(Ticking):
    """Looks, until it is there, whether the stock has still to be put on the shelves; `stock` is None once it is."""

    def __init__(self, node: str, ledger: CatalogLedger, stock: Opening, clock: IReactorTime) -> None:
        super().__init__(self._look, clock, TICK)
        self.stock: Opening | None = stock
        self._node = node
        self._ledger = ledger
        self._busy = False
        self._patience = LEADERS_TICKS

    def _look(self) -> None:
        """Until it is known to be there: put the opening stock on the shelves, once for the whole tier."""
        if self.stock is None or self._busy or self._ledger.condition().why:
            return
        self._busy = True

        def done(_: object) -> None:
            self._busy = False

        opening = Deferred.fromCoroutine(self._put_on_shelves(self.stock))
        opening.addErrback(lambda failure: None if failure.check(Problem) else log.failure("opening failed", failure))
        opening.addBoth(done)

    async def _put_on_shelves(self, stock: Opening) -> None:
        """Until the last part is there; what this node remembers saves it the reading of the books."""
        if stock.remembered is None or not await self._has_part(stock.remembered - 1):
            operations = stock.operations()
            if await self._left_to_leader(len(operations) - 1):
                return  # and looked at again with the next tick
            if await self._execute(operations):
                stock.opened(len(operations))
        self.stock = None
        self.stopService()

    async def _execute(self, operations: Sequence[OpenStock]) -> bool:
        """Each part is an operation under an op_id of its own: every server may try, and one does it.

        The first part is tried whatever there is: its outcome tells whether the catalog was opened with this stock.
        """
        for numbers in together(operations):
            if numbers[0] == 1 and await self._has_part(len(operations) - 1):
                break
            asked = [self._ledger.execute(operations[number], f"open:{number}") for number in numbers]
            for result in await results_of(asked):
                if isinstance(result.outcome, Reused):
                    log.warn("this catalog was opened with other books than this node was given")
                    return False
                assert isinstance(result.outcome, Opened)
        return True

    async def _left_to_leader(self, last: int) -> bool:
        """Of many books each part takes a while, and a longer one if servers take turns with it: the leader does it.

        Only for so long: it may have been given other books.
        """
        leads = self._ledger.condition().leader == self._node
        if last == 0 or leads or self._patience == 0 or await self._has_part(last):
            return False
        self._patience -= 1
        return True

    async def _has_part(self, number: int) -> bool:
        (found,) = await self._ledger.find(f"open:{number}")
        if found is None and (why := self._ledger.condition().why):
            raise unavailable(why)  # this node cannot tell just now
        return found is not None
