"""A node's log file: written a buffer at a time, turned over by size, opened again when somebody else did that."""

import math
import os
from contextlib import suppress
from itertools import pairwise
from stat import S_ISREG
from threading import RLock, get_ident
from typing import Any

from msgspec import Struct
from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import ILogObserver, LogEvent, LogLevel
from zope.interface import implementer

from pygmy.logs.formats import Format
from pygmy.logs.lines import event_as_line

FLUSH_SECONDS = 0.2
FULL_BUFFER = 512  # events
_LOST = "{count} log lines were lost: they could not be written"
_AT_ONCE = frozenset((LogLevel.warn, LogLevel.error, LogLevel.critical))


class Rotation(Struct, frozen=True):
    """A log is turned over before it grows beyond `bytes` (0: never); the last `kept` stay, as log.1, log.2, ..."""

    bytes: int = 0
    kept: int = 0


@implementer(ILogObserver)
class LogFile(Service):
    """Writes events to the end of a file, a buffer at a time; warnings and worse at once.

    It may be called from any thread, and never raises: while the file cannot be written, lines are dropped,
    counted, and the count is written once it can. Before the service starts, events wait in the buffer.
    """

    def __init__(
        self,
        path: str,
        reactor: Any,
        form: Format = event_as_line,
        rotation: Rotation = Rotation(),  # noqa: B008
    ) -> None:
        self._path = os.path.abspath(path)
        self._form = form
        self._rotation = rotation
        self._stream: int | None = None
        self._events: list[LogEvent] = []
        self._dropped = 0
        self._torn = False  # the file ends within a line
        self._descriptor: int | None = None
        self._room = math.inf  # bytes that the open file may still take
        # A collection may come in the midst of anything, and what it finds (a failure that nobody took) is logged.
        self._lock = RLock()
        self._writing = False
        self._reactor = reactor
        self._thread = 0
        self._asked = False  # a flush is to come
        self._call: IDelayedCall | None = None

    def __call__(self, event: LogEvent) -> None:
        """Take an event; debug ones are not kept."""
        level = event.get("log_level", LogLevel.info)
        if level is LogLevel.debug:
            return
        with self._lock:
            self._events.append(event)
            full = len(self._events) >= FULL_BUFFER
            due = full or level in _AT_ONCE
            asks = bool(self.running) and not due and not self._asked
            self._asked = self._asked or asks
        if due and (self.running or full):
            self.flush()
        elif asks:
            self._ask()

    def startService(self) -> None:
        """From now on a line is written within `FLUSH_SECONDS`. To be called in the reactor's thread."""
        self._thread = get_ident()
        super().startService()
        self.flush()

    def stopService(self) -> None:
        """Write the rest and close the file."""
        super().stopService()
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._asked = False
        self.reopen()

    def _ask(self) -> None:
        """Flush in a while. A node that logs nothing is not woken for it."""
        if get_ident() == self._thread:
            self._wait()
        else:
            self._reactor.callFromThread(self._wait)

    def _wait(self) -> None:
        if self.running:
            self._call = self._reactor.callLater(FLUSH_SECONDS, self._flush_as_asked)

    def _flush_as_asked(self) -> None:
        with self._lock:
            self._asked = False
        self.flush()

    def divert(self, stream: int) -> None:
        """Write to this open descriptor in place of the file. To be called before the service starts."""
        self._stream = stream

    def reopen(self) -> None:
        """Write what is buffered, and close the file: what comes next goes to whatever then has its name."""
        self.flush()
        with self._lock:
            self._close()

    def flush(self) -> None:
        """Hand what is buffered to the operating system."""
        with self._lock:
            if self._writing:
                return  # what has come meanwhile is written next
            self._writing = True
            try:
                while self._events:
                    self._flush_events()
            finally:
                self._writing = False

    def _flush_events(self) -> None:
        """They become lines only now: many at a time it takes half as long, and no request waits for it."""
        events, self._events = self._events, []
        if self._write("".join(map(self._form, events)).encode("utf-8", "backslashreplace")):
            self._dropped = 0
            self._torn = False
        else:
            self._dropped += len(events)

    def _write(self, data: bytes) -> bool:
        try:
            descriptor = self._open(len(data))
            rest = memoryview(self._note() + data)
            while rest:
                written = os.write(descriptor, rest)
                rest = rest[written:]
                self._room -= written
                self._torn = True
        except OSError:
            self._close()
            return False
        return True

    def _note(self) -> bytes:
        """What has to be said before the next line."""
        if not self._dropped:
            return b""
        event = {"log_level": LogLevel.warn, "log_namespace": __name__, "log_format": _LOST, "count": self._dropped}
        return b"\n" * self._torn + self._form(event).encode()

    def _open(self, size: int) -> int:
        """A descriptor to which so many bytes may be written. Raises OSError."""
        descriptor = self._open_file() if self._descriptor is None else self._descriptor
        if self._room >= size or self._room == self._rotation.bytes:  # the latter: it is empty
            return descriptor
        self._close()
        self._turn_over()
        return self._open_file()

    def _open_file(self) -> int:
        if self._stream is not None:
            self._descriptor = os.dup(self._stream)
            return self._descriptor
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._descriptor = os.open(self._path, flags, 0o644)
        status = os.fstat(self._descriptor)
        if self._rotation.bytes and S_ISREG(status.st_mode):
            self._room = self._rotation.bytes - status.st_size
        return self._descriptor

    def _turn_over(self) -> None:
        """Give the file and its elders the next number each. Where that cannot be done, it grows on."""
        names = [self._path, *(f"{self._path}.{number}" for number in range(1, self._rotation.kept + 1))]
        for younger, older in reversed(list(pairwise(names))):
            with suppress(OSError):
                os.replace(younger, older)
        self._torn = False

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        self._room = math.inf
        if descriptor is not None:
            with suppress(OSError):  # the last writes are lost, as all are on a disk that fails
                os.close(descriptor)


def file_observer(
    path: str,
    reactor: Any,
    form: Format = event_as_line,
    rotation: Rotation = Rotation(),  # noqa: B008
) -> LogFile:
    """The observer, and service, that logs to the file at `path`, which is opened when the service starts."""
    return LogFile(path, reactor, form, rotation)
