"""What is done again and again: for as long as a service runs, and at the same moments as the rest."""

from collections.abc import Callable

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from pygmy.logs import Logger

log = Logger()


def in_step(loop: LoopingCall) -> None:
    """From its second tick on, have a running loop tick at whole multiples of its interval.

    Where wake-ups are shared (`pygmy.reactors`), that is: a node at rest has half a dozen loops of a quarter of a
    second and of one second, and to be woken costs more than most of them do.
    """
    if getattr(loop.clock, "wake_ups_are_shared", False) and loop.running and loop.starttime is not None:
        loop.starttime -= loop.starttime % (loop.interval or 1.0)


class Ticking(Service):
    """Calls `tick()` at its start (unless `now` is False) and each `interval` seconds.

    One that raises is logged, and the next comes.
    """

    def __init__(self, tick: Callable[[], None], clock: IReactorTime, interval: float, now: bool = True) -> None:
        self._once = tick
        self._interval = interval
        self._at_start = now
        self._loop = LoopingCall(self._safely)
        self._loop.clock = clock

    def startService(self) -> None:
        """Start ticking."""
        super().startService()
        self._loop.start(self._interval, self._at_start)
        in_step(self._loop)

    def stopService(self) -> None:
        """Tick no more."""
        super().stopService()
        if self._loop.running:
            self._loop.stop()

    def _safely(self) -> None:
        try:
            self._once()
        except Exception:
            log.failure("a tick failed")
