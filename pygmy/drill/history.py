"""What clients saw, written down as it comes: to memory a history of an hour would be a burden."""

import threading
import time
from collections import Counter, deque
from pathlib import Path
from typing import BinaryIO

import msgspec

from pygmy.checker.history import Record

_ENCODER = msgspec.json.Encoder()

# The one clock of a history: never set, and the same for all clients.
now = time.monotonic


class Recorder:
    """The file of a history, and what is told of it while it grows. All clients share it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.outcomes: Counter[str] = Counter()
        self.acknowledged: deque[float] = deque()  # when each write that took effect was answered
        self.problems: list[str] = []
        self._file: BinaryIO = path.open("wb")
        self._lock = threading.Lock()

    def add(self, *records: Record) -> None:
        """Write down what was seen."""
        lines = b"".join(_ENCODER.encode(record) + b"\n" for record in records)
        with self._lock:
            self._file.write(lines)

    def count(self, outcome: str) -> None:
        """One more request that ended so."""
        with self._lock:
            self.outcomes[outcome] += 1

    def took_effect(self, answered: float) -> None:
        """A write was acknowledged."""
        self.acknowledged.append(answered)

    def wrong(self, problem: str) -> None:
        """What no client should ever see."""
        with self._lock:
            self.problems.append(problem)

    def close(self) -> None:
        """All is written."""
        self._file.close()
