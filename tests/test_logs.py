"""The log of a node: its lines, and that neither their contents nor the disk can do harm."""

import errno
import io
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import Logger

from pygmy.logs import LogFile, event_as_line, file_observer, stream_observer

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (info|warn|error|critical) \[\S+\] [^\n]*\n")


def started(path: Path) -> tuple[Logger, LogFile, Clock]:
    clock = Clock()
    observer = file_observer(str(path), clock)
    observer.startService()
    return Logger("test", observer=observer), observer, clock


def test_a_line_has_time_level_request_id_and_message() -> None:
    lines: list[str] = []
    log = Logger("test", observer=lambda event: lines.append(event_as_line({**event, "log_time": 1795428000.1239})))
    log.info("forward {what} -> {url}", what="GET /books/1", url="http://localhost:5000", rid="r1")
    log.warn("down")
    assert lines == [
        "2026-11-23T10:00:00.123Z info [r1] forward GET /books/1 -> http://localhost:5000\n",
        "2026-11-23T10:00:00.123Z warn [-] down\n",
    ]


def test_info_waits_for_the_next_flush_and_a_warning_takes_all_along_at_once(tmp_path: Path) -> None:
    path = tmp_path / "catalog.log"
    log, observer, clock = started(path)
    log.info("one")
    assert not path.exists()
    clock.advance(0.2)
    assert path.read_text().endswith("one\n")
    log.info("two")
    log.warn("three")
    assert [line.split()[-1] for line in path.read_text().splitlines()] == ["one", "two", "three"]
    log.info("four")
    log.debug("never")
    observer.stopService()
    assert path.read_text().endswith("four\n")
    assert clock.getDelayedCalls() == []


def test_what_is_logged_before_the_start_is_kept_and_a_restart_appends(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("old\n")
    observer = file_observer(str(path), Clock())
    Logger("test", observer=observer).warn("early")
    assert path.read_text() == "old\n"
    observer.startService()
    assert re.fullmatch(r"old\n\S+ warn \[-\] early\n", path.read_text())


@given(st.text(), st.text())
def test_no_text_can_forge_a_line(message: str, rid: str) -> None:
    line = event_as_line({"log_format": "say {m}", "m": message, "rid": rid or "-", "log_time": 1.0})
    assert LINE.fullmatch(line)
    assert line[:-1].isprintable()


def test_an_exception_cannot_forge_a_line_either() -> None:
    lines: list[str] = []
    log = Logger("test", observer=lambda event: lines.append(event_as_line(event)))
    try:
        raise ValueError("x\n2026-11-23T10:00:00.123Z info [-] forged\r\x1b[2J")
    except ValueError:
        log.failure("it failed", rid="r2")
    first, *rest = lines[0].splitlines()
    assert LINE.fullmatch(first + "\n")
    assert any("forged" in line for line in rest)
    assert all(line.startswith("    ") and line.isprintable() for line in rest)


@pytest.mark.parametrize("template", ["{missing}", "{", "{a!z}", "{a.b.c}", "{a[}", 7, None])
def test_a_bad_format_is_a_line_and_not_an_error(template: Any) -> None:
    assert LINE.fullmatch(event_as_line({"log_format": template, "a": 1}))


def test_calls_in_formats_work_as_twisted_has_them() -> None:
    assert event_as_line({"log_format": "{f()}", "f": lambda: "called"}).endswith("[-] called\n")


def test_a_disk_that_takes_nothing_costs_lines_but_not_the_node(tmp_path: Path) -> None:
    path = tmp_path / "gone" / "log"
    log, observer, clock = started(path)
    log.critical("lost")
    log.info("lost too")
    clock.advance(0.2)
    path.parent.mkdir()
    log.error("heard")
    lost, heard = path.read_text().splitlines()
    assert "2 log lines were lost" in lost
    assert heard.endswith("heard")
    observer.stopService()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_does_not_break_the_node_and_memory_stays_bounded() -> None:
    log, observer, clock = started(Path("/dev/full"))
    for _ in range(2000):
        log.info("x" * 100)
    clock.advance(0.2)
    assert observer._lines == []
    assert observer._dropped == 2000
    observer.stopService()


def test_a_stream_gets_the_same_lines_until_it_closes() -> None:
    stream = io.StringIO()
    log = Logger("test", observer=stream_observer(stream))
    log.info("one", rid="a")
    log.debug("never")
    assert LINE.fullmatch(stream.getvalue())
    stream.close()
    log.info("two")


def test_a_line_cut_short_by_a_full_disk_does_not_swallow_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log"
    log, observer, _ = started(path)
    room = [30]
    real_write = os.write

    def write(descriptor: int, data: memoryview) -> int:
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real_write(descriptor, data[: room.pop()])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        log.warn("a line that is too long for what is left")
    log.warn("whole")
    cut, lost, whole = path.read_text().splitlines()
    assert len(cut) == 30
    assert "1 log lines were lost" in lost
    assert LINE.fullmatch(whole + "\n")
    observer.stopService()
