"""The processes of a peer: each ends with us, whatever ends us."""

import ctypes
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from trouble import CannotRun

LONGEST = 60.0
_C = ctypes.CDLL(None) if sys.platform == "linux" else None


class Children:
    """Processes that were started here, and are ended in the reverse order; their output is in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._running: list[tuple[str, subprocess.Popen[bytes], int]] = []

    def start(
        self,
        name: str,
        command: list[str],
        *,
        stop: int = signal.SIGTERM,
        orphaned: int = signal.SIGTERM,
        user: str | None = None,
        **environment: str,
    ) -> None:
        """`stop` ends it gracefully, `orphaned` is the signal that it gets if we die. From the main thread only."""

        def end_with_parent() -> None:
            if _C is not None:
                _C.prctl(1, orphaned)

        with (self._directory / f"{name}.log").open("ab") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **environment},
                cwd=self._directory,
                preexec_fn=end_with_parent,
                start_new_session=True,  # Ctrl-C is for us, who end them in order
                **({} if user is None else {"user": user, "group": group_of(user), "extra_groups": []}),
            )
        self._running.append((name, process, stop))

    def wait(self, what: str, ready: Callable[[], bool]) -> None:
        """Wait until it is ready. Raises CannotRun with the last words of a child that has ended instead."""
        deadline = time.monotonic() + LONGEST
        while not ready():
            for name, process, _ in self._running:
                if process.poll() is not None:
                    raise CannotRun(f"{name} has ended: {self._last_words(name)}")
            if time.monotonic() > deadline:
                raise CannotRun(f"{what} was not ready after {LONGEST:g} s")
            time.sleep(0.05)

    def ended(self) -> str | None:
        """The name of a child that has ended."""
        return next((name for name, process, _ in self._running if process.poll() is not None), None)

    def close(self) -> None:
        """End them all, the last one started first, each by its own signal; after ten seconds by force."""
        for _, process, stop in reversed(self._running):
            if process.poll() is None:
                process.send_signal(stop)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _last_words(self, name: str) -> str:
        lines = (self._directory / f"{name}.log").read_text("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


def group_of(user: str) -> int:
    import pwd

    return pwd.getpwnam(user).pw_gid


def answers(port: int) -> bool:
    """Whether a store there answers a lookup."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/books/1")
        return connection.getresponse().status in (200, 404)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def free_ports(count: int) -> list[int]:
    """Ports of the loopback on which nobody listens."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()
