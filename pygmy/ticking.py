"""Something that is done again and again, for as long as a service runs."""

from collections.abc import Callable

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

log = Logger()


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
