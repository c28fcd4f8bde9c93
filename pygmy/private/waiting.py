"""Waiting for what should come: never for a time to pass."""

import http.client
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

LONGEST = 30.0  # seconds: more than any healthy machine needs for anything
PAUSE = 0.02


class NeverCame(Exception):
    """What should have come has not; str() says what, and what was seen instead."""


def until(
    look: Callable[[], T | None], what: str, hints: Callable[[], str] = lambda: "", longest: float = LONGEST
) -> T:
    """The first result of `look()` that is true. OSError and HTTPException count as not yet. Raises NeverCame."""
    deadline = time.monotonic() + longest
    last: object = None
    while time.monotonic() < deadline:
        try:
            last = look()
        except (OSError, http.client.HTTPException) as error:
            last = error
        else:
            if last:
                return last
        time.sleep(PAUSE)
    raise NeverCame(f"It never came to {what}; last seen: {last!r}\n{hints()}")
