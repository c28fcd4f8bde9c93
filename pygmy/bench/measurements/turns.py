"""5b: our store beside others and beside bare Twisted, all of them open at once and loaded in turn."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from msgspec import Struct

from pygmy.bench.desk import Desk
from pygmy.bench.floor import floors
from pygmy.bench.loads import Outcome, crowd
from pygmy.bench.measuring import Findings, Measurement, milliseconds
from pygmy.bench.results import Bar
from pygmy.bench.statistics import median, ratio
from pygmy.bench.stores import Requests, Shape, buys, lookups, searches
from pygmy.bench.wire import Headers, answer_to

SHAPE = Shape(caches=(True, False))
STOCK = SHAPE.books
BOOKS, SEVEN, HOT = range(1, STOCK + 1), range(1, 8), range(1, 2)
OURS, UNCACHED, FLOOR = "Pygmy", "Pygmy without cache", "bare Twisted, a fixed answer"
READERS = 32


class Case(Struct, frozen=True):
    """The same load on several stores: where each of them answers. Ours is the first."""

    what: str
    clients: int
    requests: Requests
    servers: Mapping[str, tuple[str, int]]
    headers: Headers = ()

    @property
    def name(self) -> str:
        """As it stands in figures."""
        return crowd(self.what, self.clients)


def work(desk: Desk, findings: Findings) -> None:
    """One case after the other."""
    with ExitStack() as stack:
        store = stack.enter_context(desk.store(SHAPE))
        opened = {name: stack.enter_context(desk.peer(name, STOCK)) for name in desk.peers}
        peers = {name: server for name, server in opened.items() if server is not None}
        near, far = store.server("frontend-0"), store.server(store.uncached)
        desk.warm(near, lookups(BOOKS))
        desk.warm(near, searches(STOCK))
        etag: Headers = (("If-None-Match", store.get("frontend-0", "/books/1").headers["etag"]),)
        alike = (("/books/1", ()), ("/books?topic=topic%200", ()), ("/books/1", etag))
        book, topic, not_modified = stack.enter_context(
            floors([answer_to(*near, "GET", path, headers) for path, headers in alike])
        )
        readers = {OURS: near, UNCACHED: far, **peers}
        buyers = {OURS: near, **peers}
        cases = [
            Case("lookup", READERS, lookups(BOOKS), readers | {FLOOR: book}),
            Case("search for a topic", READERS, searches(STOCK), readers | {FLOOR: topic}),
            Case("lookup, not modified (304)", READERS, lookups(HOT), {OURS: near, FLOOR: not_modified}, etag),
            *(Case("buy spread over seven books", n, buys(SEVEN), buyers) for n in (1, 64, 256)),
            *(Case("buy of one hot book", n, buys(HOT), buyers) for n in (64, 256)),
        ]
        put_down(findings, [(case, taken(desk, case)) for case in cases])


def taken(desk: Desk, case: Case) -> dict[str, list[Outcome]]:
    """The outcomes of each store, round by round; every other round backwards, so that no place is the better one."""
    rounds, seconds = desk.either((1, 1.0), (5, 3.0))
    found: dict[str, list[Outcome]] = {name: [] for name in case.servers}
    for number in range(rounds):
        for name in list(case.servers)[:: -1 if number % 2 else 1]:
            server = case.servers[name]
            outcome = desk.closed(f"{name}: {case.what}", server, case.requests, case.clients, seconds, case.headers)
            found[name].append(outcome)
    return found


# ---- what is put down


def put_down(findings: Findings, seen: list[tuple[Case, dict[str, list[Outcome]]]]) -> None:
    """Of each case ours to each other store, as the median of all rounds; then a figure of it; then all of it."""
    rows = []
    for case, found in seen:
        for name, outcomes in found.items():
            ratios = sorted(ratio(a.throughput, b.throughput) for a, b in zip(found[OURS], outcomes, strict=True))
            compared = ""
            if name != OURS:
                what = f"answers a second, {case.name}: {OURS}, against {name}"
                findings.ratio(what, median(ratios), 1.0, "higher")
                compared = f"{median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
            latency = [milliseconds(median([one.latency[percent] for one in outcomes])) for percent in (50.0, 99.0)]
            rows.append(
                (case.name, name, f"{middle(outcomes):,.0f}", *(f"{value:,.2f}" for value in latency), compared)
            )
        bar = Bar(case.name, tuple((name, middle(outcomes)) for name, outcomes in found.items()))
        findings.bars(case.name, y="answers/s", bars=[bar], better="higher")
    head = ("closed loop", "store", "answers/s", "50 %, ms", "99 %, ms", f"{OURS} against it (least to most)")
    findings.grid("In turn, medians of all rounds", head, rows)


def middle(outcomes: Sequence[Outcome]) -> float:
    """The median throughput."""
    return median([one.throughput for one in outcomes])


MEASUREMENT = Measurement(
    "turns",
    "Beside other stores, in turn",
    "All stores are open at once and loaded in turn, a few seconds at a time, so that whatever else happens on the "
    "machine meets all of them alike; a ratio is the median of those of all rounds. Cached lookups, lists and 304s "
    "beside a bare Twisted protocol that writes the same bytes to whatever comes; and, if asked for, everything "
    "beside peers.",
    work,
    quick=False,
)
