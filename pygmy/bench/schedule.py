"""When requests are due in an open loop, whatever becomes of the ones before: no coordinated omission.

A generator that waits for an answer before it sends the next request measures least when the store is slowest. Here
every request has its moment beforehand; one that finds no free connection waits, and its wait counts.
"""

from collections import deque


class Schedule:
    """Requests due every 1/rate seconds from `begin` on, until `end`."""

    def __init__(self, rate: float, begin: float, end: float) -> None:
        self._rate = rate
        self._begin = begin
        self._end = end
        self._next = 0
        self._waiting: deque[float] = deque()

    @property
    def upcoming(self) -> float | None:
        """When the next request that has not come due is due; None: there are no more."""
        due = self._begin + self._next / self._rate
        return due if due < self._end else None

    def pass_to(self, now: float) -> None:
        """All that is due by now waits for a connection."""
        while (due := self.upcoming) is not None and due <= now:
            self._waiting.append(due)
            self._next += 1

    def take(self) -> float | None:
        """The moment that the longest waiting request was due, which is to be sent now; None: none waits."""
        return self._waiting.popleft() if self._waiting else None

    @property
    def waiting(self) -> tuple[float, ...]:
        """When those that wait were due."""
        return tuple(self._waiting)

    @property
    def over(self) -> bool:
        """True when nothing waits and nothing will come."""
        return not self._waiting and self.upcoming is None
