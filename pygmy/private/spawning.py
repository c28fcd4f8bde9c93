"""Processes that end with this one at the latest."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pygmy

PACKAGE = Path(pygmy.__file__).parents[1]  # from where `pygmy` is imported
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG
_C = ctypes.CDLL(None) if sys.platform == "linux" else None


def environment(**more: str) -> dict[str, str]:
    """Ours, without the settings of any other store, and so that the same `pygmy` is found from any directory."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PYGMY_")}
    paths = os.pathsep.join(filter(None, [str(PACKAGE), ours.get("PYTHONPATH")]))
    return {**ours, "PYTHONPATH": paths, **more}


def spawn(
    command: Sequence[str], directory: Path, errors: Path, variables: Mapping[str, str] | None = None
) -> "subprocess.Popen[bytes]":
    """Start it in this directory, its stderr going to the file `errors`. Call it in the main thread only.

    It is in a session of its own, so that Ctrl-C reaches us alone, and we can end it in good order.
    """
    with errors.open("wb") as stderr:
        return subprocess.Popen(
            command,
            cwd=directory,
            env=dict(environment() if variables is None else variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )


def _end_with_parent() -> None:
    """Whatever ends this process, also kill -9, ends it (Linux); the end of the *thread* that started it, too."""
    if _C is not None:
        _C.prctl(_DEATH_SIGNAL, signal.SIGKILL)


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP raise KeyboardInterrupt meanwhile, as Ctrl-C does, so that what was started is ended."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    chosen = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is not signal.SIG_IGN]
    before = [(number, signal.signal(number, interrupt)) for number in chosen]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
