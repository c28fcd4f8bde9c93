"""Operations from their asking to their answer: looked up on disk, then submitted, all of a turn together (P1)."""

from collections.abc import Callable, Sequence

from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from pygmy.ledger.searches import Searches
from pygmy.messages.operations import Operation, Result
from pygmy.replication.replica import Found


class Asked(Struct):
    """An operation between its asking and its answer; `since` is when it was asked for."""

    ticket: int
    op_id: str
    operation: Operation
    waiter: Deferred[Result]
    since: float


class Asking:
    """All operations that have no answer yet, by ticket.

    `recorded(op_id)`: it is in memory, so the disk need not be searched. `submit(found)` gets at the end of a turn of
    the reactor what was looked up in it. `broken` hears of a search that failed.
    """

    def __init__(
        self,
        search: Searches,
        recorded: Callable[[str], bool],
        submit: Callable[[Sequence[tuple[Asked, Found]]], None],
        broken: Callable[[Failure], None],
        clock: IReactorTime,
        now: Callable[[], float],
    ) -> None:
        self._search = search
        self._recorded = recorded
        self._hand_over = submit
        self._broken = broken
        self._clock = clock
        self._now = now
        self._ticket = 0
        self._asked: dict[int, Asked] = {}
        self._looked_up: list[tuple[int, Found]] = []  # in this turn of the reactor

    def __len__(self) -> int:
        return len(self._asked)

    def ask(self, op_id: str, operation: Operation) -> Deferred[Result]:
        """Fires with the answer. If it is cancelled the operation goes on, and its answer goes nowhere."""
        self._ticket += 1
        ticket = self._ticket
        waiter: Deferred[Result] = Deferred(lambda _: self._forget(ticket))
        self._asked[ticket] = Asked(ticket, op_id, operation, waiter, self._now())
        self.look_up(ticket)
        return waiter

    def look_up(self, ticket: int) -> None:
        """Look the op_id up, then submit the operation with what was found; again, if the core asks for it."""
        asked = self._asked.get(ticket)
        if asked is None:
            return
        known = Found(None, 0) if self._recorded(asked.op_id) else self._search.spared(asked.op_id)
        if known is not None:
            self._submit(ticket, known)
            return
        looking = self._search(asked.op_id)
        looking.addCallback(lambda found: self._submit(ticket, found))
        looking.addErrback(self._broken)

    def _forget(self, ticket: int) -> None:
        self._asked.pop(ticket, None)

    def take(self, ticket: int) -> Asked | None:
        """The operation, which gets its answer now; None: whoever asked has gone."""
        return self._asked.pop(ticket, None)

    def take_all(self) -> list[Asked]:
        """All of them."""
        asked = list(self._asked.values())
        self._asked.clear()
        return asked

    def _submit(self, ticket: int, found: Found) -> None:
        if not self._looked_up:
            self._clock.callLater(0, self._submit_all)
        self._looked_up.append((ticket, found))

    def _submit_all(self) -> None:
        turn, self._looked_up = self._looked_up, []
        self._hand_over([(self._asked[ticket], found) for ticket, found in turn if ticket in self._asked])
