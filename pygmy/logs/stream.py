"""The log on a terminal, or on whatever else stdout is."""

from collections.abc import Callable
from typing import TextIO

from twisted.logger import ILogObserver, LogEvent, LogLevel
from zope.interface import implementer

from pygmy.logs.formats import Format
from pygmy.logs.lines import event_as_line


def stream_observer(stream: TextIO, form: Format = event_as_line) -> Callable[[LogEvent], None]:
    """An observer that writes events to an open stream, each at once, for as long as it takes them."""

    def observe(event: LogEvent) -> None:
        if event.get("log_level") is LogLevel.debug:
            return
        try:
            stream.write(form(event).encode("utf-8", "backslashreplace").decode())
            stream.flush()
        except (OSError, ValueError):
            pass  # no one reads it any more

    observer: Callable[[LogEvent], None] = implementer(ILogObserver)(observe)
    return observer
