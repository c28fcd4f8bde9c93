"""Ids: UUIDv7 (RFC 9562), which sort by the time they were made, and for what nobody may guess; and plainer ones."""

import os
import time
from itertools import count

_BYTES, _IDS = 8, 256
_numbers = count(1)
_prefix: list[bytes] = []  # of this process
_random: list[str] = []  # the ends of the next ids: asking the system for each takes as long as all the rest
for _kept in (_random, _prefix):
    os.register_at_fork(after_in_child=_kept.clear)  # or both would make the same ids


class _Beginnings:
    """Milliseconds, version and a counter of 12 bits: each greater than the one before (RFC 9562, 6.2, method 1)."""

    _COUNTED = 1 << 12

    def __init__(self) -> None:
        self._milliseconds = 0
        self._count = 0
        self._shown = ""

    def next(self) -> str:
        now = time.time_ns() // 1_000_000
        self._count += 1
        if now > self._milliseconds:
            self._begin(now)
        elif self._count == self._COUNTED:
            self._begin(self._milliseconds + 1)
        return f"{self._shown}{self._count:03x}"

    def _begin(self, milliseconds: int) -> None:
        self._milliseconds, self._count = milliseconds, 0
        text = f"{milliseconds & ((1 << 48) - 1):012x}"
        self._shown = f"{text[:8]}-{text[8:]}-7"


_beginnings = _Beginnings()


def numbered_id() -> bytes:
    """An id that nobody else makes, though whoever has seen one knows the next: half as long to make."""
    if not _prefix:
        _prefix.append(uuid7().encode("ascii"))
    return b"%b-%x" % (_prefix[0], next(_numbers))


def uuid7() -> str:
    """A new UUIDv7 in text form; strictly growing within a process, also when the wall clock is set back."""
    if not _random:
        fresh = os.urandom(_BYTES * _IDS)
        _random.extend(_end(fresh[place : place + _BYTES]) for place in range(0, len(fresh), _BYTES))
    return f"{_beginnings.next()}-{_random.pop()}"


def _end(random: bytes) -> str:
    """Variant 2 and 62 random bits."""
    text = f"{int.from_bytes(random) >> 2 | 1 << 63:016x}"
    return f"{text[:4]}-{text[4:]}"
