"""6: what buys cost with one, two and three replicas in each tier."""

from pygmy.bench.desk import Desk
from pygmy.bench.loads import Outcome
from pygmy.bench.measuring import Findings, Measurement, milliseconds
from pygmy.bench.results import Curve
from pygmy.bench.stores import buys

CLIENTS = 16
BOOKS = range(1, 1001)


def work(desk: Desk, findings: Findings) -> None:
    """A store of each size, one after the other."""
    alone: dict[int, Outcome] = {}
    many: dict[int, Outcome] = {}
    for replicas in desk.either((2, 1), (1, 2, 3)):
        with desk.plain(replicas) as store:
            server, seconds = store.server(store.uncached), desk.either(1.0, 8.0)
            what = f"buys, {replicas} replicas"
            alone[replicas] = desk.closed(what, server, buys(BOOKS), 1, seconds)
            many[replicas] = desk.closed(what, server, buys(BOOKS), CLIENTS, seconds)
    alone, many = dict(sorted(alone.items())), dict(sorted(many.items()))
    _compare(alone, many, findings)
    _draw(alone, many, findings)


def _compare(alone: dict[int, Outcome], many: dict[int, Outcome], findings: Findings) -> None:
    for replicas in list(alone)[1:]:
        findings.ratio(
            f"buys a second: {replicas} replicas, against one",
            many[replicas].throughput,
            many[1].throughput,
            "higher",
        )
        findings.ratio(
            f"time of a buy: {replicas} replicas, against one",
            alone[replicas].latency[50.0],
            alone[1].latency[50.0],
            "lower",
        )


def _draw(alone: dict[int, Outcome], many: dict[int, Outcome], findings: Findings) -> None:
    findings.plot(
        "Buys a second",
        x="replicas in each tier",
        y="answers/s",
        curves=[
            Curve(name, tuple((replicas, one.throughput) for replicas, one in seen.items()))
            for name, seen in (("1 client", alone), (f"{CLIENTS} clients", many))
        ],
        better="higher",
    )
    findings.plot(
        "Latency of a buy, 1 client",
        x="replicas in each tier",
        y="ms",
        curves=[
            Curve(
                f"{percent:g} %",
                tuple((replicas, milliseconds(one.latency[percent])) for replicas, one in alone.items()),
            )
            for percent in (50.0, 99.0)
        ],
        better="lower",
    )


MEASUREMENT = Measurement(
    "replicas",
    "Buys against replicas",
    "A store with one, two, three (in a quick run: one, two) catalogs and as many order servers, each in turn, "
    "buys spread over 1000 books, by one client and by 16. All replicas share this machine: what a further one "
    "costs is here also its processor time, which it would not be on machines of their own.",
    work,
)
