"""Time, in the two kinds that must never be mixed.

Leases and timeouts between nodes count on a clock that no one sets and that runs on while the machine sleeps;
dates in answers come from the wall clock.
"""

import time

_RAW_CLOCK: int = getattr(time, "CLOCK_MONOTONIC_RAW", time.CLOCK_MONOTONIC)
_LEASE_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", _RAW_CLOCK)


def boottime() -> float:
    """Seconds since some fixed moment, never set back, counting on through suspend."""
    return time.clock_gettime(_LEASE_CLOCK)


def utc_milliseconds() -> int:
    """The wall clock: milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000
