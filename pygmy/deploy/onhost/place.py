"""Where things are on a host, and what steps are made of: commands, users, links, systemd.

PREFIX/versions/<id>/   a virtual environment, the cluster file and the settings; `complete` once all is there
PREFIX/nodes/<node>/    `version`, a link to what this node runs, and `stamp`, what else it was started with
PREFIX/data/            the data directory of this host's nodes
PREFIX/current          a link to the version that was deployed last, for people
"""

import contextlib
import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MARK = "pygmy:"
USER = "pygmy"  # whom nodes run as where root deploys them
UNITS = Path("/etc/systemd/system")
LAST_LINES = 8
SBIN = ":/usr/local/sbin:/usr/sbin:/sbin"  # not on every PATH that ssh gives
LOG_NAMES = {"catalog": "catalog.log", "order": "orders.log", "frontend": "frontend.log"}

Json = dict[str, Any]


class StepFailed(Exception):
    """A step could not be done: why in one sentence, and the last lines of whatever said so."""

    def __init__(self, why: str, lines: Sequence[str] = ()) -> None:
        super().__init__(why)
        self.lines = list(lines)[-LAST_LINES:]


class Place:
    """Where things are on this host."""

    def __init__(self, prefix: str) -> None:
        self.prefix = Path(os.path.expanduser(prefix))
        if not self.prefix.is_absolute():
            raise StepFailed(f"expected an absolute --prefix, or one that begins with ~/, and not {prefix!r}")
        self.versions = self.prefix / "versions"
        self.environments = self.prefix / "environments"
        self.nodes = self.prefix / "nodes"
        self.data = self.prefix / "data"
        self.current = self.prefix / "current"

    def link(self, node: str) -> Path:
        """The link to the version that the node runs."""
        return self.nodes / node / "version"

    def version(self, node: str) -> str | None:
        """The version that the node was started with last."""
        return target(self.link(node))

    def stamp(self, node: str) -> str:
        """What else it was started with: "" if that is not known."""
        with contextlib.suppress(OSError):
            return (self.nodes / node / "stamp").read_text()
        return ""

    def complete(self) -> list[str]:
        """The versions that are all there."""
        return _complete(self.versions)

    def ready(self) -> list[str]:
        """The environments that are all there."""
        return _complete(self.environments)

    def log(self, node: str) -> Path:
        """The node's log."""
        return self.data / node / LOG_NAMES[node.rpartition("-")[0]]


def _complete(home: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return sorted(path.name for path in home.iterdir() if (path / "complete").exists())
    return []


def unit(node: str) -> str:
    """`pygmy-catalog@0.service`"""
    role, _, index = node.rpartition("-")
    return f"pygmy-{role}@{index}.service"


def is_root() -> bool:
    """True for who may make users and units."""
    return os.geteuid() == 0


def has_systemd() -> bool:
    """True where systemd runs as init, and takes orders from us."""
    return is_root() and os.path.isdir("/run/systemd/system")


def command(argv: Sequence[str], *, user: str | None = None, place: Place | None = None, check: bool = True) -> str:
    """What a command has to say. Raises StepFailed with its last lines, unless told not to `check`."""
    home = {"HOME": str(place.data)} if place else {"HOME": os.environ.get("HOME", "/")}
    done = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        cwd="/",
        env={"PATH": os.environ.get("PATH", os.defpath) + SBIN, "LANG": "C.UTF-8", **home},
        check=False,
    )
    text = done.stdout.decode("utf-8", "replace")
    if check and done.returncode:
        raise StepFailed(f"{' '.join(argv[:4])} ... ended with {done.returncode}", text.strip().splitlines())
    return text


def owner() -> str | None:
    """Whom nodes run as, where that is not whoever deploys them."""
    return USER if is_root() else None


def target(link: Path) -> str | None:
    """The last part of what a link names; None: there is no such link."""
    try:
        return os.path.basename(os.readlink(link))
    except OSError:
        return None


def point(link: Path, target: Path) -> None:
    """Have the link name the target from one moment to the next."""
    draft = link.with_name(f".{link.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    draft.symlink_to(target)
    draft.replace(link)


def emit(**what: Any) -> None:
    """One line of the answer."""
    print(MARK + json.dumps(what), flush=True)


def said(text: str) -> None:
    """Something on the way."""
    emit(said=text)
