"""Following log files as `tail -F` does: whole lines only, through truncation and replacement."""

import os
from pathlib import Path

MOST_BYTES = 1 << 20


class Follower:
    """The new lines of one log file, from the moment this is made (`skip`: of its end) on."""

    def __init__(self, path: Path, *, skip: bool = True) -> None:
        self._path = path
        self._inode = 0
        self._offset = 0
        self._rest = b""
        if skip and path.exists():
            status = path.stat()
            self._inode, self._offset = status.st_ino, status.st_size

    def lines(self) -> list[str]:
        """The lines that were completed since the last call."""
        try:
            with self._path.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_ino != self._inode or status.st_size < self._offset:
                    self._inode, self._offset, self._rest = status.st_ino, 0, b""
                file.seek(self._offset)
                data = file.read(MOST_BYTES)
        except OSError:
            return []
        self._offset += len(data)
        *whole, self._rest = (self._rest + data).split(b"\n")
        return [line.decode("utf-8", "replace") for line in whole]
