"""Numbers out of numbers: percentiles, ratios, Zipf."""

import bisect
import itertools
import math
import random
from collections.abc import Sequence

PERCENTILES = (50.0, 90.0, 99.0, 99.9)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that `percent` % of all values are not above (nearest rank); `values` are in order.

    NaN of nothing: a percentile of no answers is no number.
    """
    if not values:
        return math.nan
    rank = math.ceil(round(percent * len(values) / 100, 9))
    return values[max(rank, 1) - 1]


def percentiles(values: Sequence[float]) -> dict[float, float]:
    """PERCENTILES of the values, in any order."""
    ordered = sorted(values)
    return {percent: percentile(ordered, percent) for percent in PERCENTILES}


def median(values: Sequence[float]) -> float:
    """The 50th percentile of values in any order."""
    return percentile(sorted(values), 50.0)


def ratio(of: float, to: float) -> float:
    """How many times `to` is `of`; NaN if that is no number."""
    return of / to if to and math.isfinite(to) and math.isfinite(of) else math.nan


class Zipf:
    """Ranks 1..n, rank r as often as 1 / r ** exponent."""

    def __init__(self, n: int, exponent: float, chance: random.Random) -> None:
        self._sums: list[float] = list(itertools.accumulate(1 / rank**exponent for rank in range(1, n + 1)))
        self._chance = chance

    def draw(self) -> int:
        """The next rank."""
        return bisect.bisect_left(self._sums, self._chance.random() * self._sums[-1]) + 1

    def share(self, best: int) -> float:
        """What share of all draws goes to the ranks up to `best`."""
        return self._sums[best - 1] / self._sums[-1]
