"""Randomised backoff, so that proposers that get into each other's way take turns in the end."""

from random import Random


class Backoff:
    """When to try again: at once after the first failure, then after random times that grow up to `longest` (s)."""

    def __init__(self, random: Random, shortest: float, longest: float) -> None:
        self._random = random
        self._shortest = shortest
        self._longest = longest
        self._failures = 0
        self._until = 0.0

    def reset(self) -> None:
        """It worked, or something else is to be done."""
        self._failures, self._until = 0, 0.0

    def fail(self, now: float) -> None:
        """A try has failed."""
        self._failures += 1
        if self._failures > 1:
            limit = min(self._longest, self._shortest * 2.0 ** min(self._failures, 16))
            self._until = now + self._random.uniform(0, limit)

    def ready(self, now: float) -> bool:
        """True once the next try is due."""
        return now >= self._until
