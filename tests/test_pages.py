"""Pages: whole by themselves, well-formed, and true to what they were given."""

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from pygmy.pages import (
    Band,
    Bars,
    Cell,
    Code,
    Facts,
    Figure,
    Fold,
    Line,
    Mark,
    Page,
    Panel,
    Points,
    Section,
    Spans,
    Stack,
    Table,
    Text,
    render,
)
from pygmy.pages.drawing import NARROW, WIDE, drawn
from pygmy.pages.scales import linear_ticks, log_ticks, number, scale

XS = [0.0, 1.0, 2.0, 3.0]
EVERYTHING = Figure(
    "Everything <at once>",
    "seconds",
    "requests/s",
    [Stack("good & well", [(x, 10 + x) for x in XS]), Stack("refused", [(x, x) for x in XS], "warn")],
    [Mark(1.5, "catalog-0 <killed>")],
    below=[
        Panel(
            "ms", [Line("p50", [(0, 1), (1, None), (2, 100), (3, 10)]), Points("all", [(1, 5), (2, 0)])], log_y=True
        ),
        Panel("ms", [Band("p10 to p90", [(0, 1, 2), (3, 2, 4)])]),
        Panel("nodes", [Spans("catalog-0", [(0, 1.5, "RUNNING 1", "good"), (1.5, 3, "down", "bad")])]),
    ],
)
BARS = Figure("Bars", y="requests/s", series=[Bars("ours", [("lookup", 900, ""), ("buy", 90, "hover")])])


class Tags(HTMLParser):
    """Which tags are open; a wrong end fails."""

    EMPTY = frozenset({"meta", "br", "link"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def page() -> str:
    parts = [
        Text("A <b>paragraph</b>", "bad"),
        Facts([("seed", "7")]),
        Code("a < b"),
        Table(["drill", "seconds"], [[Cell("kill", "#kill"), "1.2"], [Cell("pass", "", "good"), "3"]], "lr"),
        Fold("more", [EVERYTHING, BARS]),
    ]
    return render(Page("Drills & more", "What <was> seen.", [Section("One", parts, "one", ("pass", "good"))], "foot"))


def test_a_page_is_whole_by_itself_and_every_tag_is_closed() -> None:
    tags = Tags()
    tags.feed(page())
    tags.close()
    assert tags.open == []
    refers = [fields.get("href") or fields.get("src") for _, fields in tags.seen]
    assert [link for link in refers if link] == ["#kill"]
    assert not {tag for tag, _ in tags.seen} & {"script", "link", "img", "iframe"}
    assert not re.search(r"https?://|url\(|@import", page())


def test_text_of_others_is_text_and_not_html() -> None:
    text = page()
    assert "<b>paragraph" not in text
    assert "&lt;b&gt;paragraph" in text
    assert "catalog-0 <killed>" not in text


@pytest.mark.parametrize("size", [WIDE, NARROW])
@pytest.mark.parametrize("figure", [EVERYTHING, BARS])
def test_a_drawing_is_xml_and_stays_within_its_box(figure: Figure, size: object) -> None:
    root = ElementTree.fromstring(drawn(figure, size))  # type: ignore[arg-type]
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    for one in root.iter():
        for name, most in (("x", width), ("x1", width), ("cx", width), ("y", height), ("y2", height), ("cy", height)):
            assert 0 <= float(one.attrib.get(name, 0)) <= most, one.attrib


def test_a_line_breaks_where_there_is_no_value_and_hovering_tells_the_others() -> None:
    svg = drawn(Figure("f", "x", "y", [Line("a", [(0, 1), (1, 2), (2, None), (3, 1.5), (4, 2)])]), WIDE)
    (line,) = re.findall(r'<path d="([^"]+)" class="line"', svg)
    assert line.count("M") == 2
    assert len(re.findall("<title>a: ", svg)) == 4


def test_stacks_lie_on_each_other() -> None:
    svg = drawn(Figure("f", "x", "y", [Stack("a", [(0, 4), (1, 4)]), Stack("b", [(0, 4), (1, 4)])]), WIDE)
    lower, upper = re.findall(r'<path d="M([^"]+)Z" class="stack"', svg)
    assert lower.split("L")[:2] == list(reversed(upper.split("L")[2:]))


def test_ticks_are_round_and_few() -> None:
    assert linear_ticks(0, 10, 5) == [0, 2, 4, 6, 8, 10]
    assert linear_ticks(0, 0.7, 4) == pytest.approx([0, 0.2, 0.4, 0.6])
    assert log_ticks(0.9, 1100, 5) == [1, 10, 100, 1000]
    assert [number(value) for value in (0.0, 0.25, 40, 1500, 2e6)] == ["0", "0.25", "40", "1.5k", "2M"]


def test_a_scale_takes_in_all_values_and_an_axis_of_nothing_is_an_axis() -> None:
    up = scale([3, 97], 100, 0, least=0)
    assert (up(0), up(up.high)) == (100, 0)
    assert up.high >= 97
    assert scale([], 0, 10).ticks(4)
    assert scale([], 0, 10, log=True).ticks(4)
    assert scale([5], 0, 10)(5) == 0
    assert scale([0, -1, 10, 1000], 0, 100, log=True).low > 0
