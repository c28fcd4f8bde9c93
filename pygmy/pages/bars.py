"""Bars that lie, so that their labels have room on a phone, too."""

from pygmy.pages.figure import Bars, Figure, colours
from pygmy.pages.scales import Scale, number, scale
from pygmy.pages.svg import element

BAR, LABEL, BETWEEN, ROOM = 18.0, 16.0, 10.0, 56.0


def bars_drawn(figure: Figure, width: float, name: str) -> str:
    """The figure as one <svg>: for each label a line with it, and then one bar of each series that has it."""
    series = [one for one in figure.series if isinstance(one, Bars)]
    values = [value for one in series for _, value, _ in one.bars]
    along = scale(values, 2.0, width - ROOM, log=figure.log_y, least=figure.y_min)
    labels = list(dict.fromkeys(label for one in series for label, _, _ in one.bars))
    parts, y = [], 4.0
    for label in labels:
        parts.append(element("text", text=label, class_="lane", x=2.0, y=y + 12))
        y += LABEL
        for one, colour in zip(series, colours(series), strict=True):
            for _, value, title in (bar for bar in one.bars if bar[0] == label):
                parts.append(_bar(along, y, value, title or f"{one.name}: {label}", colour))
                y += BAR
        y += BETWEEN
    if figure.y:
        parts.append(element("text", text=figure.y, class_="tick", x=2.0, y=y + 8))
        y += 14.0
    view = f"0 0 {width:.0f} {y:.0f}"
    return element("svg", *parts, class_=f"figure {name}", viewBox=view, role="img", aria_label=figure.title)


def _bar(along: Scale, y: float, value: float, title: str, colour: str) -> str:
    end = max(along(value), along.start + 1.0)
    box = element(
        "rect", x=along.start, y=y, width=end - along.start, height=BAR - 4, rx=2.0, class_="bar", title=title
    )
    return element(
        "g", box, element("text", text=number(value), x=end + 5, y=y + 11, class_="tick"), class_=f"c-{colour}"
    )
