"""1: what a front end's cache does for lookups and buys, over requests and over clients."""

from pygmy.bench.desk import Desk
from pygmy.bench.measuring import Findings, Measurement, milliseconds
from pygmy.bench.results import Curve
from pygmy.bench.statistics import median
from pygmy.bench.stores import BenchStore, buys, lookups

CACHED, UNCACHED = "frontend-0", "frontend-2"
BOOKS = range(1, 51)
FOUR = ("lookup with cache", "lookup without cache", "buy with cache", "buy without cache")


def work(desk: Desk, findings: Findings) -> None:
    """First one customer, request by request; then more and more clients."""
    with desk.standard() as store:
        single = one_by_one(desk, store, desk.either(30, 500))
        crowds = by_clients(desk, store, desk.either((8,), (4, 16, 64)), desk.either(1.0, 5.0))
    middle = {name: median(values) for name, values in single.items()}
    findings.ratio("time of a lookup: without cache, against with cache", middle[FOUR[1]], middle[FOUR[0]])
    findings.ratio("time without cache: of a buy, against a lookup", middle[FOUR[3]], middle[FOUR[1]], "lower")
    findings.ratio(
        "time of a buy: at a front end with cache, against one without", middle[FOUR[2]], middle[FOUR[3]], "lower"
    )
    findings.plot(
        "Latency request by request, one client",
        x="request",
        y="ms",
        curves=[Curve(name, _numbered(values)) for name, values in single.items()],
        scatter=True,
        log_y=True,
    )
    findings.plot(
        "Median latency against clients",
        x="clients",
        y="ms",
        curves=[Curve(name, ((1, milliseconds(middle[name])), *points)) for name, points in crowds.items()],
        log_x=True,
        log_y=True,
        better="lower",
    )


def one_by_one(desk: Desk, store: BenchStore, rounds: int) -> dict[str, list[float]]:
    """Latencies of the four in turn, so that whatever else happens on the machine meets all of them alike.

    With cache, the book that is bought is in the cache of the front end that takes the buy.
    """
    desk.tell("one client, request by request")
    taken: dict[str, list[float]] = {name: [] for name in FOUR}
    with desk.customer(store.server(CACHED)) as near, desk.customer(store.server(UNCACHED)) as far:
        for turn in range(rounds):
            kept, sold, other = BOOKS[0], 201 + turn % 100, 401 + turn % 100
            near.lookup(sold)
            for name, seconds in (
                (FOUR[0], near.lookup(kept)),
                (FOUR[1], far.lookup(kept)),
                (FOUR[2], near.buy(sold)),
                (FOUR[3], far.buy(other)),
            ):
                taken[name].append(seconds)
    return taken


def by_clients(
    desk: Desk, store: BenchStore, crowds: tuple[int, ...], seconds: float
) -> dict[str, tuple[tuple[float, float], ...]]:
    """Median latency of the four for each number of clients."""
    near, far = store.server(CACHED), store.server(UNCACHED)
    loads = (
        (FOUR[0], near, lookups(BOOKS)),
        (FOUR[1], far, lookups(BOOKS)),
        (FOUR[2], near, buys(range(201, 301))),
        (FOUR[3], far, buys(range(401, 501))),
    )
    desk.warm(near, lookups(BOOKS))
    points: dict[str, list[tuple[float, float]]] = {name: [] for name in FOUR}
    for clients in crowds:
        for name, server, requests in loads:
            outcome = desk.closed(name, server, requests, clients, seconds)
            points[name].append((clients, milliseconds(outcome.latency[50.0])))
    return {name: tuple(found) for name, found in points.items()}


def _numbered(values: list[float]) -> tuple[tuple[float, float], ...]:
    return tuple((number, milliseconds(value)) for number, value in enumerate(values, 1))


MEASUREMENT = Measurement(
    "cache",
    "Lookups and buys, with cache and without",
    "One store, whose front ends keep a cache or not; two catalogs, two order servers. First one client does the "
    "four things in turn on a kept connection, and each is timed. Then a closed loop for each of them and each "
    "number of clients. A buy with cache is of a book that the front end has cached and that is dropped before it "
    "is answered.",
    work,
)
