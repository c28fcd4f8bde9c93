"""What customers need of a store, whoever runs it, and what they buy there."""

import http.client
from collections.abc import Sequence
from typing import Any, Protocol

from msgspec import Struct

from pygmy.private import LONGEST, Headers, Reply

TOPICS = ("fiction", "cookery", "travel")
SHELF = tuple(range(1, 9))  # what traffic looks at and buys
OWN = tuple(range(9, 30))  # what single drills may use for themselves
FEW = 3  # copies for which four buyers come


class Shop(Protocol):
    """A store as its customers see it: a private one, or one that runs already."""

    @property
    def names(self) -> Sequence[str]:
        """All its nodes."""

    @property
    def doors(self) -> Sequence[str]:
        """The nodes through which one goes in."""

    def alive(self, name: str) -> bool:
        """False if it is known that the node's process has ended."""

    def health(self, name: str, timeout: float = 0.5) -> dict[str, Any]:
        """What is said of the node, as in its /health; {} if nothing is."""

    def connect(self, name: str, timeout: float = LONGEST) -> http.client.HTTPConnection:
        """A connection of a client's own to a door."""

    def get(self, name: str, path: str, headers: Headers | None = None, timeout: float = LONGEST) -> Reply:
        """One request to a door. Raises OSError, HTTPException."""


class Wares(Struct, frozen=True):
    """What is bought. `shelf`: by all customers; `own`: by a drill alone; `few`: FEW copies each, by a drill alone.

    `sole`: nobody else buys any of it, so that what is left can be told from what was sold.
    """

    shelf: Sequence[int] = SHELF
    topics: Sequence[str] = TOPICS
    own: Sequence[int] = OWN[:8]
    few: Sequence[int] = OWN[:8]
    sole: bool = True


PRIVATE = Wares()


def shelves(own: int = 1_000_000) -> list[dict[str, object]]:
    """What a drill's private store opens with; `own`: copies of each book that traffic leaves alone."""
    return [
        {"id": item, "title": f"Book {item}", "topic": TOPICS[item % 3], "cost": 10.25 + item, "count": count}
        for item, count in [*((item, 10_000_000) for item in SHELF), *((item, own) for item in OWN)]
    ]
