"""What a host needs that reaches no package index: wheels of all that Pygmy depends on, for that host's Python."""

import hashlib
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

from msgspec import Struct

from pygmy.deploy.child import run

GATHER_SECONDS = 900.0
OLDEST_GLIBC, OLDEST_MUSL = 17, 1


class GatherFailed(Exception):
    """The wheels could not be had: why, and pip's last lines."""

    def __init__(self, why: str, lines: list[str]) -> None:
        super().__init__(why)
        self.lines = lines


class System(Struct, frozen=True):
    """What wheels are made for: Python's version `3.11`, the processor, the C library and its version."""

    python: str
    machine: str
    libc: str
    libc_version: str

    @classmethod
    def of(cls, python: str, machine: str, libc: list[str]) -> "System":
        """From what a host says of itself."""
        return cls(".".join(python.split(".")[:2]), machine, *libc)

    @property
    def tag(self) -> str:
        """A name for a directory: `3.11-x86_64-glibc2.36`."""
        return f"{self.python}-{self.machine}-{self.libc}{self.libc_version}"


def this_system() -> System:
    """What wheels of this machine's own are for."""
    return System.of(platform.python_version(), platform.machine(), list(platform.libc_ver()))


async def gather(reactor: Any, system: System, wheel: Path, constraints: Path, cache: Path) -> dict[str, bytes]:
    """Wheels by their names. They are kept below `cache` for the next time. Raises GatherFailed."""
    home = cache / f"{system.tag}-{hashlib.sha256(constraints.read_bytes()).hexdigest()[:12]}"
    if not home.exists():
        draft = home.with_name(f".{home.name}.{os.getpid()}")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        try:
            child = await run(
                reactor, [*_pip(system, draft), "-c", str(constraints), str(wheel)], b"", GATHER_SECONDS
            )
            if child.code:
                raise GatherFailed(f"pip found no wheels for {system.tag}", child.last_lines())
            (draft / wheel.name).unlink(missing_ok=True)
            draft.rename(home)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return {path.name: path.read_bytes() for path in sorted(home.glob("*.whl"))}


def _pip(system: System, target: Path) -> list[str]:
    """For a system like this one wheels can be built of what has none; for others they have to be there."""
    pip = [sys.executable, "-m", "pip"]
    quiet = ["--quiet", "--no-input", "--disable-pip-version-check"]
    if system == this_system():
        return [*pip, "wheel", *quiet, "--wheel-dir", str(target)]
    names = [word for name in platforms(system) for word in ("--platform", name)]
    only = ["--only-binary=:all:", "--python-version", system.python, *names]
    return [*pip, "download", *quiet, *only, "--dest", str(target)]


def platforms(system: System) -> list[str]:
    """The platform tags that run there, newest first (PEP 600, PEP 656)."""
    try:
        newest = int(system.libc_version.split(".")[1])
    except (IndexError, ValueError):
        newest = OLDEST_GLIBC if system.libc == "glibc" else OLDEST_MUSL
    if system.libc == "glibc":
        tags = [f"manylinux_2_{minor}" for minor in range(newest, OLDEST_GLIBC - 1, -1)] + ["manylinux2014"]
    else:
        tags = [f"musllinux_1_{minor}" for minor in range(newest, OLDEST_MUSL - 1, -1)]
    return [f"{tag}_{system.machine}" for tag in tags]
