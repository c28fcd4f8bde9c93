"""Time, in the two kinds that must never be mixed.

Leases and timeouts between nodes count on a clock that no one sets and that runs on while the machine sleeps;
dates in answers come from the wall clock.
"""

import time
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

_RAW_CLOCK: int = getattr(time, "CLOCK_MONOTONIC_RAW", time.CLOCK_MONOTONIC)
_LEASE_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", _RAW_CLOCK)


def boottime() -> float:
    """Seconds since some fixed moment, never set back, counting on through suspend."""
    return time.clock_gettime(_LEASE_CLOCK)


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


def utc_milliseconds() -> int:
    """The wall clock: milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000
