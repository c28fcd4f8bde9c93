"""Many timeouts on one timer: of all that is asked for under load, next to nothing times out."""

import math
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Timeouts:
    """Calls what has not been stopped in time.

    A timer for each request took a twentieth of a buy's time. Here the reactor has one, for the first that is due;
    it is set again when it fires, and not each time that something is stopped.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._number = 0
        self._running: dict[int, tuple[float, Callable[[], object]]] = {}
        self._timer: IDelayedCall | None = None
        self._due = math.inf

    def start(self, seconds: float, expire: Callable[[], object]) -> int:
        """`expire()` is called after so many seconds, unless the number that this returns is stopped before."""
        self._number += 1
        due = self._clock.seconds() + seconds
        self._running[self._number] = due, expire
        if due < self._due:
            self._set(due)
        return self._number

    def stop(self, number: int) -> None:
        """This is done; or it has expired, or was stopped before."""
        self._running.pop(number, None)
        if not self._running:
            self._unset()  # a node at rest is not to be woken for nothing

    def _set(self, due: float) -> None:
        self._unset()
        self._due = due
        self._timer = self._clock.callLater(max(0.0, due - self._clock.seconds()), self._fire)

    def _unset(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._due = math.inf

    def _fire(self) -> None:
        self._timer, self._due = None, math.inf
        now = self._clock.seconds()
        for number in [number for number, (due, _) in self._running.items() if due <= now]:
            _, expire = self._running.pop(number, (0.0, None))
            if expire is not None:  # another one's expiry may have stopped it
                expire()
        if self._running:
            first = min(due for due, _ in self._running.values())
            if first < self._due:
                self._set(first)
