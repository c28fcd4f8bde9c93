"""Who runs here: a pid file that is true exactly as long as its process holds a lock on it.

The kernel drops the lock with the process, however it ends: after kill -9 or a reboot everyone can see that the
file is stale, and a process number that was given to someone else is never mistaken for a node.
"""

import fcntl
import os
from pathlib import Path


class AlreadyRunning(OSError):
    """Another live process holds the pid file; `pid` is its number where it has written it yet."""

    def __init__(self, path: Path, pid: int | None) -> None:
        who = f"process {pid}" if pid else "another process"
        super().__init__(f"{path.parent.name} is already running on {path.parent}: {who}.")
        self.pid = pid


class PidFile:
    """The lock on one pid file, held from construction to `release` or the end of the process."""

    def __init__(self, path: Path) -> None:
        """Take the lock, making the directory where it is missing; raises AlreadyRunning, or another OSError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._fd = _lock(path)
        os.ftruncate(self._fd, 0)

    def write(self) -> None:
        """Record this process; called after daemonizing, which changes the number but keeps the lock."""
        os.pwrite(self._fd, b"%d\n" % os.getpid(), 0)

    def release(self) -> None:
        """Remove the file, then unlock it; a second call does nothing."""
        if self._fd >= 0:
            self._path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = -1


def running(path: Path) -> int | None:
    """The number of the live process behind this pid file; 0 while it has not written it yet; None: nobody runs."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _number(fd) or 0
    finally:
        os.close(fd)
    return None


def _lock(path: Path) -> int:
    """An open, locked file that is still the one at `path`: its last owner may remove it while we wait."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.exists(path) and os.path.samestat(os.fstat(fd), os.stat(path)):
                return fd
        except BlockingIOError:
            pid = _number(fd)
            os.close(fd)
            raise AlreadyRunning(path, pid) from None
        except FileNotFoundError:
            pass  # removed between the two looks: try again
        os.close(fd)


def _number(fd: int) -> int | None:
    text = os.pread(fd, 32, 0).strip()
    return int(text) if text.isdigit() else None
