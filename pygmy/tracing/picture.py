"""The way of an order as the protocol's figure: a line down for each node, an arrow for each message."""

from collections.abc import Sequence

from pygmy.pages import Code, Facts, Page, Picture, Section, Table
from pygmy.pages.drawing import NARROW, WIDE, Size
from pygmy.pages.page import Part
from pygmy.pages.svg import element
from pygmy.tracing.story import Step, Story

ROW, HEAD, TIMES, HALF = 30.0, 34.0, 46.0, 11.0
TIERS = {"frontend": "5", "order": "1", "catalog": "0"}


def page(story: Story) -> Page:
    """A page with the figure, and each step in words."""
    rows = [[_ms(step, story), step.node, step.letter, step.text] for step in story.steps]
    facts = Facts([("request", story.rid), ("took", f"{1000 * story.seconds:.1f} ms, by the nodes' own clocks")])
    parts: list[Part] = [
        facts,
        Picture(drawn(story, WIDE), drawn(story, NARROW)),
        Table(["ms", "node", "", "what"], rows, "rl"),
    ]
    lead = "The way of one order through all nodes, from their logs. W1 to W8 are the protocol's steps of a write."
    return Page(f"Order {story.order}", lead, [Section("From the front end and back", parts), _as_text(story)])


def _as_text(story: Story) -> Section:
    return Section("As text", [Code(text(story))])


def text(story: Story) -> str:
    """A line for each step."""
    width = max(len(step.node) for step in story.steps)
    head = f"Order {story.order}, request {story.rid}: {1000 * story.seconds:.1f} ms"
    lines = [
        f"{_ms(step, story):>7} ms  {step.node.ljust(width)}  {step.letter:2}  {step.text}" for step in story.steps
    ]
    return "\n".join([head, *lines])


def drawn(story: Story, size: Size) -> str:
    """The figure as one <svg>: what comes later is further down, each step on a row of its own."""
    places = _places(story.nodes, size)
    height = HEAD + ROW * len(story.steps) + 8
    parts = [_life(name, x, height) for name, x in places.items()]
    parts += [_step(story, number, step, places) for number, step in enumerate(story.steps)]
    view = f"0 0 {size.width:.0f} {height:.0f}"
    label = f"The way of order {story.order}"
    return element("svg", *parts, class_=f"figure {size.name}", viewBox=view, role="img", aria_label=label)


def _places(nodes: Sequence[str], size: Size) -> dict[str, float]:
    each = (size.width - TIMES) / max(1, len(nodes))
    return {name: TIMES + each * (number + 0.5) for number, name in enumerate(nodes)}


def _life(name: str, x: float, height: float) -> str:
    head = element("text", text=name, x=x, y=14.0, class_="lane", text_anchor="middle")
    return head + element("line", x1=x, x2=x, y1=22.0, y2=height, class_="grid")


def _step(story: Story, number: int, step: Step, places: dict[str, float]) -> str:
    x, y = places[step.node], HEAD + ROW * number + ROW / 2
    time = element("text", text=_ms(step, story), x=TIMES - 8, y=y + 4, class_="tick", text_anchor="end")
    arrow = _arrow(x, places[step.to], y) if step.to in places else ""
    dot = element(
        "circle", cx=x, cy=y, r=HALF if step.letter else 5.0, class_="flag", title=f"{step.node} {step.text}"
    )
    letter = (
        element("text", text=step.letter, x=x, y=y + 4, class_="order", text_anchor="middle") if step.letter else ""
    )
    colour = TIERS.get(step.node.rpartition("-")[0], "7")
    return time + element("g", arrow, dot, letter, class_=f"c-{colour}")


def _arrow(start: float, end: float, y: float) -> str:
    side = 1.0 if end > start else -1.0
    tip = end - 2 * side
    line = element("line", x1=start, x2=tip, y1=y, y2=y, class_="line")
    head = element("path", d=f"M{tip:.1f} {y:.1f}l{-7 * side:.0f} -4v8Z", class_="flag")
    return line + head


def _ms(step: Step, story: Story) -> str:
    return f"{1000 * (step.at - story.began):.1f}"
