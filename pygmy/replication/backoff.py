"""Randomised backoff, so that proposers that get into each other's way take turns in the end."""

from random import Random


class Backoff:
    """When to try again: at once after every other failure, else after a random time.

    At once, because a proposer that has paused learns from its first failure only how high the ballots are by now.
    The random times (s) grow from `shortest` up to `longest`.
    """

    def __init__(self, random: Random, shortest: float, longest: float) -> None:
        self._random = random
        self._shortest = shortest
        self._longest = longest
        self.reset()

    def reset(self) -> None:
        """It worked, or something else is to be done."""
        self._failures, self._until = 0, float("-inf")

    def fail(self, now: float) -> None:
        """A try has failed."""
        self._failures += 1
        if self._failures % 2 == 0:
            limit = min(self._longest, self._shortest * self._failures)
            self._until = now + self._random.uniform(0, limit)

    def ready(self, now: float) -> bool:
        """True once the next try is due."""
        return now >= self._until
