"""The stores that are measured: private ones with stock for any number of buys, or one that runs already."""

import random
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct

from pygmy.private import PrivateStore, address, private_directory

PER_TOPIC = 20
COPIES = 1_000_000_000


class Shape(Struct, frozen=True):
    """A private store: how many of what, and for each front end whether it keeps a cache."""

    catalogs: int = 2
    orders: int = 2
    caches: tuple[bool, ...] = (True,)
    books: int = 1000


# Two front ends with caches and one without, side by side before the same catalogs: most is measured on this one.
STANDARD = Shape(caches=(True, True, False))
# The same with more books for a quick run, of which one store serves many measurements: each opening takes seconds.
QUICK = Shape(caches=(True, True, False), books=2200)


class BenchStore(PrivateStore):
    """A store whose front ends differ in whether they keep a cache."""

    def __init__(self, directory: Path, shape: Shape) -> None:
        self.shape = shape
        self.opening = 0.0  # seconds until it was whole
        super().__init__(
            directory,
            catalogs=shape.catalogs,
            orders=shape.orders,
            frontends=len(shape.caches),
            books=books(shape.books),
        )

    def command(self, name: str) -> list[str]:
        """As in every store, and --no-cache where there is to be none."""
        uncached = [f"frontend-{index}" for index, cache in enumerate(self.shape.caches) if not cache]
        return [*super().command(name), *(["--no-cache"] if name in uncached else [])]

    @property
    def uncached(self) -> str:
        """The first front end that keeps no cache."""
        return f"frontend-{self.shape.caches.index(False)}"

    def server(self, name: str) -> tuple[str, int]:
        """Where a node listens."""
        return address(self.node(name))

    def metrics(self, name: str) -> "Metrics":
        """The node's metrics now."""
        return Metrics(self.get(name, "/metrics").body.decode())


@contextmanager
def opened(shape: Shape) -> Iterator[BenchStore]:
    """A private store of this shape, whole; gone at the end."""
    with private_directory("bench") as directory:
        store = BenchStore(directory, shape)
        try:
            started = time.perf_counter()
            store.start()
            store.await_whole()
            store.opening = time.perf_counter() - started
            yield store
        finally:
            store.close()


def books(count: int) -> list[dict[str, Any]]:
    """So many books, PER_TOPIC of a topic, of which none runs out."""
    return [
        {
            "id": number,
            "title": f"Measured Works, Volume {number}",
            "topic": topic(number),
            "cost": 10 + number % 90,
            "count": COPIES,
        }
        for number in range(1, count + 1)
    ]


def topic(number: int) -> str:
    """The topic of that book."""
    return f"topic {(number - 1) // PER_TOPIC}"


Requests = tuple[tuple[str, str], ...]


def lookups(numbers: range) -> Requests:
    """A lookup of each of these books, in an order by chance."""
    return _shuffled([("GET", f"/books/{number}") for number in numbers])


def searches(count: int) -> Requests:
    """A search for every topic of so many books."""
    return _shuffled([("GET", f"/books?topic=topic%20{number}") for number in range(max(1, count // PER_TOPIC))])


def buys(numbers: range) -> Requests:
    """A buy of each of these books."""
    return _shuffled([("POST", f"/books/{number}") for number in numbers])


def _shuffled(requests: list[tuple[str, str]]) -> Requests:
    random.Random(1).shuffle(requests)
    return tuple(requests)


class Metrics:
    """Prometheus text, read as far as it is needed here."""

    _LINE = re.compile(r"([a-z_]+)(?:\{(.*)\})? (\S+)")
    _LABEL = re.compile(r'([a-z_]+)="([^"]*)"')

    def __init__(self, text: str) -> None:
        found = (self._LINE.match(line) for line in text.splitlines() if not line.startswith("#"))
        self._values = [(one[1], dict(self._LABEL.findall(one[2] or "")), float(one[3])) for one in found if one]

    def total(self, name: str, **labels: str) -> float:
        """The sum of a metric over all series with these labels."""
        return sum(value for _, value in self._of(name, labels))

    def by(self, label: str, name: str, **labels: str) -> dict[str, float]:
        """The same by the values of one label."""
        found: dict[str, float] = {}
        for own, value in self._of(name, labels):
            found[own[label]] = found.get(own[label], 0.0) + value
        return found

    def _of(self, name: str, labels: dict[str, str]) -> Iterator[tuple[dict[str, str], float]]:
        for its_name, own, value in self._values:
            if its_name == name and all(own.get(key) == wanted for key, wanted in labels.items()):
                yield own, value
