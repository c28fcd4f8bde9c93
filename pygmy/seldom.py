"""Saying the same thing once in a while: who is refused tries again many times a second."""

from collections.abc import Callable, Hashable

SECONDS = 5.0
MOST = 1_000


class Seldom:
    """True for a subject that has not been spoken of for `seconds`; the newest few are remembered."""

    def __init__(self, now: Callable[[], float], seconds: float = SECONDS) -> None:
        self._now = now
        self._seconds = seconds
        self._last: dict[Hashable, float] = {}

    def __call__(self, subject: Hashable) -> bool:
        """Whether to say it now; if so, it counts as said."""
        now = self._now()
        last = self._last.pop(subject, None)
        if last is not None and now - last < self._seconds:
            self._last[subject] = last
            return False
        if len(self._last) >= MOST:
            del self._last[next(iter(self._last))]
        self._last[subject] = now
        return True
