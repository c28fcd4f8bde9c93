"""A node's pid file, locked before Twisted is loaded.

A replica that starts again waits until nothing holds any more that an earlier process of its node has promised, and
counts from the moment in which it has the lock. Loading Twisted then takes a part of that time.
"""

from collections.abc import Sequence
from getopt import getopt
from pathlib import Path
from typing import NamedTuple

from pygmy.clock import boottime
from pygmy.cluster import Role
from pygmy.datadir import data_directory, pid_path
from pygmy.pidfile import PidFile
from pygmy.settings import Written, for_role, resolve, setting


class Claim(NamedTuple):
    """The lock on a pid file. From the moment `since` (`boottime`) on, no other process is its node."""

    pid_file: PidFile
    since: float


_early: dict[Path, Claim] = {}


def claim(path: Path) -> Claim:
    """The lock on the pid file at `path`: taken early, or now. Raises as `PidFile`."""
    early = _early.pop(path, None)
    if early is not None:
        return early
    pid_file = PidFile(path)
    return Claim(pid_file, boottime())


def claim_early(arguments: Sequence[str]) -> None:
    """Lock the pid file of the node that twistd's arguments are about, if it has run before.

    Where that cannot be told or done, nothing happens: the node itself does it, and says what is wrong.
    """
    try:
        path = _pid_path(arguments)
        if path is not None and path.parent.is_dir():
            _early[path] = claim(path)
    except Exception:
        return


def drop() -> None:
    """Unlock what nobody has taken over."""
    while _early:
        _early.popitem()[1].pid_file.release()


def _pid_path(arguments: Sequence[str]) -> Path | None:
    for role in Role:
        if f"pygmy-{role}" in arguments:
            own = arguments[arguments.index(f"pygmy-{role}") + 1 :]
            values = resolve((setting("config"), setting("data"), setting("node")), _flags(role, own))
            index = int(values["node"].removeprefix(f"{role}-"))
            return pid_path(data_directory(values["data"]), f"{role}-{index}")
    return None


def _flags(role: Role, arguments: Sequence[str]) -> dict[str, Written]:
    """The settings among a node's options, the last of each; other options need not be understood, but be known."""
    known = for_role(role)
    names = [name for one in known for name in ((one.key, f"no-{one.key}") if one.switch else (f"{one.key}=",))]
    given, _ = getopt(list(arguments), "", names)
    plain = {one.key for one in known if not one.switch}
    return {key: value for flag, value in given if (key := flag.removeprefix("--")) in plain}
