"""7: catalogs of a hundred to a hundred thousand books."""

import time

from msgspec import Struct

from pygmy.bench.desk import Desk
from pygmy.bench.measuring import Findings, Measurement, milliseconds
from pygmy.bench.results import Curve
from pygmy.bench.statistics import median
from pygmy.bench.stores import PER_TOPIC, BenchStore, Shape

MIB = 2**20


class Size(Struct, frozen=True):
    """One catalog: seconds and bytes. `opening` on no data, `again` on data."""

    opening: float
    again: float
    memory: float
    lookup: float
    search: float
    page: float


def work(desk: Desk, findings: Findings) -> None:
    """A store of each size, one after the other."""
    seen = {books: measured(desk, books) for books in desk.either((1_000, 10_000), (100, 1_000, 10_000, 100_000))}
    (small, first), (large, last) = min(seen.items()), max(seen.items())
    sides = f"{large:,} books, against {small:,}"
    findings.ratio(f"time of a lookup: {sides}", last.lookup, first.lookup, "lower")
    findings.ratio(f"time of a search for a topic: {sides}", last.search, first.search, "lower")
    findings.ratio(f"memory of a catalog: {sides}", last.memory, first.memory, "lower")
    findings.ratio(f"time to start: {sides}", last.again, first.again, "lower")
    asked = {"lookup": "lookup", "search": f"a topic of {PER_TOPIC} books", "page": "a page of 100 books"}
    findings.plot(
        "Median latency without cache, one client",
        x="books",
        y="ms",
        curves=[
            Curve(name, tuple((books, milliseconds(getattr(one, key))) for books, one in seen.items()))
            for key, name in asked.items()
        ],
        log_x=True,
        better="lower",
    )
    findings.plot(
        "Memory of a catalog server",
        x="books",
        y="MiB",
        curves=[Curve("resident", tuple((books, one.memory / MIB) for books, one in seen.items()))],
        log_x=True,
        better="lower",
    )
    findings.plot(
        "Until the store serves",
        x="books",
        y="s",
        curves=[
            Curve("empty, books from a file", tuple((books, one.opening) for books, one in seen.items())),
            *([] if desk.quick else [Curve("data there", tuple((books, one.again) for books, one in seen.items()))]),
        ],
        log_x=True,
        better="lower",
    )


def measured(desk: Desk, books: int) -> Size:
    """Open, look, restart."""
    copies = desk.either(1, 2)
    with desk.store(Shape(catalogs=copies, orders=copies, caches=(False,), books=books)) as store:
        opening = store.opening
        desk.tell(f"a store of {books:,} books is asked")
        lookup, search, page = latencies(desk, store, books)
        memory = store.metrics("catalog-0").total("process_resident_memory_bytes")
        again = opening if desk.quick else started_again(desk, store)
        return Size(opening, again, memory, lookup, search, page)


def started_again(desk: Desk, store: BenchStore) -> float:
    """How long the whole store takes to start with its data there."""
    desk.tell(f"a store of {store.shape.books:,} books starts again")
    store.stop_all()
    started = time.perf_counter()
    store.whole()
    return time.perf_counter() - started


def latencies(desk: Desk, store: BenchStore, books: int) -> tuple[float, float, float]:
    """Medians of a lookup, of a search for a topic, and of a page of the list of all books."""
    rounds = desk.either(50, 300)
    step = max(1, books // rounds)
    taken: tuple[list[float], list[float], list[float]] = ([], [], [])
    with desk.customer(store.server("frontend-0")) as customer:
        for turn in range(rounds):
            book = 1 + turn * step % books
            taken[0].append(customer.lookup(book))
            taken[1].append(customer.time("GET", f"/books?topic=topic%20{(book - 1) // PER_TOPIC}"))
            taken[2].append(customer.time("GET", f"/books?after={book - 1}&limit=100"))
    return median(taken[0]), median(taken[1]), median(taken[2])


MEASUREMENT = Measurement(
    "sizes",
    "Catalogs of 100 to 100,000 books",
    "A store of each size, two catalogs, two order servers, a front end without a cache (in a quick run 1,000 and "
    "10,000 books with one replica each; of the 1,000 copies had been sold before). Opening: from starting all "
    "processes on no data, with a file of books, until all replicas serve; then again with the data there, after a "
    "graceful stop. Memory is the resident memory of a catalog as its /metrics tell it, after the lookups.",
    work,
)
