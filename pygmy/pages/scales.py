"""From values to places on an axis, and where its ticks are. Pure."""

import math
from collections.abc import Iterable

from msgspec import Struct

STEPS = (1, 2, 5, 10)
PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


class Scale(Struct, frozen=True):
    """Values low..high on the places start..end of an axis, in pixels (end < start: it runs upward)."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The place of a value; what is outside goes to the nearer end."""
        value = min(max(value, self.low), self.high)
        low, high = self.low, self.high
        if self.log:
            value, low, high = math.log10(value), math.log10(low), math.log10(high)
        part = (value - low) / (high - low) if high > low else 0.5
        return self.start + part * (self.end - self.start)

    def ticks(self, most: int) -> list[float]:
        """Round values along it, about `most` of them at most."""
        return log_ticks(self.low, self.high, most) if self.log else linear_ticks(self.low, self.high, most)


def scale(
    values: Iterable[float], start: float, end: float, *, log: bool = False, least: float | None = None
) -> Scale:
    """The scale that takes in all values (`least`, too) and, upward, ends at a round one."""
    kept = [value for value in values if math.isfinite(value) and (value > 0 or not log)]
    if least is not None and (least > 0 or not log):
        kept.append(least)
    low, high = min(kept, default=1.0 if log else 0.0), max(kept, default=10.0 if log else 1.0)
    if log:
        low, high = low / 1.15, high * 1.15
        return Scale(low, high, start, end, True)
    if low == high:
        high = low + (abs(low) or 1.0)
    step = tick_step(low, high, 4)
    return Scale(low, math.ceil(high / step - 1e-9) * step, start, end)


def tick_step(low: float, high: float, most: int) -> float:
    """1, 2 or 5 times a power of ten: the least with which at most so many steps lie between."""
    rough = (high - low) / max(1, most)
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in STEPS if step * power >= rough * (1 - 1e-9))


def linear_ticks(low: float, high: float, most: int) -> list[float]:
    """Round values from low to high."""
    step = tick_step(low, high, most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """Powers of ten, with what lies between them where there are few."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        ticks = [factor * 10.0**exponent for exponent in exponents for factor in factors]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= most:
            return ticks
    every = -(-len(ticks) // max(1, most))
    return ticks[::every]


def number(value: float) -> str:
    """As short as an axis wants it: `0`, `0.25`, `40`, `1.5k`, `2M`."""
    for size, prefix in PREFIXES:
        if abs(value) >= size:
            return f"{value / size:.4g}{prefix}"
    return "0" if abs(value) < 1e-12 else f"{value:.4g}"
