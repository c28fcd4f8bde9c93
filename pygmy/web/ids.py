"""Ids: UUIDv7 (RFC 9562), which sort by the time they were made, and for what nobody may guess; and plainer ones."""

import os
import time
from itertools import count

_RANDOM_BITS = 74
_RANDOM = (1 << _RANDOM_BITS) - 1
_BYTES, _IDS = 10, 256
_latest = 0
_numbers = count(1)
_prefix: list[bytes] = []  # of this process
_random: list[bytes] = []  # for the next ids: asking the system for each takes as long as all the rest
for _kept in (_random, _prefix):
    os.register_at_fork(after_in_child=_kept.clear)  # or both would make the same ids


def _random_bits() -> int:
    if not _random:
        fresh = os.urandom(_BYTES * _IDS)
        _random.extend(fresh[place : place + _BYTES] for place in range(0, len(fresh), _BYTES))
    return int.from_bytes(_random.pop()) & _RANDOM


def numbered_id() -> bytes:
    """An id that nobody else makes, though whoever has seen one knows the next: half as long to make."""
    if not _prefix:
        _prefix.append(uuid7().encode("ascii"))
    return b"%b-%x" % (_prefix[0], next(_numbers))


def uuid7() -> str:
    """A new UUIDv7 in text form; strictly growing within a process, also when the wall clock is set back."""
    global _latest
    fresh = (time.time_ns() // 1_000_000) << _RANDOM_BITS | _random_bits()
    _latest = fresh if fresh > _latest else _latest + 1 + (_random_bits() >> 42)
    text = f"{_shaped(_latest):032x}"  # uuid.UUID takes four times as long
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _shaped(value: int) -> int:
    """48 bits of milliseconds, version 7, 12 random bits, variant 2, 62 random bits."""
    milliseconds, random = value >> _RANDOM_BITS, value & _RANDOM
    high, low = random >> 62, random & ((1 << 62) - 1)
    return (milliseconds & ((1 << 48) - 1)) << 80 | 7 << 76 | high << 64 | 2 << 62 | low
