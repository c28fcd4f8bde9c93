"""The simulated world: one queue of events, one source of chance, and for each node a clock of its own."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

MOST_STEPS = 200_000
EPOCH = 1_700_000_000.0  # what wall clocks show at the beginning


class Violation(Exception):
    """A promise was broken, or something went wrong that must not."""


class World:
    """Time, chance, and what has been noticed so far. `now` is the true time, which nobody in it knows."""

    def __init__(self, seed: int, trace: Callable[[str], None] | None = None) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.problem: str | None = None
        self.sometimes: Counter[str] = Counter()
        self.trace = trace
        self.steps = 0
        self._events: list[tuple[float, int, Timer]] = []
        self._count = 0

    def at(self, delay: float, call: Callable[..., Any], *args: Any) -> Timer:
        """Call in so many true seconds."""
        timer = Timer(call, args)
        self._count += 1
        heapq.heappush(self._events, (self.now + delay, self._count, timer))
        return timer

    def step(self) -> bool:
        """The next event; False if there is none."""
        while self._events:
            at, _, timer = heapq.heappop(self._events)
            if timer.call is not None:
                self.now = at
                self.steps += 1
                call, timer.call = timer.call, None
                call(*timer.args)
                return True
        return False

    def pending(self) -> list[Timer]:
        """What is to come, in order."""
        return [timer for _, _, timer in sorted(self._events, key=lambda event: event[:2]) if timer.call is not None]

    def run_until(self, end: float) -> None:
        """Let time pass, up to `end` or the first violation."""
        while self.problem is None and self._events and self._events[0][0] <= end:
            self.step()
            if self.steps > MOST_STEPS:
                raise Violation(f"more than {MOST_STEPS} events: it does not come to rest")
        if self.problem is not None:
            raise Violation(self.problem)
        self.now = max(self.now, end)

    def violate(self, problem: str) -> None:
        """Note what must not be; the first one counts."""
        if self.problem is None:
            self.problem = problem
            self.say(f"VIOLATION {problem}")

    def say(self, text: str) -> None:
        """A line of the trace."""
        if self.trace is not None:
            self.trace(f"{self.now:8.4f} {text}")


class Timer:
    """A call to come; also what Twisted calls an IDelayedCall, as far as it is used."""

    __slots__ = ("args", "call")

    def __init__(self, call: Callable[..., Any] | None, args: tuple[Any, ...]) -> None:
        self.call = call
        self.args = args

    def active(self) -> bool:
        return self.call is not None

    def cancel(self) -> None:
        self.call = None
        self.args = ()


class NodeClock:
    """One life of a node: its clock (IReactorTime), whose calls die with it, and are held while it is frozen."""

    def __init__(self, world: World, rate: float, offset: float) -> None:
        self.world = world
        self._rate = rate
        self._offset = offset
        self.alive = True
        self.frozen = False
        self._held: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []

    def seconds(self) -> float:
        return self.world.now * self._rate + self._offset

    def callLater(self, delay: float, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Timer:
        if kwargs:
            raise TypeError("not simulated")
        timer = Timer(call, args)
        # Never before its time: rounding must not make a loop call itself again at the same moment.
        self.world.at(delay / self._rate + 1e-9, self._fire, timer)
        return timer

    def _fire(self, timer: Timer) -> None:
        if timer.call is not None and self.alive:
            call, args = timer.call, timer.args
            if self.frozen:
                self.hold(self._fire, timer)
            else:
                timer.call = None
                call(*args)

    def run(self, call: Callable[..., Any], *args: Any) -> None:
        """Something reaches the node from outside: now, when it thaws, or never."""
        if self.frozen:
            self.hold(call, *args)
        elif self.alive:
            call(*args)

    def hold(self, call: Callable[..., Any], *args: Any) -> None:
        self._held.append((call, args))

    def thaw(self) -> None:
        """All that was held comes at once, in any order."""
        self.frozen, held, self._held = False, self._held, []
        self.world.random.shuffle(held)
        for call, args in held:
            if self.alive:
                call(*args)

    def die(self) -> None:
        self.alive, self._held = False, []
