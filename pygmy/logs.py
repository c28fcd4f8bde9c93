"""One log file per node: `2026-11-23T10:00:00.123Z info [request id or -] message`, one line an event.

The request id is the keyword `rid` of the event: `log.info("cached item {item}", item=1, rid=request_id)`.
A traceback follows its line, each of its lines indented, so a line that begins with a date is always an event.
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from threading import Lock
from typing import Any, TextIO

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from twisted.python.failure import Failure
from zope.interface import implementer

FLUSH_SECONDS = 0.2
FULL_BUFFER = 1 << 16
_AT_ONCE = frozenset((LogLevel.warn, LogLevel.error, LogLevel.critical))


@implementer(ILogObserver)
class LogFile(Service):
    """Writes events to the end of a file, a buffer at a time; warnings and worse at once.

    It may be called from any thread, and never raises: while the file cannot be written, lines are dropped,
    counted, and the count is written once it can. Before the service starts, events wait in the buffer.
    """

    def __init__(self, path: str, clock: IReactorTime) -> None:
        self._path = os.path.abspath(path)
        self._lines: list[str] = []
        self._size = 0
        self._dropped = 0
        self._torn = False  # the file ends within a line
        self._descriptor: int | None = None
        self._lock = Lock()
        self._loop = LoopingCall(self.flush)
        self._loop.clock = clock

    def __call__(self, event: LogEvent) -> None:
        """Take an event; debug ones are not kept."""
        level = event.get("log_level", LogLevel.info)
        if level is LogLevel.debug:
            return
        line = event_as_line(event)
        with self._lock:
            self._lines.append(line)
            self._size += len(line)
            due = level in _AT_ONCE or self._size >= FULL_BUFFER
        if due and (self.running or self._size >= FULL_BUFFER):
            self.flush()

    def startService(self) -> None:
        """Open the file and write every `FLUSH_SECONDS` from now on."""
        super().startService()
        self.flush()
        self._loop.start(FLUSH_SECONDS, now=False)

    def stopService(self) -> None:
        """Write the rest and close the file."""
        super().stopService()
        if self._loop.running:
            self._loop.stop()
        self.flush()
        with self._lock:
            self._close()

    def flush(self) -> None:
        """Hand what is buffered to the operating system."""
        with self._lock:
            if not self._lines:
                return
            lines, self._lines, self._size = self._lines, [], 0
            note = ["\n" * self._torn + _dropped_line(self._dropped)] if self._dropped else []
            if self._write("".join(note + lines).encode("utf-8", "backslashreplace")):
                self._dropped = 0
                self._torn = False
            else:
                self._dropped += len(lines)

    def _write(self, data: bytes) -> bool:
        try:
            if self._descriptor is None:
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
                self._descriptor = os.open(self._path, flags, 0o644)
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
                self._torn = True
        except OSError:
            self._close()
            return False
        return True

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with suppress(OSError):  # the last writes are lost, as all are on a disk that fails
                os.close(descriptor)


def file_observer(path: str, clock: IReactorTime) -> LogFile:
    """The observer, and service, that logs to the file at `path`, which is opened when the service starts."""
    return LogFile(path, clock)


def stream_observer(stream: TextIO) -> Callable[[LogEvent], None]:
    """An observer that writes the same lines to an open stream, each at once, for as long as it takes them."""

    def observe(event: LogEvent) -> None:
        if event.get("log_level") is LogLevel.debug:
            return
        try:
            stream.write(event_as_line(event).encode("utf-8", "backslashreplace").decode())
            stream.flush()
        except (OSError, ValueError):
            pass  # no one reads it any more

    observer: Callable[[LogEvent], None] = implementer(ILogObserver)(observe)
    return observer


def event_as_line(event: LogEvent) -> str:
    """The event as it stands in the file, newline included. Never raises."""
    level = event.get("log_level", LogLevel.info)
    rid = event.get("rid")
    rid = "-" if rid is None else escaped(str(rid)).replace(" ", "_")
    line = f"{_timestamp(event.get('log_time'))} {level.name} [{rid}] {escaped(_message(event))}\n"
    failure = event.get("log_failure")
    return line if failure is None else line + _traceback(failure)


def escaped(text: str) -> str:
    """The text with everything that does not print (line ends, escape sequences, bidi marks) as \\x.. or \\u...."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _message(event: LogEvent) -> str:
    template = event.get("log_format")
    if isinstance(template, str) and "(" not in template:
        try:
            return template.format_map(event)  # five times as fast as formatEvent, which takes what this does not
        except Exception:
            pass
    return formatEvent(event)


def _traceback(failure: Any) -> str:
    try:
        text = failure.getTraceback() if isinstance(failure, Failure) else str(failure)
    except Exception:
        text = "(a traceback that cannot be shown)"
    return "".join(f"    {escaped(line)}\n" for line in text.splitlines())


def _timestamp(seconds: Any) -> str:
    moment = seconds if isinstance(seconds, float) else time.time()
    whole = int(moment)
    return f"{_second(whole)}.{int((moment - whole) * 1000):03d}Z"


@lru_cache(maxsize=4)
def _second(whole: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))


def _dropped_line(count: int) -> str:
    return f"{_timestamp(None)} warn [-] {count} log lines were lost: they could not be written\n"
