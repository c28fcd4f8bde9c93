"""Operations from their asking to their answer: looked up on disk, then submitted, all of a turn together (P1)."""

from collections.abc import Callable, Iterable, Sequence
from typing import cast

from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from pygmy.errors import Problem, outcome_unknown
from pygmy.ledger.searches import Searches
from pygmy.messages.operations import Operation, Result
from pygmy.reactors import Turn
from pygmy.replication.replica import Found, Submission


class _Group:
    """Operations that were asked for together, and are answered together once each of them is settled."""

    def __init__(self, waiter: "Deferred[list[Result]]", count: int) -> None:
        self._waiter = waiter
        self._missing = count
        self._results: list[Result | None] = [None] * count
        self._problem: Problem | None = None

    def settle(self, place: int, result: Result | Problem) -> None:
        """The one in this place has come to this."""
        self._missing -= 1
        if not isinstance(result, Problem):
            self._results[place] = result
        elif self._problem is None or result.outcome_unknown:
            self._problem = result
        if not self._missing:
            self._end(self._problem)

    def _end(self, problem: Problem | None) -> None:
        if problem is None:
            self._waiter.callback(cast("list[Result]", self._results))
        elif any(self._results) and not problem.outcome_unknown:
            self._waiter.errback(outcome_unknown(problem.detail))
        else:
            self._waiter.errback(problem)


class Asked(Struct):
    """An operation between its asking and its answer; `since` is when it was asked for."""

    ticket: int
    op_id: str
    operation: Operation
    since: float
    group: _Group
    place: int

    def answer(self, result: Result) -> None:
        """It is committed, or refused without a record."""
        self.group.settle(self.place, result)

    def refuse(self, problem: Problem) -> None:
        """It gets no answer here."""
        self.group.settle(self.place, problem)


class Asking:
    """All operations that have no answer yet, by ticket.

    `recorded(op_id)`: it is in memory, so the disk need not be searched. `submit(submissions)` gets at the end of a
    turn of the reactor what was looked up in it. `broken` hears of a search that failed.
    """

    def __init__(
        self,
        search: Searches,
        recorded: Callable[[str], bool],
        submit: Callable[[Sequence[Submission]], None],
        broken: Callable[[Failure], None],
        clock: IReactorTime,
        now: Callable[[], float],
    ) -> None:
        self._search = search
        self._recorded = recorded
        self._hand_over = submit
        self._broken = broken
        self._now = now
        self._ticket = 0
        self._asked: dict[int, Asked] = {}
        self._looked_up = Turn(clock, self._submit_all)

    def __len__(self) -> int:
        return len(self._asked)

    def ask(self, operations: Sequence[tuple[str, Operation]]) -> Deferred[list[Result]]:
        """Fires with the results. If it is cancelled the operations go on, and their results go nowhere.

        A Problem means that none of them was accepted; one with `outcome_unknown`, that any may have been.
        """
        first = self._ticket + 1
        self._ticket += len(operations)
        tickets = range(first, self._ticket + 1)
        waiter: Deferred[list[Result]] = Deferred(lambda _: self._forget(tickets))
        group, now = _Group(waiter, len(operations)), self._now()
        for place, (op_id, operation) in enumerate(operations):
            self._asked[first + place] = Asked(first + place, op_id, operation, now, group, place)
        for ticket in tickets:
            self.look_up(ticket)
        return waiter

    def look_up(self, ticket: int) -> None:
        """Look the op_id up, then submit the operation with what was found; again, if the core asks for it."""
        asked = self._asked.get(ticket)
        if asked is None:
            return
        known = self._search.spared(asked.op_id)  # as of most, which are new
        if known is None and self._recorded(asked.op_id):
            known = Found(None, 0)
        if known is not None:
            self._submit(asked, known)
            return
        looking = self._search(asked.op_id)
        looking.addCallback(lambda found: self._submit(asked, found))
        looking.addErrback(self._broken)

    def _forget(self, tickets: Iterable[int]) -> None:
        for ticket in tickets:
            self._asked.pop(ticket, None)

    def take(self, ticket: int) -> Asked | None:
        """The operation, which gets its answer now; None: whoever asked has gone."""
        return self._asked.pop(ticket, None)

    def take_all(self) -> list[Asked]:
        """All of them."""
        asked = list(self._asked.values())
        self._asked.clear()
        return asked

    def _submit(self, asked: Asked, found: Found) -> None:
        self._looked_up.add(Submission(asked.ticket, asked.op_id, asked.operation, found))

    def _submit_all(self, looked_up: list[Submission]) -> None:
        self._hand_over([one for one in looked_up if one.ticket in self._asked])
