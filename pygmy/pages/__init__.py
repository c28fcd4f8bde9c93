"""Pages for people: one self-contained HTML file each, with figures as inline SVG.

    page = Page("A title", "What it is about.", [Section("A part", [Text("..."), Figure("A figure", ...)])])
    Path("index.html").write_text(render(page))

Nothing outside is referred to: no script, no font, no picture. Light or dark is as the reader's system has it. Every
figure is drawn twice, for wide windows and for phones, and the style sheet shows the one that fits.
"""

from pygmy.pages.figure import Band, Bars, Figure, Line, Mark, Panel, Points, Spans, Stack
from pygmy.pages.page import Cell, Code, Facts, Fold, Page, Picture, Section, Table, Text
from pygmy.pages.rendering import render

__all__ = [
    "Band",
    "Bars",
    "Cell",
    "Code",
    "Facts",
    "Figure",
    "Fold",
    "Line",
    "Mark",
    "Page",
    "Panel",
    "Picture",
    "Points",
    "Section",
    "Spans",
    "Stack",
    "Table",
    "Text",
    "render",
]
