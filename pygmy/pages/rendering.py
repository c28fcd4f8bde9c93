"""Pages as HTML."""

from collections.abc import Iterator, Sequence
from html import escape

from pygmy.pages.drawing import NARROW, WIDE, drawn
from pygmy.pages.figure import Figure, Spans, colours
from pygmy.pages.page import Cell, Code, Facts, Fold, Page, Part, Picture, Section, Table, Text
from pygmy.pages.scales import number
from pygmy.pages.style import STYLE


def render(page: Page) -> str:
    """The whole HTML file."""
    title = escape(page.title)
    foot = f"<footer>{escape(page.foot)}</footer>" if page.foot else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{title}</title>\n<style>{STYLE}</style></head>\n<body><main>\n"
        f'<h1>{title}</h1>\n<p class="lead">{escape(page.lead)}</p>\n'
        f"{''.join(map(_section, page.sections))}{foot}</main></body></html>\n"
    )


def _section(section: Section) -> str:
    name = f' id="{escape(section.id)}"' if section.id else ""
    badge = ""
    if section.badge is not None:
        word, colour = section.badge
        badge = f' <span class="badge c-{escape(colour)}">{escape(word)}</span>'
    return f"<section{name}><h2>{escape(section.title)}{badge}</h2>\n{_parts(section.parts)}</section>\n"


def _parts(parts: Sequence[Part]) -> str:
    return "".join(map(_part, parts))


def _part(part: Part) -> str:
    match part:
        case Text(text, colour):
            stands_out = f' class="note c-{escape(colour)}"' if colour else ""
            return f"<p{stands_out}>{escape(text)}</p>\n"
        case Code(text):
            return f"<pre>{escape(text)}</pre>\n"
        case Facts(facts):
            rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts)
            return f"<dl>{rows}</dl>\n"
        case Table():
            return _table(part)
        case Figure():
            return _figure(part)
        case Picture(wide, narrow):
            return f'<div class="picture{" two" if narrow else ""}">{wide}{narrow}</div>\n'
        case Fold(summary, parts):
            return f"<details><summary>{escape(summary)}</summary>{_parts(parts)}</details>\n"


def _table(table: Table) -> str:
    sides = [table.align[min(column, len(table.align) - 1)] for column in range(len(table.head))]
    head = "".join(f'<th class="{side}">{escape(text)}</th>' for text, side in zip(table.head, sides, strict=True))
    rows = (
        "".join(f'<td class="{side}">{_cell(cell)}</td>' for cell, side in zip(row, sides, strict=True))
        for row in table.rows
    )
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>\n'


def _cell(cell: str | Cell) -> str:
    if isinstance(cell, str):
        return escape(cell)
    text = escape(cell.text)
    if cell.link:
        text = f'<a href="{escape(cell.link, quote=True)}">{text}</a>'
    return f'<span class="word c-{escape(cell.colour)}">{text}</span>' if cell.colour else text


def _figure(figure: Figure) -> str:
    caption = f"<figcaption>{escape(figure.title)}</figcaption>" if figure.title else ""
    note = f'<p class="small">{escape(figure.note)}</p>' if figure.note else ""
    drawings = "".join(drawn(figure, size) for size in (WIDE, NARROW))
    return f"<figure>{caption}{_legend(figure)}{drawings}{_marks(figure)}{note}</figure>\n"


def _legend(figure: Figure) -> str:
    named = list(_named(figure))
    if len(named) < 2:
        return ""
    words = "".join(f'<li class="c-{escape(colour)}">{escape(name)}</li>' for name, colour in named)
    return f'<ul class="legend">{words}</ul>'


def _named(figure: Figure) -> Iterator[tuple[str, str]]:
    """Each series with its colour, once."""
    seen = set()
    for panel in figure.panels:
        series = [one for one in panel.series if not isinstance(one, Spans)]
        for one, colour in zip(series, colours(series), strict=True):
            if (one.name, colour) not in seen:
                seen.add((one.name, colour))
                yield one.name, colour


def _marks(figure: Figure) -> str:
    if not figure.marks:
        return ""
    unit = " s" if figure.x == "seconds" else ""
    words = "".join(
        f'<li class="c-{escape(mark.colour)}"><b>{order}</b> {escape(mark.text)}'
        f" <small>{escape(number(round(mark.x, 2)))}{escape(unit)}</small></li>"
        for order, mark in enumerate(figure.marks, 1)
    )
    return f'<ul class="marks">{words}</ul>'
