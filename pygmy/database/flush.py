"""A database that a killed process has left to the kernel, on the disk."""

import contextlib
import os

from pygmy.durable import flush_file


def flush_database(path: str) -> None:
    """Make the database at `path`, as it is now, survive a power cut. Raises OSError. Nobody may have it open.

    A process that is killed between a commit's writes and its fsync leaves a commit that is there to be read, and
    gone after a power cut.  Whoever starts from it vouches for it, so it has to be durable first.
    """
    for name in (path, f"{path}-wal", os.path.dirname(os.path.abspath(path))):
        with contextlib.suppress(FileNotFoundError):
            flush_file(name)
