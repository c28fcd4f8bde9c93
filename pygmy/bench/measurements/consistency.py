"""2: what it costs a write that front ends have the book cached."""

from pygmy.bench.desk import Desk
from pygmy.bench.measuring import Findings, Measurement, milliseconds
from pygmy.bench.results import Bar
from pygmy.bench.statistics import median, percentiles
from pygmy.bench.stores import BenchStore

HOLDERS = (0, 1, 2)


def work(desk: Desk, findings: Findings) -> None:
    """Buys of books that no, one or two front ends have cached, in turn."""
    with desk.standard() as store:
        taken = buys_by_holders(desk, store, desk.either(20, 500))
    middle = {holders: median(values) for holders, values in taken.items()}
    for holders in HOLDERS[1:]:
        ends = "one front end has" if holders == 1 else f"{holders} front ends have"
        findings.ratio(
            f"time of a buy: of a book that {ends} cached, against one that nobody has",
            middle[holders],
            middle[0],
            "lower",
        )
    labels = {0: "nobody", 1: "one front end", 2: "two front ends"}
    found = {holders: percentiles(values) for holders, values in taken.items()}
    findings.bars(
        "Latency of a buy by who has the book cached, ms",
        y="ms",
        bars=[
            Bar(
                f"{percent:g} %",
                tuple((labels[holders], milliseconds(found[holders][percent])) for holders in HOLDERS),
            )
            for percent in (50.0, 90.0, 99.0)
        ],
        better="lower",
    )


def buys_by_holders(desk: Desk, store: BenchStore, rounds: int) -> dict[int, list[float]]:
    """Latencies of buys, at the front end without a cache, by how many others have the book cached."""
    desk.tell("buys of books that 0, 1, 2 front ends have cached")
    taken: dict[int, list[float]] = {holders: [] for holders in HOLDERS}
    first, second, third = (store.server(f"frontend-{index}") for index in range(3))
    with desk.customer(first) as one, desk.customer(second) as two, desk.customer(third) as buyer:
        for turn in range(rounds):
            for holders in HOLDERS:
                book = 501 + (3 * turn + holders) % 300
                for reader in (one, two)[:holders]:
                    reader.lookup(book)
                taken[holders].append(buyer.buy(book))
    return taken


MEASUREMENT = Measurement(
    "consistency",
    "What consistency of caches costs a write",
    "One store with three front ends. Again and again a book is looked up at none, one or two of those that keep "
    "a cache, and then bought at the one that keeps none; the buy is timed. The catalog has every holder drop the "
    "book before the buy is answered. The three cases take turns.",
    work,
)
