"""What is written, on the disk: of one file, and of a database that a killed process has left to the kernel."""

import contextlib
import os
from pathlib import Path


def flush_file(path: str | Path) -> None:
    """Have a file's bytes, or a directory's names, on the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_database(path: str) -> None:
    """Make the database at `path`, as it is now, survive a power cut. Raises OSError. Nobody may have it open.

    A process that is killed between a commit's writes and its fsync leaves a commit that is there to be read, and
    gone after a power cut.  Whoever starts from it vouches for it, so it has to be durable first.
    """
    for name in (path, f"{path}-wal", os.path.dirname(os.path.abspath(path))):
        with contextlib.suppress(FileNotFoundError):
            flush_file(name)
