"""A virtual environment for each peer, made once and kept in the cache folder."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from trouble import CannotRun

LONGEST = 600.0


def cache() -> Path:
    """PYGMY_PEERS_CACHE, else pygmy-peers in the user's cache folder."""
    named = os.environ.get("PYGMY_PEERS_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(named) if named else Path(base) / "pygmy-peers"


def place(requirements: Path) -> Path:
    """Where the environment for these requirements is: another one for other requirements or another Python."""
    key = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:12]
    return cache() / f"{requirements.parent.name}-{key}"


def environment(requirements: Path) -> Path:
    """The folder of its programs; made if it is not there. Raises CannotRun."""
    directory = place(requirements)
    done = directory / "complete"
    if not done.exists():
        shutil.rmtree(directory, ignore_errors=True)
        print(f"Making the environment {directory} ...", file=sys.stderr, flush=True)
        _run("no virtual environment", [sys.executable, "-m", "venv", str(directory)])
        pip = [str(directory / "bin" / "python"), "-m", "pip", "install", "--quiet", "-r", str(requirements)]
        _run(f"{requirements.parent.name}/requirements.txt could not be installed", pip)
        done.touch()
    return directory / "bin"


def _run(what: str, command: list[str]) -> None:
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotRun(f"{what}: {error}") from None
    if result.returncode:
        errors = [line for line in result.stderr.splitlines() if line.startswith("ERROR")] or [result.stderr[-200:]]
        raise CannotRun(f"{what}: {errors[-1].strip()}")
