"""3: the lookup that misses because the book was just sold."""

from pygmy.bench.customer import Customer
from pygmy.bench.desk import Desk
from pygmy.bench.measuring import Findings, Measurement, milliseconds
from pygmy.bench.results import Curve
from pygmy.bench.statistics import median

KINDS = ("hit before the buy", "miss after it", "hit after that")


def work(desk: Desk, findings: Findings) -> None:
    """Look up, buy, look up twice."""
    rounds = desk.either(50, 500)
    desk.tell("lookup, buy, lookup, lookup")
    if desk.running is not None:
        with desk.customer(desk.running) as reader:
            taken = turns(reader, reader, rounds, range(1, 2))
    else:
        with (
            desk.standard() as store,
            desk.customer(store.server("frontend-0")) as reader,
            desk.customer(store.server("frontend-2")) as buyer,
        ):
            taken = turns(reader, buyer, rounds, range(801, 901))
    hit, missed, again = (median(taken[kind]) for kind in KINDS)
    findings.ratio("time of a lookup: the first after a buy, which misses, against a hit", missed, hit, "lower")
    findings.ratio("time of a lookup: the second after a buy, against a hit before it", again, hit, "lower")
    findings.plot(
        "Latency around an invalidation",
        x="share of lookups, %",
        y="ms",
        curves=[Curve(kind, _distribution(taken[kind])) for kind in KINDS],
        log_y=True,
        better="lower",
    )


def turns(reader: Customer, buyer: Customer, rounds: int, books: range) -> dict[str, list[float]]:
    """Latencies of the three lookups; the first of each round only brings the book into the cache."""
    taken: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for turn in range(rounds):
        book = books[turn % len(books)]
        reader.lookup(book)
        taken[KINDS[0]].append(reader.lookup(book))
        buyer.buy(book)
        taken[KINDS[1]].append(reader.lookup(book))
        taken[KINDS[2]].append(reader.lookup(book))
    return taken


def _distribution(values: list[float]) -> tuple[tuple[float, float], ...]:
    """(percent of the lookups, that they took no more than so many ms)."""
    ordered = sorted(values)
    return tuple((100 * number / len(ordered), milliseconds(value)) for number, value in enumerate(ordered, 1))


MEASUREMENT = Measurement(
    "miss",
    "The lookup that misses after an invalidation",
    "One front end with a cache, one without. A book is looked up (a hit is timed), bought at the other front "
    "end, and looked up twice: the first of these misses, since the buy had it dropped, the second hits again. "
    "With --frontend-server all of it is done at that one, with its book 1.",
    work,
    anywhere=True,
)
