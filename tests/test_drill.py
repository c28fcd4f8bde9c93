"""Drills: what is judged, and how it is told. The ones at the end are run, on real processes.

PYGMY_DRILL_TEST=1 runs three more on nodes with a bug each: they must go red.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pygmy.checker import Verdict
from pygmy.cli.main import main
from pygmy.drill.drills import DRILLS
from pygmy.drill.harvest import Copy, compare, without_marks
from pygmy.drill.history import Recorder, now
from pygmy.drill.results import drill_report, percentile, report
from pygmy.drill.run import Performance, Result, Settings
from pygmy.drill.showing import page, timeline
from pygmy.drill.stage import ENOUGH, Event, Promise, Stage, both_ways
from pygmy.drill.traffic import Diary, Request, Try
from pygmy.drill.watch import Stay
from pygmy.drill.wire import outcome_of_try
from pygmy.messages.operations import MarkReconciled
from pygmy.messages.replication import Batch, Entry
from pygmy.pages import Spans, Stack, render
from pygmy.private import NOBODY, Reply

ISSUE = (
    "kill-catalog kill-order return-catalog return-order heartbeats freeze power-cut cut-link retries last-copies"
    " warm-cache rolling-restart restore"
)


def result(*, kept: bool = True) -> Result:
    """A drill of two seconds with a kill in the middle."""
    began = 100.0
    tries = [Try("buy", "frontend-0", began + n / 10, began + n / 10 + 0.05, "answered") for n in range(10)]
    tries += [Try("buy", "frontend-0", began + 1.2, began + 1.3, "no answer")]
    requests = [Request("buy", one.begun, one.ended, 1, one.outcome == "answered") for one in tries]
    stays = [Stay(began, began + 1, "RUNNING", 1, True), Stay(began + 1, began + 2, "down", None, False)]
    return Result(
        "kill-catalog",
        "A catalog is <killed>",
        4.2,
        began,
        [Event(began + 1.0, "kill -9 catalog-0")],
        [Promise("buys go on", True, "so it was"), Promise("nothing is lost", kept, "an order")],
        {"longest buy": 0.05},
        tries,
        requests,
        {"catalog-0": stays},
        Verdict((), 10, 0, 1, 20),
    )


def stage(tmp_path: Path, *requests: Request) -> Stage:
    """One without a store, on which these requests were seen; it has no patience."""
    diary = Diary(Recorder(tmp_path / "history.jsonl"))
    diary.requests += requests
    nothing: Any = None
    return Stage(nothing, nothing, diary, nothing, nothing, patience=0.0)


def requests(count: int, begun: float, *, answered: bool = True) -> list[Request]:
    return [Request("buy", begun + n / 100, begun + n / 100 + 0.5, 1, answered) for n in range(count)]


# ---- what is judged


def test_there_is_a_drill_for_each_promise_and_each_says_what_it_is() -> None:
    assert list(DRILLS) == ISSUE.split()
    assert all(": " in drill.title or " and " in drill.title for drill in DRILLS.values())


def test_a_drill_passes_only_if_every_promise_was_kept_and_there_were_any() -> None:
    assert result().ok
    assert not result(kept=False).ok
    assert not Result("a", "b", 1.0, 0.0).ok


def test_something_goes_on_if_enough_that_began_after_the_fault_is_answered(tmp_path: Path) -> None:
    kept = stage(tmp_path, *requests(ENOUGH, now() + 1))
    assert kept.goes_on("buy", again="again", wait="wait")
    assert kept.times["wait"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    "seen",
    [
        [],
        requests(ENOUGH - 1, now() + 60),
        requests(ENOUGH, now() - 60),  # before
        [*requests(ENOUGH, now() + 60), *requests(1, now() + 60, answered=False)],  # one gave up
    ],
)
def test_it_does_not_go_on_if_too_few_are_answered_or_one_never_is(tmp_path: Path, seen: Sequence[Request]) -> None:
    broken = stage(tmp_path, *seen)
    assert not broken.goes_on("buy")
    assert [promise.kept for promise in broken.promises] == [False]


def test_what_never_comes_is_a_promise_that_was_broken(tmp_path: Path) -> None:
    broken = stage(tmp_path)
    assert not broken.comes("it comes", lambda: False, "it")
    assert "not within" in broken.promises[0].seen


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (200, b"{}", "answered"),
        (409, b"{}", "answered"),
        (503, b"{}", "unavailable"),
        (503, b'{"outcome_unknown":true}', "outcome unknown"),
        (500, b"{}", "wrong"),
        (400, b"{}", "wrong"),
    ],
)
def test_each_try_has_one_outcome(status: int, body: bytes, outcome: str) -> None:
    assert outcome_of_try(Reply(status, {}, body)) == outcome


def test_a_link_has_two_ways_and_health_has_one() -> None:
    assert both_ways(["a"], ["b"]) == [("a", "b"), ("b", "a")]
    assert both_ways(["a"], ["b"], health=True)[-1] == (NOBODY, "b")


def test_copies_may_differ_by_marks_that_move_by_themselves_and_by_nothing_else() -> None:
    def batch(seq: int, operation: Any) -> Batch:
        return Batch(1, seq, 1, (Entry(f"o:{seq}", "", operation, 0, operation),), f"{seq}")

    mark, other = MarkReconciled(3), object()
    short = Copy("order-0", "order", (batch(1, other),), (), ())
    marked = Copy("order-1", "order", (batch(1, other), batch(2, mark)), (), ())
    longer = Copy("order-1", "order", (batch(1, other), batch(2, other)), (), ())
    assert list(compare([short, marked]))
    assert not list(compare([without_marks(short), without_marks(marked)]))
    assert list(compare([without_marks(short), without_marks(longer)]))


def test_percentiles_are_of_the_nearest_rank() -> None:
    values = [float(n) for n in range(1, 101)]
    assert [percentile(values, part) for part in (0.5, 0.99, 1.0)] == [50, 99, 100]


# ---- how it is told


def test_the_timeline_shows_outcomes_waits_nodes_and_what_was_done() -> None:
    figure = timeline(result())
    rates = {one.name: sum(y for _, y in one.points) for one in figure.series if isinstance(one, Stack)}
    assert rates["answered"] > rates["no answer"] > 0
    assert [(mark.x, mark.text) for mark in figure.marks] == [(1.0, "kill -9 catalog-0")]
    (lane,) = [one for panel in figure.below for one in panel.series if isinstance(one, Spans)]
    assert [(text, colour) for _, _, text, colour in lane.spans] == [("RUNNING 1", "good"), ("down", "off")]


def test_page_and_numbers_tell_of_every_promise() -> None:
    results = [result(), result(kept=False)]
    numbers = report(results, Settings(), "today")
    html = render(page(results, numbers))
    assert not numbers["ok"]
    assert [drill["ok"] for drill in numbers["drills"]] == [True, False]
    assert "1 of 2 drills saw a promise broken" in html
    assert html.count("BROKEN") == 1
    assert "A catalog is &lt;killed&gt;" in html
    told = drill_report(result())
    assert told["requests"]["buy"]["tries"] == {"answered": 10, "no answer": 1}
    assert told["checker"]["sound"]
    json.dumps(numbers)


# ---- the command


def pygmy(*arguments: str) -> Any:
    return CliRunner().invoke(main, ["drill", *arguments])


def test_the_command_lists_drills_and_runs_none() -> None:
    listed = pygmy("--list")
    assert (listed.exit_code, [line.split()[0] for line in listed.stdout.splitlines()]) == (0, ISSUE.split())


@pytest.mark.parametrize("mistake", [["no-such-drill"], ["--node-command", "'"], ["--node-command", " "]])
def test_mistakes_are_usage_errors(mistake: list[str]) -> None:
    assert pygmy(*mistake).exit_code == 2


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    refused = pygmy("retries", "--out", str(tmp_path))
    assert (refused.exit_code, [path.name for path in tmp_path.iterdir()]) == (2, ["mine"])


# ---- for real


def test_two_drills_on_real_processes_pass_and_leave_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    done = pygmy("kill-catalog", "last-copies", "--out", str(folder), "--json")
    assert done.exit_code == 0, done.output
    numbers = json.loads((folder / "results.json").read_bytes())
    assert json.loads(done.stdout) == numbers
    assert [(drill["name"], drill["ok"]) for drill in numbers["drills"]] == [
        ("kill-catalog", True),
        ("last-copies", True),
    ]
    assert all(drill["checker"]["writes"] for drill in numbers["drills"])
    assert "kill -9 catalog-" in (folder / "index.html").read_text()
    assert (folder / "kill-catalog" / "history.jsonl").stat().st_size


@pytest.mark.skipif("PYGMY_DRILL_TEST" not in os.environ, reason="half a minute each: PYGMY_DRILL_TEST=1 runs them")
@pytest.mark.parametrize(
    ("bug", "drill", "broken"),
    [
        ("leases_ignored", "warm-cache", "never shown as still there"),
        ("ack_before_commit", "power-cut", "answered just before the cut"),
        ("no_dedup", "retries", "no node ends by itself"),
    ],
)
def test_drills_go_red_on_nodes_with_a_bug(tmp_path: Path, bug: str, drill: str, broken: str) -> None:
    command = (sys.executable, "-m", "tests.chaos.broken_node", bug)
    seen = Performance(DRILLS[drill], Settings(patience=20.0, node_command=command), tmp_path).run()
    assert not seen.ok
    assert [promise for promise in seen.promises if broken in promise.text and not promise.kept], seen.promises
