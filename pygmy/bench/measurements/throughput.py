"""5: throughput and latency against clients, and latency at a fixed rate; beside peers, if asked for."""

from collections.abc import Iterable
from contextlib import ExitStack

from msgspec import Struct

from pygmy.bench.desk import Desk
from pygmy.bench.loads import Outcome
from pygmy.bench.measuring import Findings, Measurement, milliseconds
from pygmy.bench.results import Bar, Curve
from pygmy.bench.statistics import PERCENTILES
from pygmy.bench.stores import STANDARD, Requests, buys, lookups, searches

OURS = "Pygmy"
STOCK = STANDARD.books
BOOKS = range(1, STOCK + 1)
HOT = range(1, 2)
RATE_SHARE = 0.5  # of what the slowest of a kind can do
CONNECTIONS = 64
LOOKUP, SEARCH, SPREAD, ONE = "lookup", "search", "buy spread over all books", "buy of one hot book"


class Contender(Struct, frozen=True):
    """A store under one kind of load."""

    kind: str
    store: str
    server: tuple[str, int]
    requests: Requests

    @property
    def name(self) -> str:
        """As it stands in figures."""
        return f"{self.store}: {self.kind}"


Seen = dict[str, dict[int, Outcome]]  # by contender's name, by clients


def work(desk: Desk, findings: Findings) -> None:
    """Our store, then each peer alone, so that none takes the processor from another; fixed rates come last."""
    seen: Seen = {}
    fixed: dict[str, Outcome] = {}
    rates: dict[str, float] = {}
    with ExitStack() as stack:
        ours = contenders_of_ours(desk, stack)
        for contender in ours:
            seen[contender.name] = against_clients(desk, contender)
        for kind in dict.fromkeys(contender.kind for contender in ours):
            best = [top(seen[contender.name]) for contender in ours if contender.kind == kind]
            rates[kind] = max(1.0, RATE_SHARE * min(best))
        fixed |= at_fixed_rate(desk, ours, rates)
    everybody = [*ours]
    for name in desk.peers:
        with desk.peer(name, STOCK) as server:
            if server is not None:
                theirs = contenders_of(name, server)
                seen |= {contender.name: against_clients(desk, contender) for contender in theirs}
                lower = {one.kind: min(rates[one.kind], RATE_SHARE * top(seen[one.name])) for one in theirs}
                fixed |= at_fixed_rate(desk, theirs, lower)
                everybody += theirs
    put_down(findings, everybody, seen, fixed)


def contenders_of_ours(desk: Desk, stack: ExitStack) -> list[Contender]:
    """The five loads of our store; of one that runs already, those that its front end can be asked for."""
    if desk.running is not None:
        one = lookups(HOT)
        loads = ((LOOKUP, one), (SEARCH, (("GET", "/books?limit=20"),)), (ONE, buys(HOT)))
        return [Contender(kind, "that store", desk.running, requests) for kind, requests in loads]
    store = stack.enter_context(desk.standard())
    near, far = store.server("frontend-0"), store.server("frontend-2")
    cached = Contender(LOOKUP, f"{OURS} with cache", near, lookups(BOOKS))
    desk.warm(near, cached.requests)
    return [cached, *contenders_of(OURS, far)]


def contenders_of(name: str, server: tuple[str, int]) -> list[Contender]:
    """The four loads that every store can be asked for."""
    loads = ((LOOKUP, lookups(BOOKS)), (SEARCH, searches(STOCK)), (SPREAD, buys(BOOKS)), (ONE, buys(HOT)))
    return [Contender(kind, name, server, requests) for kind, requests in loads]


def against_clients(desk: Desk, contender: Contender) -> dict[int, Outcome]:
    """Closed loops with more and more clients."""
    crowds, seconds = desk.either((16,), (1, 4, 16, 64, 256)), desk.either(1.0, 5.0)
    return {
        clients: desk.closed(contender.name, contender.server, contender.requests, clients, seconds)
        for clients in crowds
    }


def at_fixed_rate(desk: Desk, contenders: Iterable[Contender], rates: dict[str, float]) -> dict[str, Outcome]:
    """Open loops."""
    seconds = desk.either(0.5, 20.0)
    return {
        f"{one.name}, {rates[one.kind]:.0f}/s": desk.open(
            one.name, one.server, one.requests, rates[one.kind], CONNECTIONS, seconds
        )
        for one in contenders
    }


def top(by_clients: dict[int, Outcome]) -> float:
    """The highest throughput."""
    return max(outcome.throughput for outcome in by_clients.values())


# ---- what is put down


def put_down(findings: Findings, contenders: list[Contender], seen: Seen, fixed: dict[str, Outcome]) -> None:
    """Ratios, then a figure of throughput and one of latency for each kind, then all fixed rates."""
    for kind in dict.fromkeys(one.kind for one in contenders):
        alike = [one for one in contenders if one.kind == kind]
        ratios(findings, kind, alike, seen)
        if len(seen[alike[0].name]) > 1:
            figures(findings, kind, alike, seen)
    if len(seen[contenders[0].name]) == 1:
        at_one_crowd(findings, contenders, seen)
    at_rate(findings, fixed)
    rows = [
        (one.name, str(clients), f"{outcome.throughput:,.0f}", *_latencies(outcome), f"{outcome.busy:.0%}")
        for one in contenders
        for clients, outcome in seen[one.name].items()
    ]
    head = ("closed loop", "clients", "answers/s", *_percentile_names(), "generator busy")
    findings.grid("All closed loops", head, rows)


def ratios(findings: Findings, kind: str, alike: list[Contender], seen: Seen) -> None:
    """The highest throughput of each of ours of a kind, to that of all that come after it."""
    for place, ours in enumerate(alike):
        for other in alike[place + 1 :] if ours.store.startswith(OURS) else ():
            what = f"most answers a second, {kind}: {ours.store}, against {other.store}"
            findings.ratio(what, top(seen[ours.name]), top(seen[other.name]), "higher")


def figures(findings: Findings, kind: str, alike: list[Contender], seen: Seen) -> None:
    """Throughput and latency against clients."""
    throughput = [(one, [(n, found.throughput) for n, found in seen[one.name].items()]) for one in alike]
    latency = [
        (one, [(n, milliseconds(found.latency[50.0])) for n, found in seen[one.name].items()]) for one in alike
    ]
    for title, unit, data, better in (
        (f"Throughput: {kind}", "answers/s", throughput, "higher"),
        (f"Median latency: {kind}", "ms", latency, "lower"),
    ):
        curves = [Curve(one.store, tuple(points)) for one, points in data]
        findings.plot(title, x="clients", y=unit, curves=curves, better=better, log_x=True, log_y=unit == "ms")


def at_one_crowd(findings: Findings, contenders: list[Contender], seen: Seen) -> None:
    """The same for a single number of clients: a curve of one point would show nothing."""
    found = {one.name: next(iter(seen[one.name].values())) for one in contenders}
    clients = next(iter(seen[contenders[0].name]))
    for title, unit, values, better in (
        ("Throughput", "answers/s", {name: one.throughput for name, one in found.items()}, "higher"),
        ("Median latency", "ms", {name: milliseconds(one.latency[50.0]) for name, one in found.items()}, "lower"),
    ):
        findings.bars(f"{title}, {clients} clients", y=unit, bars=[Bar(title, tuple(values.items()))], better=better)


def at_rate(findings: Findings, fixed: dict[str, Outcome]) -> None:
    """Latency by percentile, spread out by how rare it is: 1 in 2, 1 in 10, 1 in 100, 1 in 1000."""
    curves = [
        Curve(name, tuple((100 / (100 - p), milliseconds(found.latency[p])) for p in PERCENTILES))
        for name, found in fixed.items()
    ]
    findings.plot(
        "Latency at a fixed rate: one request in so many takes longer",
        x="one in",
        y="ms",
        curves=curves,
        log_x=True,
        log_y=True,
    )
    rows = [
        (name, f"{found.throughput:,.0f}", *_latencies(found), f"{1000 * found.late:.2f}")
        for name, found in fixed.items()
    ]
    findings.grid("At a fixed rate", ("open loop", "answers/s", *_percentile_names(), "sent late by, ms"), rows)


def _percentile_names() -> list[str]:
    return [f"{percent:g} %, ms" for percent in PERCENTILES]


def _latencies(outcome: Outcome) -> list[str]:
    return [f"{milliseconds(outcome.latency[percent]):,.2f}" for percent in PERCENTILES]


MEASUREMENT = Measurement(
    "throughput",
    "Throughput and latency against clients, and at a fixed rate",
    "One store, a front end with a cache and one without. Closed loops: so many clients, each with one request "
    "under way. Then open loops: requests at half of the rate that the slowest of our loads of that kind came to "
    "(a peer that cannot do as much: half of what it can), whose latency counts from the moment that each was "
    "due, so that none is left out because the one before it was slow. Peers are measured one after the other, "
    "with the same books.",
    work,
    anywhere=True,
)
