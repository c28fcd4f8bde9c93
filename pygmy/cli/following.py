"""Following log files as `tail -F` does: whole lines only, through truncation, replacement and rotation."""

import os
from io import FileIO
from pathlib import Path

MOST_BYTES = 1 << 20


class Follower:
    """The new lines of one log file, from the moment this is made (`skip`: of its end) on.

    A file that was turned over is read to its end before the one that has its name now.
    """

    def __init__(self, path: Path, *, skip: bool = True) -> None:
        self._path = path
        self._rest = b""
        self._file = _opened(path)
        if skip and self._file is not None:
            self._file.seek(0, os.SEEK_END)

    def lines(self) -> list[str]:
        """The lines that were completed since the last call."""
        try:
            data = self._read()
        except OSError:
            return []
        *whole, self._rest = (self._rest + data).split(b"\n")
        return [line.decode("utf-8", "replace") for line in whole]

    def _read(self) -> bytes:
        if self._file is None:
            self._file = _opened(self._path)
            if self._file is None:
                return b""
        replaced = self._replaced(self._file)  # asked first: what is written to the old file was written before that
        if os.fstat(self._file.fileno()).st_size < self._file.tell():
            self._file.seek(0)
            self._rest = b""
        data = self._file.read(MOST_BYTES) or b""
        if not replaced or len(data) == MOST_BYTES:
            return data
        self._file.close()
        self._file = None
        torn = bool(self._rest + data) and not (self._rest + data).endswith(b"\n")
        return data + b"\n" * torn + self._read()

    def _replaced(self, file: FileIO) -> bool:
        """True if another file has the name, and something is written to it: its writer has left the old one."""
        try:
            now = self._path.stat()
        except OSError:
            return False
        before = os.fstat(file.fileno())
        return (now.st_dev, now.st_ino) != (before.st_dev, before.st_ino) and now.st_size > 0


def _opened(path: Path) -> FileIO | None:
    try:
        return FileIO(path)
    except OSError:
        return None
