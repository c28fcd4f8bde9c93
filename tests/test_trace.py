"""`pygmy trace`: an order's way, put together from what nodes have logged."""

import importlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from twisted.logger import globalLogPublisher

from pygmy.cli.main import main
from pygmy.ledger.trail import Trail
from pygmy.logs.formats import as_json, as_text
from pygmy.messages.replication import Batch
from pygmy.pages.drawing import NARROW, WIDE
from pygmy.tracing.picture import drawn
from pygmy.tracing.reading import Line, parsed
from pygmy.tracing.story import Story, Untold, story_of

URLS = {
    "frontend-0": "http://localhost:5002",
    "order-0": "http://localhost:5001",
    "order-1": "http://localhost:5004",
    "catalog-0": "http://localhost:5000",
    "catalog-1": "http://localhost:5003",
}
ASKED = "asked for 1.0 ms before"
# What five nodes log of order 7: by node, the milliseconds, the request, and the message.
LOGGED = [
    ("frontend-0", 100, "r7", "forward POST /books/1 -> http://localhost:5001"),
    ("order-0", 102, "r7", "forward SELL 1x1 -> http://localhost:5003"),
    ("order-0", 103, "r7", "down http://localhost:5003 (refused), next http://localhost:5000"),
    ("order-0", 104, "r7", "forward SELL 1x1 -> http://localhost:5000"),
    ("catalog-1", 110, "", "batch 1-9 from catalog-0: on disk 2.0 ms, acknowledged 3.0 ms"),
    (
        "catalog-0",
        112,
        "",
        f"batch 1-9: 2 entries, {ASKED}; on disk 2.5 ms, catalog-1 5.5 ms, chosen 6.0 ms",
    ),
    ("order-1", 117, "", "batch 1-9 from order-0: on disk 2.0 ms, acknowledged 2.0 ms"),
    (
        "order-0",
        118,
        "",
        "batch 1-9: 1 entry, asked for 0.0 ms before; on disk 1.0 ms, order-1 3.5 ms, chosen 4 ms",
    ),
    ("order-0", 119, "r7", "order 7: sold in batch 1-9, written in batch 1-9"),
    ("order-0", 130, "r8", "order 8: sold in batch 1-10, written in batch 1-10"),
    ("catalog-0", 131, "", "batch 1-10: 1 entry, asked for 1.0 ms before; on disk 2.0 ms, chosen 2.0 ms"),
    ("frontend-0", 132, "r8", "forward POST /books/2 -> http://localhost:5001"),
]


def story(order: int = 7) -> Story:
    return story_of(order, [Line(node, ms / 1000, rid, text) for node, ms, rid, text in LOGGED], URLS)


def test_the_letters_come_in_the_order_of_the_protocol_in_both_tiers() -> None:
    told = [(step.node, step.letter) for step in story().steps if step.letter]
    catalog = ["W1", "W2", "W4", "W5", "W3", "W6", "W7", "W8"]
    assert [letter for node, letter in told if node.startswith("catalog")] == catalog
    assert sorted(letter for node, letter in told if node.startswith("order")) == sorted(catalog)


def test_times_are_those_of_the_logs() -> None:
    at = {(step.node, step.letter): round(1000 * step.at) for step in story().steps if step.letter}
    assert at["catalog-0", "W1"] == 105
    assert at["catalog-0", "W2"] == 106
    assert at["catalog-1", "W5"] == 107
    assert at["catalog-1", "W7"] == 110
    assert at["catalog-0", "W8"] == 112
    assert round(1000 * story().seconds) == 19


def test_messages_go_from_node_to_node_and_what_failed_is_told() -> None:
    sent = [(step.node, step.to) for step in story().steps if step.to]
    assert sent[:3] == [("frontend-0", "order-0"), ("order-0", "catalog-1"), ("order-0", "catalog-0")]
    assert ("catalog-0", "order-0") in sent  # W8
    assert sent[-1] == ("order-0", "frontend-0")
    assert any("no answer of catalog-1 (refused)" in step.text for step in story().steps)


def test_nothing_of_another_order_is_told() -> None:
    assert not any("1-10" in step.text or "/books/2" in step.text for step in story().steps)
    assert not any(step.node == "catalog-1" for step in story(8).steps)


def test_an_order_of_which_no_log_tells_is_said_to_be_one() -> None:
    with pytest.raises(Untold, match="order 99"):
        story(99)


@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_the_figure_is_xml_and_has_every_letter(size: Any) -> None:
    root = ElementTree.fromstring(drawn(story(), size))
    letters = [one.text for one in root.iter("text") if one.get("class") == "order"]
    assert sorted(letter for letter in letters if letter) == sorted(
        step.letter for step in story().steps if step.letter
    )


def test_lines_and_json_are_read_alike_and_other_lines_are_none() -> None:
    event = {"log_time": 1.5, "log_format": "forward {what}", "what": "GET", "rid": "r1", "log_namespace": "x"}
    event["log_level"] = __import__("twisted.logger").logger.LogLevel.info
    read = [parsed(form("catalog-0")(event), "catalog-0") for form in (as_text, as_json)]
    assert read == [Line("catalog-0", 1.5, "r1", "forward GET")] * 2
    assert [parsed(text, "n") for text in ("", "    traceback\n", "{}", '{"time": 1}', "a b c d")] == [None] * 5


def test_what_nodes_log_of_a_batch_is_what_is_read() -> None:
    """The two ends of one agreement."""
    heard: list[str] = []
    times = iter(range(100, 200))

    def observe(event: dict[str, Any]) -> None:
        heard.append(event["log_format"].format_map(event))

    globalLogPublisher.addObserver(observe)
    try:
        owner, member = Trail(lambda: next(times) / 1000), Trail(lambda: next(times) / 1000)
        batch = Batch(1, 9, 1, (), "")
        for trail in (owner, member):
            trail.begun(batch)
            trail.stored((1, 9))
        member.acknowledge((1, 9), "catalog-0")
        member.acknowledge((1, 9), "catalog-0")  # repeated: told once
        owner.acked("catalog-1", (1, 9))
        owner.chosen((1, 8), 0.1)  # of another batch
        owner.chosen((1, 9), 0.099)
    finally:
        globalLogPublisher.removeObserver(observe)
    lines = [text for text in heard if text.startswith("batch ")]
    assert len(lines) == 2, heard
    order = Line("order-0", 1.0, "r", "order 1: sold in batch 1-9, written in batch 1-1")
    told = story_of(1, [Line("catalog-1", 1.0, "", lines[0]), Line("catalog-0", 1.0, "", lines[1]), order], URLS)
    assert {step.letter for step in told.steps if step.letter} == {f"W{n}" for n in range(1, 9)}


def logs_of(data: Path, nodes: Iterable[str] = tuple(URLS)) -> None:
    """What these nodes have logged, in their files."""
    names = {"catalog": "catalog.log", "order": "orders.log", "frontend": "frontend.log"}
    for node in nodes:
        (data / node).mkdir(parents=True, exist_ok=True)
        lines = [
            f"2026-11-23T02:14:44.{ms:03}Z info [{rid or '-'}] {text}\n"
            for who, ms, rid, text in LOGGED
            if who == node
        ]
        (data / node / names[node.partition("-")[0]]).write_text("".join(lines))


def test_the_command_reads_the_data_directory_and_writes_a_page(tmp_path: Path) -> None:
    logs_of(tmp_path / "data")
    out = tmp_path / "order.html"
    run = CliRunner().invoke(main, ["trace", "7", "--data", str(tmp_path / "data"), "--out", str(out)])
    assert run.exit_code == 0, run.output
    assert "W8  knows that all have batch 1-9" in run.stdout
    assert "<svg" in out.read_text()
    assert CliRunner().invoke(main, ["trace", "99", "--data", str(tmp_path / "data")]).exit_code == 3
    assert json.dumps(run.stdout)


class Time:
    """Passes only while somebody sleeps; after half a second `then` happens."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, then: Callable[[], None] = lambda: None) -> None:
        self.now = 0.0
        self._then = then
        module = importlib.import_module("pygmy.cli.trace")
        monkeypatch.setattr(module, "monotonic", lambda: self.now)
        monkeypatch.setattr(module, "sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        before, self.now = self.now, self.now + seconds
        if before < 0.5 <= self.now:
            self._then()


@pytest.mark.parametrize("late", list(URLS))
def test_lines_that_are_not_in_their_file_yet_are_waited_for(
    late: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node writes its log a buffer at a time: right after a sale the file lacks the last lines."""
    logs_of(tmp_path, set(URLS) - {late})
    time = Time(monkeypatch, lambda: logs_of(tmp_path))
    run = CliRunner().invoke(main, ["trace", "7", "--data", str(tmp_path)])
    assert (run.exit_code, run.stderr) == (0, "")
    assert late in run.stdout
    assert 0.5 <= time.now < 0.7
    again = CliRunner().invoke(main, ["trace", "7", "--data", str(tmp_path)])
    assert (again.stdout, time.now < 0.7) == (run.stdout, True), "all is there: nothing is waited for"


def test_what_does_not_come_within_a_second_is_told_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logs_of(tmp_path, set(URLS) - {"catalog-1"})
    time = Time(monkeypatch)
    run = CliRunner().invoke(main, ["trace", "7", "--data", str(tmp_path)])
    assert (run.exit_code, "W8" in run.stdout) == (0, True)
    assert run.stderr.startswith("catalog-1: ")
    assert CliRunner().invoke(main, ["trace", "99", "--data", str(tmp_path)]).exit_code == 3
    assert time.now < 2
