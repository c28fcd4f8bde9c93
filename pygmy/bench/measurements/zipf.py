"""9: how often a cache has what is asked for, when few books are asked for often and many seldom."""

import random

from pygmy.bench import loading
from pygmy.bench.desk import Desk
from pygmy.bench.loads import Load
from pygmy.bench.measuring import Findings, Measurement
from pygmy.bench.results import Curve
from pygmy.bench.statistics import Zipf, ratio
from pygmy.bench.stores import QUICK, BenchStore, Requests, Shape

CLIENTS = 8
FRONT_END = "frontend-1"  # in a quick run other measurements have been at the first one
FIRST = 1001  # likewise of the books


def work(desk: Desk, findings: Findings) -> None:
    """Each exponent and each share of buys has books of its own, which no cache has yet."""
    exponents = desk.either((0.8, 1.2), (0.6, 0.8, 1.0, 1.2))
    shares = desk.either((0.0, 0.1), (0.0, 0.01, 0.1))
    titles, asked = desk.either(300, 10_000), desk.either(400, 20_000)
    found: dict[float, list[tuple[float, float]]] = {share: [] for share in shares}
    needed = FIRST - 1 + titles * len(exponents) * len(shares)
    with desk.store(desk.either(QUICK, Shape(caches=(True, True), books=needed))) as store:
        first = FIRST
        for share in shares:
            for exponent in exponents:
                desk.tell(f"Zipf {exponent:g}, {share:.0%} buys")
                requests = zipf_requests(first, titles, exponent, share, asked)
                found[share].append((exponent, hit_ratio(store, requests)))
                first += titles
    middle = exponents[len(exponents) // 2]
    quiet, busy = (dict(found[share])[middle] for share in (shares[0], shares[-1]))
    findings.ratio(f"hits (Zipf {middle:g}): with {shares[-1]:.0%} buys, against without", busy, quiet, "higher")
    findings.plot(
        f"Hits among {asked:,} lookups of {titles:,} books, from an empty cache",
        x="exponent of Zipf's law",
        y="% hits",
        curves=[
            Curve(f"{share:.0%} buys", tuple((exponent, 100 * hits) for exponent, hits in points))
            for share, points in found.items()
        ],
        better="higher",
    )


def zipf_requests(first: int, titles: int, exponent: float, share: float, count: int) -> Requests:
    """`count` lookups by Zipf's law of the books from `first` on, the same for every `share` of buys beside them."""
    law, buyers = (Zipf(titles, exponent, random.Random(f"{what} {exponent}")) for what in ("lookups", "buys"))
    chance = random.Random(share)
    requests: list[tuple[str, str]] = []
    for _ in range(count):
        requests.append(("GET", f"/books/{first + law.draw() - 1}"))
        if chance.random() < share:
            requests.append(("POST", f"/books/{first + buyers.draw() - 1}"))
    return tuple(requests)


def hit_ratio(store: BenchStore, requests: Requests) -> float:
    """The share of lookups that the front end's cache answered, while these requests were made once each."""
    before = store.metrics(FRONT_END)
    load = Load(*store.server(FRONT_END), requests, CLIENTS, seconds=120.0, count=len(requests))
    loading.make(load, own=True)
    after = store.metrics(FRONT_END)
    hits, misses = (
        after.total(name, cache="books") - before.total(name, cache="books")
        for name in ("pygmy_cache_hits_total", "pygmy_cache_misses_total")
    )
    return ratio(hits, hits + misses)


MEASUREMENT = Measurement(
    "zipf",
    "Hit ratio under a Zipf load",
    "A front end with a cache; eight clients look books up by Zipf's law (the book of rank r is asked for as "
    "often as 1 / r to the exponent), and some also buy, by the same law; a buy drops the book from the cache. "
    "Every point is of books that the cache had not seen before. Hits and misses are counted by the front end "
    "(/metrics).",
    work,
)
