"""What a measurement is, and what it puts down."""

from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct

from pygmy.bench.desk import Desk
from pygmy.bench.results import Bar, Curve, Grid, Plot, Ratio
from pygmy.bench.statistics import ratio


class Findings:
    """Ratios, plots and tables, as they come."""

    def __init__(self) -> None:
        self.ratios: list[Ratio] = []
        self.plots: list[Plot] = []
        self.grids: list[Grid] = []

    def ratio(self, what: str, of: float, to: float, better: str = "") -> None:
        """`of` is so many times `to`."""
        self.ratios.append(Ratio(what, ratio(of, to), better))

    def plot(
        self,
        title: str,
        *,
        x: str,
        y: str,
        curves: Iterable[Curve],
        better: str = "",
        scatter: bool = False,
        log_x: bool = False,
        log_y: bool = False,
    ) -> None:
        """A figure of curves."""
        plot = Plot(title, x=x, y=y, curves=tuple(curves), scatter=scatter, log_x=log_x, log_y=log_y, better=better)
        self.plots.append(plot)

    def bars(self, title: str, *, y: str, bars: Iterable[Bar], better: str = "") -> None:
        """A figure of bars."""
        self.plots.append(Plot(title, y=y, bars=tuple(bars), better=better))

    def grid(self, title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """A table."""
        self.grids.append(Grid(title, tuple(head), tuple(tuple(row) for row in rows)))


class Measurement(Struct, frozen=True):
    """One of those that a run takes. `how`: how its numbers are made.

    `anywhere`: it needs no more of a store than a front end. `quick`: a quick run takes it, too.
    """

    name: str
    title: str
    how: str
    work: Callable[[Desk, Findings], None]
    anywhere: bool = False
    quick: bool = True


def milliseconds(seconds: float) -> float:
    """As latencies are shown."""
    return 1000 * seconds
