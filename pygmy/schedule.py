"""How often a replica backs itself up, and how many of its backups it keeps."""

import math

from msgspec import Struct

MOST_HOURS = 8760.0  # a year
MOST_KEPT = 1000


class Schedule(Struct, frozen=True):
    """A backup every `hours` hours (0: only when asked for one); the last `kept` stay."""

    hours: float = 6.0
    kept: int = 7


def hours_from(text: str) -> float:
    """`6`, `0.5`, or `0` for never. ValueError says what was expected."""
    try:
        hours = float(text)
    except ValueError:
        hours = math.nan
    if not 0 <= hours <= MOST_HOURS:
        raise ValueError(f"expected hours from one backup to the next, up to {MOST_HOURS:g}, or 0 for none.")
    return hours


def kept_from(text: str) -> int:
    """`7`. ValueError says what was expected."""
    kept = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    if not 1 <= kept <= MOST_KEPT:
        raise ValueError(f"expected how many backups are kept, 1 to {MOST_KEPT}.")
    return kept
