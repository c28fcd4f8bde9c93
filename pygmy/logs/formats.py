"""What an event looks like: a line for people, or a JSON object for machines that collect logs."""

from collections.abc import Callable

import msgspec
from msgspec import Struct
from twisted.logger import LogEvent, LogLevel

from pygmy.logs.lines import event_as_line, message_of, timestamp, traceback_of

Format = Callable[[LogEvent], str]  # newline included; never raises


class _Entry(Struct, omit_defaults=True):
    """One event; what it does not have is left out."""

    time: str
    level: str
    logger: str
    node: str
    message: str
    request_id: str | None = None
    traceback: str | None = None


def as_text(node: str) -> Format:
    """Lines, as `pygmy.logs.lines` tells; their file says which node they are of."""
    return event_as_line


def as_json(node: str) -> Format:
    """One JSON object a line, in ASCII where a character does not print."""

    def event_as_json(event: LogEvent) -> str:
        rid, trace = event.get("rid"), traceback_of(event)
        entry = _Entry(
            timestamp(event.get("log_time")),
            event.get("log_level", LogLevel.info).name,
            _clean(str(event.get("log_namespace") or "-")),
            node,
            _clean(message_of(event)),
            None if rid is None else _clean(str(rid)),
            None if trace is None else _clean(trace),
        )
        return _printable(msgspec.json.encode(entry).decode()) + "\n"

    return event_as_json


FORMATS: dict[str, Callable[[str], Format]] = {"text": as_text, "json": as_json}


def _clean(text: str) -> str:
    """Text that UTF-8 can hold: half of a surrogate pair becomes \\udc80."""
    return text if text.isprintable() else text.encode("utf-8", "backslashreplace").decode()


def _printable(text: str) -> str:
    """JSON with what does not print in its strings as \\uXXXX: no terminal is driven by it."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))
