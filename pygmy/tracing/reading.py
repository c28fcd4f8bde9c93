"""Log files read back: lines for people and JSON, those that were turned over too."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import msgspec
from msgspec import Struct


class Line(Struct, frozen=True):
    """One event of a node's log. `at`: seconds since 1970, in whole milliseconds; `rid`: "" without a request."""

    node: str
    at: float
    rid: str
    message: str


class _Entry(Struct):
    time: str
    message: str
    request_id: str = ""


_ENTRY = msgspec.json.Decoder(_Entry)


def read_log(path: Path, node: str) -> Iterator[Line]:
    """All events in the log at `path` and those that it has been before, the oldest first. Raises OSError."""
    older = [one for one in path.parent.glob(f"{path.name}.*") if one.suffix[1:].isdigit()]
    for one in [*sorted(older, key=lambda old: -int(old.suffix[1:])), path]:
        with one.open(encoding="utf-8", errors="replace") as file:
            for text in file:
                line = parsed(text, node)
                if line is not None:
                    yield line


def parsed(text: str, node: str) -> Line | None:
    """The event in one line; None: that is not the beginning of one."""
    try:
        if text.startswith("{"):
            entry = _ENTRY.decode(text)
            return Line(node, _seconds(entry.time), entry.request_id, entry.message)
        time, _, rid, message = text.rstrip("\n").split(" ", 3)
        known = rid[1:-1]
        return Line(node, _seconds(time), "" if known == "-" else known, message)
    except ValueError:  # a msgspec.DecodeError is one, too
        return None


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()
