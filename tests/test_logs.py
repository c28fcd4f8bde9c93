"""The log of a node: its lines, and that neither their contents nor the disk can do harm."""

import errno
import io
import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

import pygmy.logs
from pygmy.cli.following import Follower
from pygmy.logs import FORMATS, LogFile, Rotation, event_as_line, file_observer, stream_observer
from pygmy.tap import logging

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


def test_an_event_is_what_twisted_s_logger_makes_of_it() -> None:
    events: list[list[dict[str, Any]]] = [[], []]
    for kind, made in zip((Logger, pygmy.logs.Logger), events, strict=True):
        log = kind("a.name", source=5, observer=made.append)  # type: ignore[arg-type]
        log.info("{what} happened", what="it", rid="r")
        log.warn("no values")
        log.failure("{what} failed", Failure(RuntimeError("swordfish")), what="it")
        log.emit(LogLevel.debug)
        for event in made:
            assert event.pop("log_logger") is log
            assert isinstance(event.pop("log_time"), float)
            event["log_failure"] = str(event.get("log_failure"))
    assert events[0] == events[1]
    assert [event["log_level"].name for event in events[1]] == ["info", "warn", "critical", "debug"]
    assert pygmy.logs.Logger().namespace == __name__


def test_what_is_logged_in_the_midst_of_logging_waits_for_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a Deferred's failure that nobody took is, whenever it is collected."""
    path = tmp_path / "log"
    log, _, _ = started(path)
    write = os.write

    def collecting(descriptor: int, data: Any) -> int:
        monkeypatch.setattr("os.write", write)
        log.critical("collected")
        return write(descriptor, data)

    monkeypatch.setattr("os.write", collecting)
    thread = Thread(target=log.warn, args=("one",), daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert [line.rpartition(" ")[2] for line in path.read_text().splitlines()] == ["one", "collected"]


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


def test_a_log_that_nothing_is_written_to_wakes_nobody(tmp_path: Path) -> None:
    log, observer, clock = started(tmp_path / "log")
    assert clock.getDelayedCalls() == []
    log.info("one")
    log.info("two")
    assert len(clock.getDelayedCalls()) == 1
    clock.advance(0.2)
    assert clock.getDelayedCalls() == []
    log.info("three")
    clock.advance(0.2)
    assert last_words(tmp_path / "log") == ["one", "two", "three"]
    observer.stopService()


def test_what_other_threads_log_is_written_too(tmp_path: Path) -> None:
    class Threaded(Clock):
        def callFromThread(self, work: Any) -> None:
            asked.append(work)

    asked: list[Any] = []
    clock = Threaded()
    observer = file_observer(str(tmp_path / "log"), clock)
    observer.startService()
    thread = Thread(target=lambda: Logger("test", observer=observer).info("elsewhere"))
    thread.start()
    thread.join()
    (work,) = asked
    work()
    clock.advance(0.2)
    assert last_words(tmp_path / "log") == ["elsewhere"]
    observer.stopService()


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
        assert len(observer._events) < 512
    clock.advance(0.2)
    assert observer._events == []
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


# ---- JSON

AS_JSON = FORMATS["json"]("catalog-0")


def test_an_event_is_one_object_a_line() -> None:
    lines: list[str] = []
    log = Logger("pygmy.x", observer=lambda event: lines.append(AS_JSON({**event, "log_time": 1795428000.1239})))
    log.info("forward {what}", what="GET /books/1", rid="r1")
    try:
        raise ValueError("no")
    except ValueError:
        log.failure("it failed")
    first, second = map(json.loads, lines)
    assert first == {
        "time": "2026-11-23T10:00:00.123Z",
        "level": "info",
        "logger": "pygmy.x",
        "node": "catalog-0",
        "message": "forward GET /books/1",
        "request_id": "r1",
    }
    assert (second["level"], second["message"]) == ("critical", "it failed")
    assert second["traceback"].splitlines()[-1].endswith("ValueError: no")
    assert "request_id" not in second


@given(st.text(st.characters(), max_size=20), st.text(st.characters(), max_size=20))
def test_no_text_can_forge_an_object_or_drive_a_terminal(message: str, rid: str) -> None:
    """Half of a surrogate pair, which no UTF-8 holds, becomes text; all else comes back as it was."""
    line = AS_JSON({"log_format": "{m}", "m": message, "rid": rid, "log_time": 1.0})
    assert line.endswith("}\n")
    assert line[:-1].isprintable()
    line.encode()
    entry = json.loads(line)
    assert entry["message"] == message.encode("utf-8", "backslashreplace").decode()
    assert entry["request_id"] == rid.encode("utf-8", "backslashreplace").decode()


@pytest.mark.parametrize("template", ["{missing}", "{", "{a!z}", 7, None])
def test_a_bad_format_is_an_object_and_not_an_error(template: Any) -> None:
    assert json.loads(AS_JSON({"log_format": template, "a": 1}))["level"] == "info"


def test_lost_lines_are_told_in_the_format_of_the_others(tmp_path: Path) -> None:
    path = tmp_path / "gone" / "log"
    observer = file_observer(str(path), Clock(), AS_JSON)
    observer.startService()
    log = Logger("test", observer=observer)
    log.warn("lost")
    path.parent.mkdir()
    log.warn("heard")
    lost, heard = map(json.loads, path.read_text().splitlines())
    assert (lost["level"], lost["message"]) == ("warn", "1 log lines were lost: they could not be written")
    assert (heard["message"], heard["node"]) == ("heard", "catalog-0")
    observer.stopService()


# ---- turned over


def turned(path: Path, most: int, kept: int) -> tuple[Logger, LogFile]:
    observer = file_observer(str(path), Clock(), rotation=Rotation(most, kept))
    observer.startService()
    return Logger("test", observer=observer), observer


def last_words(path: Path) -> list[str]:
    return [line.split()[-1] for line in path.read_text().splitlines()]


def test_a_log_is_turned_over_before_it_grows_too_large_and_no_line_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log, observer = turned(path, 100, 2)
    for number in range(8):
        log.warn("{pad} {n}", pad="x" * 5, n=number)  # 42 bytes each: two a file
    observer.stopService()
    seen = [last_words(tmp_path / name) for name in ("log.2", "log.1", "log")]
    assert seen == [["2", "3"], ["4", "5"], ["6", "7"]]
    assert sorted(os.listdir(tmp_path)) == ["log", "log.1", "log.2"]


def test_a_log_that_is_too_large_at_the_start_is_turned_over_and_a_long_line_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("old\n" * 50)
    log, observer = turned(path, 100, 3)
    log.warn("y" * 500)
    log.warn("short")
    observer.stopService()
    assert [len((tmp_path / name).read_text().splitlines()) for name in ("log.2", "log.1", "log")] == [50, 1, 1]


def test_an_empty_log_is_not_turned_over(tmp_path: Path) -> None:
    log, observer = turned(tmp_path / "log", 100, 3)
    log.warn("y" * 500)
    observer.stopService()
    assert os.listdir(tmp_path) == ["log"]


def test_a_log_that_cannot_be_turned_over_grows_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    path = tmp_path / "log"
    log, observer = turned(path, 50, 3)
    monkeypatch.setattr(os, "replace", refuse)
    for number in range(5):
        log.warn("{n}", n=number)
    observer.stopService()
    assert last_words(path) == ["0", "1", "2", "3", "4"]


def test_a_log_that_somebody_else_turned_over_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log, observer, _ = started(path)
    log.warn("one")
    path.rename(tmp_path / "log.1")
    log.info("two")
    observer.reopen()
    log.warn("three")
    observer.stopService()
    assert (last_words(tmp_path / "log.1"), last_words(path)) == (["one", "two"], ["three"])


def test_a_log_goes_to_stdout_in_place_of_its_file(tmp_path: Path) -> None:
    reads, writes = os.pipe()
    observer = file_observer(str(tmp_path / "log"), Clock(), rotation=Rotation(10, 1))
    observer.divert(writes)
    observer.startService()
    log = Logger("test", observer=observer)
    log.warn("one")
    log.warn("two")
    observer.stopService()
    os.close(writes)
    with open(reads) as pipe:
        assert [line.split()[-1] for line in pipe] == ["one", "two"]
    assert os.listdir(tmp_path) == []


# ---- SIGHUP


class Later:
    """A reactor that is asked to do things by signal handlers."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def callFromThread(self, work: Any) -> None:
        self.asked.append(work)


@pytest.fixture
def hangup() -> Iterator[None]:
    """What SIGHUP did before the test, it does after it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hangup")
def test_a_hangup_opens_the_log_again_unless_it_may_be_that_of_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    later, reopen = Later(), object()
    monkeypatch.setattr(logging, "_has_terminal", lambda: True)
    logging.on_hangup(later, reopen)  # type: ignore[arg-type]
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    monkeypatch.setattr(logging, "_has_terminal", lambda: False)
    logging.on_hangup(later, reopen)  # type: ignore[arg-type]
    os.kill(os.getpid(), signal.SIGHUP)
    assert later.asked == [reopen]


# ---- followed


def test_a_follower_reads_a_log_that_is_turned_over_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("before\n")
    follower = Follower(path)
    with path.open("a") as old:
        old.write("one\ntw")
        old.flush()
        assert follower.lines() == ["one"]
        path.rename(tmp_path / "log.1")
        path.touch()  # as logrotate does, while the node still writes to the old one
        old.write("o\nthree\n")
        old.flush()
        assert follower.lines() == ["two", "three"]
        old.write("four\nto")
    path.write_text("five\n")
    assert follower.lines() == ["four", "to", "five"]
    path.write_text("s\n")  # cut off
    assert follower.lines() == ["s"]
    path.unlink()
    assert follower.lines() == []
    path.write_text("seven\n")
    assert follower.lines() == ["seven"]


def test_a_follower_of_a_log_that_is_not_there_yet_misses_nothing(tmp_path: Path) -> None:
    follower = Follower(tmp_path / "log")
    assert follower.lines() == []
    log, observer = turned(tmp_path / "log", 200, 5)
    seen = []
    for number in range(12):
        log.warn("{n}", n=number)
        if number % 3 == 2:
            seen += follower.lines()
    observer.stopService()
    assert [int(line.split()[-1]) for line in seen] == list(range(12))
