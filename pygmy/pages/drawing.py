"""Figures drawn as SVG. Every colour is the style sheet's."""

import math
from collections.abc import Iterator, Sequence

from msgspec import Struct

from pygmy.pages.bars import bars_drawn
from pygmy.pages.figure import Band, Bars, Figure, Line, Mark, Panel, Points, Series, Spans, Stack, colours
from pygmy.pages.scales import Scale, number, scale
from pygmy.pages.svg import dots, element, path

FEW = 120  # points that show what they are on hover
LEFT, NAMES = 44.0, 70.0  # what stands left of the plots: numbers, or names of rows
RIGHT, BOTTOM, GAP = 10.0, 34.0, 10.0
APART = 32.0  # between two numbers of an axis
LANE, TOP, MARKS = 20.0, 20.0, 20.0


class Size(Struct, frozen=True):
    """For which window: its name, the drawing's width and the usual height of a panel, in pixels."""

    name: str
    width: float
    panel: float


WIDE, NARROW = Size("wide", 760.0, 170.0), Size("narrow", 350.0, 150.0)


class Frame(Struct, frozen=True):
    """Where one panel is, and its two scales."""

    panel: Panel
    x: Scale
    y: Scale
    top: float
    bottom: float


def drawn(figure: Figure, size: Size) -> str:
    """The figure as one <svg>."""
    if any(isinstance(one, Bars) for one in figure.series):
        return bars_drawn(figure, size.width, size.name)
    top = MARKS if figure.marks else 4.0
    across = _x_scale(figure, size)
    frames = list(_frames(figure, size, across, top))
    height = frames[-1].bottom + BOTTOM
    parts = [_panel(frame) for frame in frames]
    parts += [_mark(number, mark, frames, across) for number, mark in enumerate(figure.marks, 1)]
    parts.append(_x_axis(figure, frames[-1].bottom, across, size))
    view = f"0 0 {size.width:.0f} {height:.0f}"
    return element("svg", *parts, class_=f"figure {size.name}", viewBox=view, role="img", aria_label=figure.title)


# ---- places


def _frames(figure: Figure, size: Size, across: Scale, top: float) -> Iterator[Frame]:
    for panel in figure.panels:
        if not panel.series:
            continue
        top += TOP if panel.y else 4.0
        lanes = all(isinstance(one, Spans) for one in panel.series)
        height = LANE * len(panel.series) if lanes else size.panel * panel.height
        values = () if lanes else _heights(panel)
        up = scale(values, top + height, top, log=panel.log_y, least=panel.y_min)
        yield Frame(panel, across, up, top, top + height)
        top += height + GAP


def _x_scale(figure: Figure, size: Size) -> Scale:
    values = [x for panel in figure.panels for one in panel.series for x in _xs(one)]
    values += [mark.x for mark in figure.marks]
    rows = any(isinstance(one, Spans) for panel in figure.panels for one in panel.series)
    start, end = NAMES if rows else LEFT, size.width - RIGHT
    if figure.x_range is not None:
        return Scale(*figure.x_range, start, end, figure.log_x)
    low, high = min(values, default=0.0), max(values, default=1.0)
    if figure.log_x:
        return scale(values, start, end, log=True)
    return Scale(low, high if high > low else low + 1.0, start, end)


def _xs(one: Series) -> list[float]:
    if isinstance(one, Bars):
        return []
    if isinstance(one, Spans):
        return [x for span in one.spans for x in span[:2]]
    return [point[0] for point in one.points]


def _heights(panel: Panel) -> list[float]:
    found: list[float] = []
    sums: dict[float, float] = {}
    for one in panel.series:
        if isinstance(one, Stack):
            for x, y in one.points:
                sums[x] = sums.get(x, 0.0) + y
        elif isinstance(one, Band):
            found += [y for point in one.points for y in point[1:]]
        elif isinstance(one, Line | Points):
            found += [y for _, y in one.points if y is not None]
    return found + list(sums.values())


# ---- one panel


def _panel(frame: Frame) -> str:
    series = frame.panel.series
    title = element("text", text=frame.panel.y, class_="name", x=2.0, y=frame.top - 9)
    if all(isinstance(one, Spans) for one in series):
        return title + "".join(_lane(frame, row, one) for row, one in enumerate(series) if isinstance(one, Spans))
    parts = [title, _y_axis(frame)]
    base: dict[float, float] = {}
    for one, colour in zip(series, colours(series), strict=True):
        parts.append(element("g", _series(frame, one, base), class_=f"c-{colour}"))
    return "".join(parts)


def _y_axis(frame: Frame) -> str:
    parts = []
    for tick in frame.y.ticks(5):
        y = frame.y(tick)
        parts.append(element("line", class_="grid", x1=frame.x.start, x2=frame.x.end, y1=y, y2=y))
        parts.append(
            element("text", text=number(tick), class_="tick", x=frame.x.start - 6, y=y + 4, text_anchor="end")
        )
    return "".join(parts)


def _series(frame: Frame, one: Series, base: dict[float, float]) -> str:
    match one:
        case Line():
            return _line(frame, one)
        case Points():
            return _points(frame, one)
        case Band():
            there = [(frame.x(x), frame.y(low)) for x, low, _ in one.points]
            back = [(frame.x(x), frame.y(high)) for x, _, high in reversed(one.points)]
            return element("path", d=path([*there, *back], closed=True), class_="band", title=one.name)
        case Stack():
            return _stack(frame, one, base)
        case _:
            return ""


def _visible(frame: Frame, y: float | None) -> bool:
    return y is not None and math.isfinite(y) and (y > 0 or not frame.y.log)


def _line(frame: Frame, one: Line) -> str:
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in one.points:
        if y is not None and _visible(frame, y):
            runs[-1].append((frame.x(x), frame.y(y)))
        elif runs[-1]:
            runs.append([])
    kind = "line dashed" if one.dashed else "line"
    parts = [element("path", d="".join(path(run) for run in runs if run), class_=kind)]
    seen = [(x, y) for x, y in one.points if y is not None and _visible(frame, y)]
    if len(seen) <= FEW:
        parts += [_spot(frame, one.name, x, y, 2.5) for x, y in seen]
    return "".join(parts)


def _points(frame: Frame, one: Points) -> str:
    seen = [(x, y) for x, y in one.points if _visible(frame, y)]
    if len(seen) <= FEW:
        return "".join(_spot(frame, one.name, x, y, 2.2) for x, y in seen)
    return element("path", d=dots((frame.x(x), frame.y(y)) for x, y in seen), class_="dots")


def _spot(frame: Frame, name: str, x: float, y: float, radius: float) -> str:
    title = f"{name}: {number(y)} at {number(x)}"
    return element("circle", class_="spot", cx=frame.x(x), cy=frame.y(y), r=radius, title=title)


def _stack(frame: Frame, one: Stack, base: dict[float, float]) -> str:
    below = [(frame.x(x), frame.y(base.get(x, 0.0))) for x, _ in one.points]
    for x, y in one.points:
        base[x] = base.get(x, 0.0) + y
    above = [(frame.x(x), frame.y(base[x])) for x, _ in one.points]
    return element("path", d=path([*above, *reversed(below)], closed=True), class_="stack", title=one.name)


def _lane(frame: Frame, row: int, one: Spans) -> str:
    top = frame.top + row * LANE
    parts = []
    for start, end, text, colour in one.spans:
        x, width = frame.x(start), max(1.0, frame.x(end) - frame.x(start))
        title = f"{one.name}: {text}, {number(start)} to {number(end)}"
        box = element("rect", x=x, y=top + 2, width=width, height=LANE - 4, rx=2.0, class_="span", title=title)
        said = text if len(text) * 6.3 < width - 8 else ""
        label = element("text", text=said, x=x + 5, y=top + 14, class_="said") if said else ""
        parts.append(element("g", box, label, class_=f"c-{colour}"))
    name = element("text", text=one.name, class_="lane", x=frame.x.start - 6, y=top + 14, text_anchor="end")
    return name + "".join(parts)


# ---- through all panels


def _mark(order: int, mark: Mark, frames: Sequence[Frame], across: Scale) -> str:
    x = across(mark.x)
    line = element("line", x1=x, x2=x, y1=16.0, y2=frames[-1].bottom, class_="mark")
    flag = element("circle", cx=x, cy=9.0, r=8.0, class_="flag", title=f"{mark.text}, at {number(mark.x)}")
    label = element("text", text=str(order), x=x, y=12.5, class_="order", text_anchor="middle")
    return element("g", line, flag, label, class_=f"c-{mark.colour}")


def _x_ticks(figure: Figure, across: Scale, most: int) -> list[float]:
    """Where lines have a few points only, those of them that are not too close to each other; else round values."""
    lines = [one for panel in figure.panels for one in panel.series]
    places = sorted({point[0] for one in lines if isinstance(one, Line) for point in one.points})
    if not 1 <= len(places) <= most or not all(isinstance(one, Line) for one in lines):
        return across.ticks(most)
    kept: list[float] = []
    for place in places:
        if not kept or across(place) - across(kept[-1]) >= APART:
            kept.append(place)
    return kept


def _x_axis(figure: Figure, bottom: float, across: Scale, size: Size) -> str:
    parts = [element("line", class_="axis", x1=across.start, x2=across.end, y1=bottom, y2=bottom)]
    for tick in _x_ticks(figure, across, 10 if size is WIDE else 5):
        x = across(tick)
        parts.append(element("line", class_="axis", x1=x, x2=x, y1=bottom, y2=bottom + 4))
        parts.append(element("text", text=number(tick), class_="tick", x=x, y=bottom + 16, text_anchor="middle"))
    parts.append(element("text", text=figure.x, class_="tick", x=across.end, y=bottom + 30, text_anchor="end"))
    return "".join(parts)
