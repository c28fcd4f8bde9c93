"""The page of a run: a table of all drills, then each with its timeline."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pygmy.drill.run import Result
from pygmy.drill.traffic import GLANCE, Request
from pygmy.drill.watch import Stay
from pygmy.drill.wire import OUTCOMES
from pygmy.pages import Cell, Facts, Figure, Fold, Mark, Page, Panel, Points, Section, Spans, Stack, Table, Text
from pygmy.pages.page import Part

BIN = 0.25  # seconds
MOST_POINTS = 500
COLOURS = dict(zip(OUTCOMES, ("good", "warn", "3", "bad", "7"), strict=True))
KINDS = {"lookup": "0", "search": "6", "buy": "1", GLANCE: "3"}


WHAT = "Pygmy is a bookstore on several servers, each of which has a copy of all data. "
HERE = WHAT + (
    "Here servers were killed, frozen, cut off and restarted while customers searched, looked up and bought: what was"
    " done, what was promised, and what was seen."
)
THERE = WHAT + (
    "Customers came to one that was open, and did what must not confuse it: what was done, what was promised, and"
    " what was seen, from outside."
)
FOOT = "Times are as they were seen on this machine; what is judged is that answers are true, and come."


def page(results: Sequence[Result], report: Mapping[str, Any]) -> Page:
    """All of it. `report` is what `pygmy.drill.results` made of the same results."""
    failed = sum(not result.ok for result in results)
    said = "All promises were kept." if not failed else f"{failed} of {len(results)} drills saw a promise broken."
    machine = report["machine"]
    facts = [
        ("begun", str(report["begun"])),
        ("machine", f"{machine['processor']}, {machine['cores']} cores, load {machine['load']}"),
        ("system", f"{machine['system']}, Python {machine['python']}, Pygmy {report['pygmy']}"),
        ("seed", str(report["seed"])),
    ]
    if report["store"]:
        facts.insert(1, ("store", str(report["store"])))
    parts: list[Part] = [_summary(results), Facts(facts)]
    if skipped := [[one["name"], one["why"]] for one in report["skipped"]]:
        parts.append(Fold(f"{len(skipped)} drills were not possible there", [Table(["drill", "why"], skipped)]))
    summary = Section(said, parts, "summary", _badge(not failed))
    return Page("Pygmy: drills", THERE if report["store"] else HERE, [summary, *map(_section, results)], FOOT)


def _summary(results: Sequence[Result]) -> Table:
    rows: list[list[str | Cell]] = [
        [
            Cell(result.name, f"#{result.name}"),
            Cell(*_word(result.ok)),
            f"{len(result.requests):,}",
            "; ".join(f"{name} {seconds:.2f} s" for name, seconds in result.times.items()) or _kept(result),
        ]
        for result in results
    ]
    return Table(["drill", "", "requests", "seen"], rows, "llrl")


def _kept(result: Result) -> str:
    return f"{sum(one.kept for one in result.promises)} of {len(result.promises)} promises kept"


def _word(ok: bool) -> tuple[str, str, str]:
    return ("pass", "", "good") if ok else ("FAIL", "", "bad")


def _badge(ok: bool) -> tuple[str, str]:
    return ("pass", "good") if ok else ("FAIL", "bad")


def _section(result: Result) -> Section:
    promised: list[list[str | Cell]] = [
        [one.text, Cell("kept" if one.kept else "BROKEN", "", "good" if one.kept else "bad"), one.seen]
        for one in result.promises
    ]
    promised += [[*_not_checked(text)] for text in result.unchecked]
    parts: list[Part] = [timeline(result), Table(["promised", "", "seen"], promised)]
    if result.verdict is not None and (problems := result.verdict.problems):
        parts += [Text(problem, "bad") for problem in problems[:10]]
    return Section(result.title, parts, result.name, _badge(result.ok))


def _not_checked(text: str) -> tuple[str, Cell, str]:
    what, _, why = text.partition(": ")
    return what, Cell("not checked", "", "off"), why


def timeline(result: Result) -> Figure:
    """Requests a second by outcome, what clients waited, how the nodes were; and what was done when."""
    end = _end(result)
    marks = [Mark(event.at - result.began, event.text, event.colour) for event in result.events]
    waits = [
        Points(kind, list(_waits(result, kind)), colour)
        for kind, colour in KINDS.items()
        if any(one.kind == kind for one in result.requests)
    ]
    lanes = [Spans(name, list(_spans(stays, result.began, end))) for name, stays in result.stays.items()]
    below = [Panel("a customer's wait, ms", waits, log_y=True, y_min=None), Panel("nodes, with their epochs", lanes)]
    return Figure(
        "",
        "seconds",
        "tries a second, by outcome",
        list(_rates(result, end)),
        marks,
        below=[panel for panel in below if panel.series],
        height=0.8,
        x_range=(0.0, end),
    )


def _end(result: Result) -> float:
    moments = [one.ended for one in result.tries] + [event.at for event in result.events]
    return max((moment - result.began for moment in moments), default=1.0)


def _rates(result: Result, end: float) -> Iterator[Stack]:
    bins = max(1, round(end / BIN))
    for outcome in OUTCOMES:
        counts = Counter(
            min(bins - 1, int((one.ended - result.began) / BIN)) for one in result.tries if one.outcome == outcome
        )
        if counts or outcome == OUTCOMES[0]:
            points = [((number + 0.5) * BIN, counts[number] / BIN) for number in range(bins)]
            yield Stack(outcome, points, COLOURS[outcome])


def _waits(result: Result, kind: str) -> Iterator[tuple[float, float]]:
    """When each was answered, and after how many milliseconds. Of very many, all of the longest."""
    answered = [one for one in result.requests if one.kind == kind and one.answered]
    for one in _thinned(answered):
        yield one.ended - result.began, max(0.1, 1000 * one.seconds)


def _thinned(requests: Sequence[Request]) -> list[Request]:
    if len(requests) <= MOST_POINTS:
        return list(requests)
    ordered = sorted(requests, key=lambda one: one.seconds)
    longest, others = ordered[-MOST_POINTS // 2 :], ordered[: -MOST_POINTS // 2]
    return [*longest, *others[:: max(1, 2 * len(others) // MOST_POINTS)]]


def _spans(stays: Sequence[Stay], began: float, end: float) -> Iterator[tuple[float, float, str, str]]:
    for stay, following in zip(stays, [*stays[1:], None], strict=True):
        start = max(0.0, stay.start - began)
        until = end if following is None else min(end, following.start - began)
        if until > start:
            yield start, until, _state(stay), _colour(stay)


def _state(stay: Stay) -> str:
    return stay.state if stay.epoch is None else f"{stay.state} {stay.epoch}"


def _colour(stay: Stay) -> str:
    if stay.state in ("down", "silent"):
        return "off" if stay.state == "down" else "bad"
    return "good" if stay.well else "warn"
