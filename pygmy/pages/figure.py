"""What a figure shows: series over one x axis. How it looks is the business of `pygmy.pages.drawing`.

A `colour` is one of eight by number, "0" to "7", or says what it means: "good", "warn", "bad", "off", "info". Without
one each series of a figure gets the next number.
"""

from collections.abc import Sequence

from msgspec import Struct

Point = tuple[float, float | None]


class Line(Struct, frozen=True):
    """A line through (x, y); a y of None breaks it. Where there are few points each shows its values on hover."""

    name: str
    points: Sequence[Point]
    colour: str | None = None
    dashed: bool = False


class Points(Struct, frozen=True):
    """A scatter of (x, y)."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: str | None = None


class Band(Struct, frozen=True):
    """What lies between `low` and `high`, of (x, low, high)."""

    name: str
    points: Sequence[tuple[float, float, float]]
    colour: str | None = None


class Stack(Struct, frozen=True):
    """An area over (x, y), on top of the stacks before it; all of a panel have the same xs."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: str | None = None


class Bars(Struct, frozen=True):
    """One bar for each (label, value, text on hover). Several of them stand together by label."""

    name: str
    bars: Sequence[tuple[str, float, str]]
    colour: str | None = None


class Spans(Struct, frozen=True):
    """A row of spans (from x, to x, text, colour), as the states of one node over time."""

    name: str
    spans: Sequence[tuple[float, float, str, str]]


Series = Line | Points | Band | Stack | Bars | Spans


class Mark(Struct, frozen=True):
    """Something that happened at one x: a numbered line through all panels, its text below."""

    x: float
    text: str
    colour: str = "bad"


class Panel(Struct, frozen=True):
    """One more plot below a figure's, on the same x axis. Its series are all Spans, or none is."""

    y: str
    series: Sequence[Series]
    log_y: bool = False
    y_min: float | None = None
    height: float = 1.0


class Figure(Struct, frozen=True):
    """A figure of one or more panels; a figure of `Bars` has no x axis, and their values along the other one.

    `x`, `y` name the axes, with units. `log_x`, `log_y`: logarithmic, which leaves out what is not above zero.
    `y_min`: the axis reaches down to it at least.  `height`: of the first panel, 1 being the usual one.
    """

    title: str
    x: str = ""
    y: str = ""
    series: Sequence[Series] = ()
    marks: Sequence[Mark] = ()
    log_x: bool = False
    log_y: bool = False
    y_min: float | None = 0.0
    note: str = ""
    below: Sequence[Panel] = ()
    height: float = 1.0
    x_range: tuple[float, float] | None = None

    @property
    def panels(self) -> tuple[Panel, ...]:
        """All panels, from above."""
        first = Panel(self.y, self.series, self.log_y, self.y_min, self.height)
        return (first, *self.below)


def colours(series: Sequence[Series]) -> list[str]:
    """The colour of each: its own, or the next number."""
    found, free = [], 0
    for one in series:
        own = getattr(one, "colour", None)
        found.append(own if own is not None else str(free % 8))
        free += own is None
    return found
