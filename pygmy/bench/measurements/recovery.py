"""8: how soon a catalog that was killed serves again, against the writes that it missed."""

import time

from msgspec import Struct

from pygmy.bench import loading
from pygmy.bench.desk import Desk
from pygmy.bench.loads import Load
from pygmy.bench.measuring import Findings, Measurement
from pygmy.bench.results import Curve
from pygmy.bench.stores import BenchStore, buys
from pygmy.private import LONGEST, until

BOOKS = range(1, 1001)
VICTIM = "catalog-1"
WRITERS = 16
LONGEST_WRITING = 300.0


class Recovered(Struct, frozen=True):
    """One recovery: `whole` seconds from the start of the process, `fetching` those of the transfer alone."""

    missed: int
    whole: float
    fetching: float
    batches: int
    size: int


def work(desk: Desk, findings: Findings) -> None:
    """Kill, sell, start again; more each time."""
    with desk.plain(2) as store:
        wanted = desk.either((0, 200), (0, 100, 1_000, 10_000))
        seen = [recovered(desk, store, missed) for missed in wanted]
    first, last, most = seen[0], seen[-1], wanted[-1]
    findings.ratio(f"time to recover: with {most:,} missed sales, against none", last.whole, first.whole, "lower")
    findings.plot(
        "From the start of the process until it serves",
        x="missed sales",
        y="s",
        curves=[
            Curve("until it serves", tuple((one.missed, one.whole) for one in seen)),
            Curve("of that, fetching", tuple((one.missed, one.fetching) for one in seen)),
        ],
        better="lower",
    )
    rows = [
        (f"{one.missed:,}", f"{one.whole:.2f}", f"{one.fetching:.3f}", f"{one.batches:,}", f"{one.size:,}")
        for one in seen
    ]
    head = ("missed sales", "until it serves, s", "fetching, s", "batches", "bytes")
    findings.grid("Recoveries", head, rows)


def recovered(desk: Desk, store: BenchStore, missed: int) -> Recovered:
    """Kill a catalog, have others sell, start it and wait until it is in the view and serves."""
    store.kill9(VICTIM)
    until(lambda: store.health("catalog-0").get("redundancy") == 1, "a view without the victim", longest=LONGEST)
    if missed:
        desk.tell(f"{missed:,} sales without {VICTIM}")
        server = store.server(store.uncached)
        sold = loading.make(Load(*server, buys(BOOKS), WRITERS, LONGEST_WRITING, count=missed), own=True)
        missed = sold.answered
    desk.tell(f"{VICTIM} starts again, {missed:,} sales behind")
    started = time.perf_counter()
    store.start(VICTIM)
    until(lambda: serves(store), f"{VICTIM} in the view", longest=4 * LONGEST)
    whole = time.perf_counter() - started
    fetched = store.health(VICTIM, timeout=LONGEST).get("recovery") or {}
    store.await_whole()
    return Recovered(missed, whole, fetched.get("seconds", 0.0), fetched.get("batches", 0), fetched.get("bytes", 0))


def serves(store: BenchStore) -> bool:
    """True once it answers for a whole tier again."""
    said = store.health(VICTIM)
    return said.get("message") == "Healthy" and said.get("redundancy") == len(store.cluster.catalogs)


MEASUREMENT = Measurement(
    "recovery",
    "Recovery against missed writes",
    "One of two catalogs is killed; when the other one knows that it is alone, customers buy so many copies. Then "
    "the process is started: the time from there until it serves as one of two again. Some of it is the start of "
    "a Python process and the change of the view, as the time with nothing missed shows; what it took to fetch "
    "the sales is what the catalog itself tells in /health.",
    work,
)
