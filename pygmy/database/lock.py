"""One process per database: a lock beside the file that dies with the process that holds it."""

import fcntl
import os

from pygmy.database.errors import StoreBroken, StoreLocked


class FileLock:
    """An exclusive flock on `path`.lock. It waits for no one, but touches the disk: not for the reactor thread."""

    def __init__(self, path: str) -> None:
        self._guarded = path
        self._path = path + ".lock"
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock: StoreLocked if someone has it, StoreBroken if its file cannot be made."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreBroken(f"{self._path}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise StoreLocked(f"{self._guarded} is in use by process {holder or '?'}") from error
        self._descriptor = descriptor
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let it go. The file stays: to remove it would let two processes lock two files of one name."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def holder(path: str) -> str | None:
    """Who has the database at `path` open: a process number ("?": it is not known); None: nobody. Changes nothing."""
    try:
        descriptor = os.open(path + ".lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.pread(descriptor, 20, 0).decode("ascii", "replace").strip() or "?"
    finally:
        os.close(descriptor)
    return None
