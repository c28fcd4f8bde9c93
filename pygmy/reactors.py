"""A node's reactor: Twisted's, with a clock that no one sets, fewer wake-ups and leaner turns.

A node is woken dozens of times for each order, and a node at rest should hardly be woken at all.
"""

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, Generic, TypeVar

from twisted.python.log import err

from pygmy.clock import boottime

T = TypeVar("T")


def prepare(reactor: Any) -> None:
    """All of what follows, for a reactor that does not run yet."""
    count_steadily(reactor)
    sleep_through_cancelled(reactor)
    turn_plainly(reactor)
    reactor.wake_ups_are_shared = True


def at_turn_end(reactor: Any, call: Callable[[], None]) -> None:
    """Call once all has been done that woke this reactor: what comes together is to go together.

    Where turns have no end that it could wait for (`turn_plainly`), it is called in the next one.
    """
    calls = getattr(reactor, "turn_end", None)
    if calls is None:
        reactor.callLater(0, call)
    else:
        calls.append(call)


class Turn(Generic[T]):
    """Gathers what one turn of a reactor brings; all of it goes to `take` at the turn's end."""

    def __init__(self, reactor: Any, take: Callable[[list[T]], None]) -> None:
        self._reactor = reactor
        self._take = take
        self._items: list[T] = []

    def add(self, item: T) -> None:
        """One more."""
        if not self._items:
            at_turn_end(self._reactor, self._end)
        self._items.append(item)

    def _end(self) -> None:
        items, self._items = self._items, []
        self._take(items)


def count_steadily(reactor: Any) -> None:
    """Have a reactor that does not run yet time its calls by `boottime`.

    Twisted's own reactors go by the wall clock: set back by an hour, it would hold up every heartbeat for an hour.
    """
    if not reactor.running:
        reactor.seconds = boottime


def sleep_through_cancelled(reactor: Any) -> None:
    """Have a reactor wake up for calls that are still to be made only.

    Twisted's own reactors leave a cancelled call, and a postponed one, where it stood, and wake up at its time for
    nothing: each request of a link leaves several behind, which cost a node at rest a third of its wake-ups.
    """
    timeout: Callable[[], float | None] = reactor.timeout

    def next_timeout() -> float | None:
        result = timeout()  # puts in what is new
        calls = reactor._pendingTimedCalls
        if not calls or not (calls[0].cancelled or calls[0].delayed_time):
            return result
        while calls and (calls[0].cancelled or calls[0].delayed_time):
            call = heappop(calls)
            if call.cancelled:
                reactor._cancellations -= 1
            else:
                call.activate_delay()
                heappush(calls, call)
        return timeout()

    reactor.timeout = next_timeout


def turn_plainly(reactor: Any) -> None:
    """Have Twisted's epoll reactor, which does not run yet, call whom an event is for, then what waits for the end.

    It would first make a log context with the connection's name, which no line of ours shows, through six calls and
    three dictionaries. That cost a buy a tenth of its time. Other reactors are left as they are.
    """
    if type(reactor).__name__ != "EPollReactor" or reactor.running:
        return
    poll, selectables, read_or_write = reactor._poller.poll, reactor._selectables, reactor._doReadOrWrite
    reactor.turn_end = calls = _Calls()

    def turn(timeout: float | None) -> None:
        if calls.run():  # by timers and threads, whose part of the turn comes first
            timeout = 0
        try:
            events = poll(-1 if timeout is None else timeout, len(selectables))
        except InterruptedError:
            return
        for descriptor, event in events:
            selectable = selectables.get(descriptor)  # what came before may have closed it
            if selectable is not None:
                try:
                    read_or_write(selectable, descriptor, event)
                except Exception:
                    err()
        calls.run()

    reactor.doIteration = turn


class _Calls(list[Callable[[], None]]):
    """What is to be called at the end of a turn."""

    def run(self) -> bool:
        """Make them, and those that they ask for; whether there were any."""
        if not self:
            return False
        while self:
            calls = self[:]
            self.clear()
            for call in calls:
                try:
                    call()
                except Exception:
                    err()
        return True
