"""The machine and the versions that numbers depend on."""

import os
import platform
import sqlite3
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pygmy

FLUSHES = 50
Facts = tuple[tuple[str, str], ...]


def describe(generator: str) -> Facts:
    """Names and what they are."""
    folder = Path(tempfile.gettempdir())
    return (
        ("processor", processor()),
        ("cores", f"{os.cpu_count()}; load {', '.join(f'{one:.2f}' for one in os.getloadavg())} when this run began"),
        ("memory", f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB"),
        ("system", f"{platform.system()} {platform.release()} {platform.machine()}"),
        ("disk", disk(folder)),
        ("fsync of 4 KiB", flush_time(folder)),
        ("Pygmy", f"{pygmy.__version__}{commit()}"),
        (
            "Python",
            f"{platform.python_version()} ({platform.python_implementation()}), SQLite {sqlite3.sqlite_version}",
        ),
        ("libraries", ", ".join(_versions(("twisted", "klein", "treq", "msgspec", "prometheus-client")))),
        ("load generator", generator),
    )


def processor() -> str:
    """The model's name as the kernel has it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )


def disk(folder: Path, mounts: Path = Path("/proc/mounts")) -> str:
    """What the folder is on: device, file system, and where it is mounted."""
    try:
        fields = [line.split() for line in mounts.read_text().splitlines()]
    except OSError:
        return f"{folder}"
    above = {str(folder.resolve()), *(str(parent) for parent in folder.resolve().parents)}
    found = [(len(mounted), device, kind) for device, mounted, kind, *_ in fields if mounted in above]
    if not found:
        return f"{folder}"
    # The longest place; of two file systems on one place, the one mounted last.
    _, device, kind = max(reversed(found), key=lambda one: one[0])
    return f"{folder} on {device} ({kind})"


def flush_time(folder: Path) -> str:
    """How long it takes to append 4 KiB to a file and have it on the disk: what bounds every commit from below."""
    taken = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(FLUSHES):
            file.write(b"\0" * 4096)
            file.flush()
            started = time.perf_counter()
            os.fsync(file.fileno())
            taken.append(1000 * (time.perf_counter() - started))
    return f"{statistics.median(taken):.2f} ms (median of {FLUSHES}; {min(taken):.2f} to {max(taken):.2f})"


def commit() -> str:
    """The commit of a clone, in parentheses; "" for an installed package."""
    root = Path(pygmy.__file__).parents[1]
    if not (root / ".git").exists():
        return ""
    line = ["git", "-C", str(root), "describe", "--always", "--dirty"]
    try:
        said = subprocess.run(line, capture_output=True, text=True, timeout=10, check=False).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return f" ({said})" if said else ""


def _versions(names: Iterable[str]) -> list[str]:
    found = []
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} unknown")
    return found
