"""Where and how a node logs, out of its settings."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from msgspec import Struct

from pygmy.datadir import STDOUT, log_path
from pygmy.logs import FORMATS, Format, Rotation
from pygmy.tap.options import NodeOptions

MEGABYTE = 1_000_000


class LogPlan(Struct, frozen=True):
    """The log of one node. `to_stdout`: there alone, if somebody can read it there; else in the file at `path`."""

    path: Path
    form: Format
    rotation: Rotation
    to_stdout: bool


def plan_of(options: NodeOptions) -> LogPlan:
    """The log that these options ask for. OSError: there can be no such file as they name."""
    settings, name = options.settings, options.node.name
    named = settings["log-file"]
    path = log_path(options.data, name, named)
    if named is not None and named != STDOUT:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("ab").close()
    rotation = Rotation(int(settings["log-max-mb"] * MEGABYTE), settings["log-keep"])
    return LogPlan(path, FORMATS[settings["log-format"]](name), rotation, named == STDOUT)


def on_hangup(reactor: Any, reopen: Callable[[], None]) -> None:
    """Have SIGHUP call `reopen`, as logrotate wants it. On a terminal it stays what it is: the end of the process."""
    if _has_terminal():
        return

    def handle(number: int, frame: FrameType | None) -> None:
        reactor.callFromThread(reopen)

    signal.signal(signal.SIGHUP, handle)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
