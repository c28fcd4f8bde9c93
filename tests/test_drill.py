"""Drills: what is judged, and how it is told. The ones at the end are run, on real processes.

PYGMY_DRILL_TEST=1 runs three more on nodes with a bug each: they must go red.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from pygmy.bench import loading
from pygmy.bench.loads import Load
from pygmy.checker import Verdict
from pygmy.cli.main import main
from pygmy.cli.visiting import possible
from pygmy.drill.drills import DRILLS
from pygmy.drill.foreign import ForeignStore, NoFrontEnd
from pygmy.drill.harvest import Copy, compare, without_marks
from pygmy.drill.history import Recorder, now
from pygmy.drill.results import drill_report, percentile, report
from pygmy.drill.run import Performance, Result, Settings
from pygmy.drill.showing import page, timeline
from pygmy.drill.stage import ENOUGH, Event, Promise, Stage, both_ways
from pygmy.drill.stall import Refused, Stall
from pygmy.drill.traffic import Diary, Request, Try
from pygmy.drill.watch import Stay
from pygmy.drill.wire import outcome_of_try
from pygmy.messages.operations import MarkReconciled
from pygmy.messages.replication import Batch, Entry
from pygmy.pages import Spans, Stack, render
from pygmy.private import NOBODY, Reply
from tests.support.processes import processes, without_settings

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


# ---- at a store that others run


class Scripted(ForeignStore):
    """Answers what it is told to, in turn, and remembers what it was asked."""

    def __init__(self, *replies: Reply) -> None:
        super().__init__("http://localhost:1")
        self.asked: list[tuple[str, str, Any, Any]] = []
        self._replies = iter(replies)

    def ask(self, method: str, path: str, body: object = None, headers: Any = None, timeout: float = 1.0) -> Reply:
        self.asked.append((method, path, body, headers))
        return next(self._replies)


def added(item: int) -> Reply:
    book = {"id": item, "title": "t", "topic": "o", "cost": 0.0, "count": 3}
    return Reply(201, {"etag": f'"1-{item}"'}, json.dumps(book).encode())


BUSY, GONE = Reply(503, {}, b"{}"), Reply(204, {}, b"")


def test_books_of_its_own_are_added_for_nothing_and_removed_under_keys_of_their_own() -> None:
    store = Scripted(*(added(item) for item in range(51, 58)), *[BUSY, GONE] * 7)
    stall = Stall(store, "token", "drill-1-", 5.0)
    wares = stall.open()
    assert (wares.shelf, wares.own, wares.few, wares.sole) == ([51], [52, 53, 54], [55, 56, 57], True)
    assert [asked[2]["count"] for asked in store.asked[4:]] == [3, 3, 3]
    assert {asked[2]["cost"] for asked in store.asked} == {0}
    assert stall.close() == []
    assert [asked[1] for asked in store.asked[7::2]] == [f"/books/{item}" for item in range(51, 58)]
    keys = [asked[3]["Idempotency-Key"] for asked in store.asked]
    assert len(set(keys)) == 14, "a try again has the key of the first"
    assert {asked[3]["Authorization"] for asked in store.asked} == {"Bearer token"}


def test_what_it_could_not_remove_is_told_and_a_refusal_ends_it() -> None:
    refused = Reply(403, {}, b'{"detail":"The wrong one."}')
    stall = Stall(Scripted(added(51), refused, refused), "token", "drill-1-", 5.0)
    with pytest.raises(Refused, match="403 The wrong one"):
        stall.open()
    assert stall.close() == [51]


def test_a_front_end_tells_of_all_nodes_and_another_node_is_not_taken_for_one() -> None:
    def cluster(node: str) -> Reply:
        nodes = [
            {"node": "order-0", "role": "order", "state": "DOWN", "epoch": 3, "why": "refused"},
            {"node": "frontend-0", "role": "frontend", "state": "RUNNING", "epoch": 3, "why": ""},
        ]
        return Reply(200, {}, json.dumps({"node": node, "nodes": nodes}).encode())

    store = Scripted(cluster("frontend-0"), cluster("frontend-0"), Reply(200, {}, b'{"state":"RUNNING"}'))
    store.enter()
    assert (store.names, store.doors) == (("order-0", "frontend-0"), ("frontend-0",))
    assert store.health("order-0") == {"state": "DOWN", "epoch": 3, "message": "refused"}
    assert store.health("frontend-0") == {"state": "RUNNING"}
    for wrong, said in ((cluster("order-0"), "expected a front end"), (Reply(200, {}, b"[]"), "no front end")):
        with pytest.raises(NoFrontEnd, match=said):
            Scripted(wrong).enter()


def test_drills_that_take_hands_are_refused_by_name_and_left_out_otherwise() -> None:
    every = list(DRILLS.values())
    left, skipped = possible(every, False, "")
    assert [one.name for one in left] == ["retries", "last-copies"]
    assert skipped["cut-link"] == "it cuts links between nodes"
    left, skipped = possible(every, False, "no token.")
    assert [one.name for one in left] == ["retries"]
    with pytest.raises(click.UsageError, match="last-copies: no token"):
        possible([DRILLS["last-copies"]], True, "no token.")
    refused = pygmy("freeze", "--frontend-server", "localhost:1")
    assert refused.exit_code == 2
    assert "freeze: it freezes a node" in refused.stderr


def test_the_page_of_a_foreign_store_says_what_was_not_checked_and_what_not_tried() -> None:
    seen = replace(result(), unchecked=("all copies are the same: that takes logs",))
    numbers = report([seen], Settings(store="http://shop:5002"), "today", {"freeze": "it freezes a node"})
    html = render(page([seen], numbers))
    assert numbers["skipped"] == [{"name": "freeze", "why": "it freezes a node"}]
    assert numbers["drills"][0]["unchecked"] == ["all copies are the same: that takes logs"]
    for text in ("http://shop:5002", "not checked", "that takes logs", "it freezes a node"):
        assert text in html


# ---- for real


def test_a_store_that_runs_is_drilled_and_measured_over_tls_and_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the admin token, and without it."""
    without_settings(tmp_path, monkeypatch)
    with processes(tmp_path, tls=True) as store:
        shelf = store.get("frontend-0", "/books?limit=1000").json
        place = ["--ca", str(store.tls / "ca.pem"), "--frontend-server", store.node("frontend-0").url]

        def run(*arguments: str) -> Any:
            return CliRunner().invoke(main, [*place, *arguments])

        token = ["--token-file", str(store.data / "admin.token")]
        done = run("drill", *token, "--out", str(tmp_path / "drill"))
        assert done.exit_code == 0, done.output
        numbers = json.loads((tmp_path / "drill" / "results.json").read_bytes())
        assert [drill["name"] for drill in numbers["drills"]] == ["retries", "last-copies"]
        assert all(drill["checker"]["sound"] and drill["checker"]["reads"] for drill in numbers["drills"])
        assert len(numbers["skipped"]) == 11
        assert store.get("frontend-0", "/books?limit=1000").json == shelf
        poor = run("drill", "--out", str(tmp_path / "poor"))
        assert poor.exit_code == 0, poor.output
        assert "last-copies: The admin token is needed" in poor.stderr
        assert "copies of book 1 are bought" in poor.stderr
        measured = run("bench", "miss", "--quick", "--out", str(tmp_path / "bench"))
        assert measured.exit_code == 0, measured.output
        port, ca = store.node("frontend-0").port, str(store.tls / "ca.pem")
        load = Load("localhost", port, (("GET", "/books/1"),), clients=3, seconds=30.0, count=50, ca=ca)
        assert loading.make(load).answered >= 50


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
