"""4: how even the load is over replicas."""

from collections.abc import Mapping

from pygmy.bench.desk import Desk
from pygmy.bench.measuring import Findings, Measurement
from pygmy.bench.results import Bar
from pygmy.bench.stores import BenchStore, buys, lookups

BOOKS = range(1, 1001)
CLIENTS = 16
READS = "lookups by catalog"


def work(desk: Desk, findings: Findings) -> None:
    """Lookups without cache, then buys; who got them."""
    replicas = desk.either(2, 3)
    seconds = desk.either(1.0, 5.0)
    with desk.plain(replicas) as store:
        front, server = store.uncached, store.server(store.uncached)
        before = forwards(store)
        desk.closed("lookups without cache", server, lookups(BOOKS), CLIENTS, seconds)
        between = forwards(store)
        desk.closed("buys", server, buys(BOOKS), CLIENTS, seconds)
        after = forwards(store)
    read, bought = difference(before, between), difference(between, after)
    shares = {
        READS: shares_of(read, front, "catalog-"),
        "buys by order server": shares_of(bought, front, "order-"),
        "sales by catalog": shares_of(bought, "order-", "catalog-"),
    }
    if even := shares[READS].values():
        findings.ratio(f"requests, {READS}: the busiest, against the idlest", max(even), min(even), "lower")
    rows = [
        (what, *(f"{share.get(str(index), 0.0):.1f} %" for index in range(replicas)))
        for what, share in shares.items()
    ]
    findings.grid("Shares of the replicas", ["", *(f"replica {index}" for index in range(replicas))], rows)
    findings.bars(
        "Share of the requests, %",
        y="%",
        bars=[
            Bar(f"replica {index}", tuple((what, share.get(str(index), 0.0)) for what, share in shares.items()))
            for index in range(replicas)
        ],
    )


Forwards = Mapping[tuple[str, str], float]


def forwards(store: BenchStore) -> Forwards:
    """(who, to whom) -> how many requests were passed on and answered so far."""
    found = {}
    for node in (*store.cluster.frontends, *store.cluster.orders):
        for target, count in store.metrics(node.name).by("target", "pygmy_forwards_total").items():
            found[node.name, target] = count
    return found


def difference(before: Forwards, after: Forwards) -> Forwards:
    """What came in between."""
    return {pair: count - before.get(pair, 0.0) for pair, count in after.items()}


def shares_of(counts: Forwards, source: str, target: str) -> dict[str, float]:
    """By index of the replica: its percentage of what went from nodes named `source...` to nodes `target...`."""
    found: dict[str, float] = {}
    for (its_source, its_target), count in counts.items():
        if its_source.startswith(source) and its_target.startswith(target):
            index = its_target.removeprefix(target)
            found[index] = found.get(index, 0.0) + count
    total = sum(found.values())
    return {index: 100 * count / total for index, count in sorted(found.items())} if total else {}


MEASUREMENT = Measurement(
    "balance",
    "Balance over replicas",
    "A front end without a cache before three (in a quick run two) replicas in each tier; 16 clients look books "
    "up, then buy. What each node passed on to whom is read from its /metrics before and after. Reads take "
    "turns. Writes go to the first server that serves, so that the primary copy stays there: they are not even.",
    work,
)
