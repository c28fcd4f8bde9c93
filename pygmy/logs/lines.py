"""An event as a line: `2026-11-23T10:00:00.123Z info [request id or -] message`.

The request id is the keyword `rid` of the event: `log.info("cached item {item}", item=1, rid=request_id)`.
A traceback follows its line, each of its lines indented, so a line that begins with a date is always an event.
"""

import time
from functools import lru_cache
from typing import Any

from twisted.logger import LogEvent, LogLevel, formatEvent
from twisted.python.failure import Failure


def event_as_line(event: LogEvent) -> str:
    """The event as it stands in the file, newline included. Never raises."""
    level = event.get("log_level", LogLevel.info)
    rid = event.get("rid")
    rid = "-" if rid is None else str(rid).replace(" ", "_")
    line = escaped(f"{timestamp(event.get('log_time'))} {level.name} [{rid}] {message_of(event)}") + "\n"
    trace = traceback_of(event)
    return line if trace is None else line + "".join(f"    {escaped(part)}\n" for part in trace.splitlines())


def escaped(text: str) -> str:
    """The text with everything that does not print (line ends, escape sequences, bidi marks) as \\x.. or \\u...."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def message_of(event: LogEvent) -> str:
    """What the event says. Never raises."""
    template = event.get("log_format")
    if isinstance(template, str) and "(" not in template:
        try:
            return template.format_map(event)  # five times as fast as formatEvent, which takes what this does not
        except Exception:
            pass
    return formatEvent(event)


def traceback_of(event: LogEvent) -> str | None:
    """The traceback of the failure that the event is about, if it is about one. Never raises."""
    failure = event.get("log_failure")
    if failure is None:
        return None
    try:
        return failure.getTraceback() if isinstance(failure, Failure) else str(failure)
    except Exception:
        return "(a traceback that cannot be shown)"


def timestamp(seconds: Any) -> str:
    """`2026-11-23T10:00:00.123Z`; now, if those are no seconds."""
    moment = seconds if isinstance(seconds, float) else time.time()
    return _stamp(int(moment * 1000))


@lru_cache(maxsize=64)  # what is logged together has few of them
def _stamp(milliseconds: int) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:03d}Z"
