"""How long nothing was acknowledged: measured and told, never asserted."""

import itertools
import math
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pygmy.drill.history import now
from tests.support.processes import LONGEST, Processes, ask, until

WINDOW = 10.0
BUYS_A_SECOND = 40
CALM = 1.0


def percentile(values: Sequence[float], part: float) -> float:
    """Nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -int(-part * len(ordered) // 1) - 1))]


def told(values: Sequence[float]) -> str:
    """`p50 0.41 s, p99 1.92 s, max 1.92 s (50)`."""
    if not values:
        return "none"
    p50, p99 = percentile(values, 0.5), percentile(values, 0.99)
    return f"p50 {p50:.2f} s, p99 {p99:.2f} s, max {max(values):.2f} s ({len(values)})"


def longest_gap(moments: Sequence[float], begin: float, end: float) -> float:
    """The longest span without a moment, of all that reach into begin..end; `moments` are in order."""
    first = max(0, bisect_right(moments, begin) - 1)
    points = [*moments[first : bisect_left(moments, end) + 1]]
    return max((b - a for a, b in itertools.pairwise(points)), default=end - begin)


def gaps_after(moments: Sequence[float], kills: Sequence[float], faults: Sequence[float]) -> list[float]:
    """For each kill the longest gap that begins within `WINDOW` seconds, up to the next fault at most."""
    found = []
    for kill in kills:
        end = min((fault for fault in faults if fault > kill), default=math.inf)
        points = [kill, *moments[bisect_right(moments, kill) : bisect_left(moments, end)]]
        points += [end] if end < math.inf else []
        gaps = [b - a for a, b in itertools.pairwise(points) if a < kill + WINDOW]
        found += [max(gaps)] if gaps else []
    return found


class Buyers:
    """So many buys a second, whatever becomes of them; each insists under its key until it is answered."""

    def __init__(self, store: Processes, item: int) -> None:
        self._store, self._item = store, item
        self._pool = ThreadPoolExecutor(600)
        self._over = threading.Event()
        self._lock = threading.Lock()
        self.acknowledged: list[tuple[float, float]] = []  # (begun, answered), by answer
        self._ticker = threading.Thread(target=self._tick, daemon=True)
        self._ticker.start()

    def _tick(self) -> None:
        due = now()
        for number in itertools.count():
            self._pool.submit(self._buy, number)
            due += 1 / BUYS_A_SECOND
            if self._over.wait(max(0.0, due - now())):
                return

    def _buy(self, number: int) -> None:
        begun = now()
        doors = itertools.cycle(self._store.cluster.frontends)
        for _ in range(number % len(self._store.cluster.frontends)):
            next(doors)
        while not self._over.is_set():
            try:
                headers = {"Idempotency-Key": f"gap-{number}"}
                reply = ask(next(doors), "POST", f"/books/{self._item}", None, headers)
            except OSError:
                continue
            if reply.status == 200:
                with self._lock:
                    self.acknowledged.append((begun, now()))
                return
            self._over.wait(0.05)

    def after(self, moment: float) -> float | None:
        """When the first buy begun after it was answered, if one was."""
        with self._lock:
            answered = [answered for begun, answered in self.acknowledged if begun > moment]
        return min(answered, default=None)

    def moments(self) -> list[float]:
        """When buys were answered, in order."""
        with self._lock:
            return sorted(answered for _, answered in self.acknowledged)

    def close(self) -> None:
        """No more buys."""
        self._over.set()
        self._ticker.join()
        self._pool.shutdown(cancel_futures=True)


def measure(
    directory: Path, kills: int, catalogs: int, orders: int, frontends: int, say: Callable[[str], None]
) -> str:
    """Kill a replica so many times, each time after the store is whole; what was measured."""
    books = [{"id": 1, "title": "A", "topic": "t", "cost": 10, "count": 10_000_000}]
    store = Processes(directory, catalogs=catalogs, orders=orders, frontends=frontends, books=books)
    first: list[float] = []
    spans: list[float] = []
    joins: list[float] = []
    usual: list[float] = []
    try:
        store.start()
        store.await_whole()
        buyers = Buyers(store, 1)
        try:
            until(lambda: buyers.moments(), "a first buy", store.hints)
            replicas = [
                node.name
                for pair in itertools.zip_longest(store.cluster.catalogs, store.cluster.orders)
                for node in pair
                if node is not None
            ]
            for number, name in zip(range(kills), itertools.cycle(replicas), strict=False):
                _calm(CALM)
                killed = now()
                usual.append(longest_gap(buyers.moments(), killed - CALM, killed))
                store.kill9(name)
                answered = until(lambda: buyers.after(killed), f"a buy after the end of {name}", store.hints)  # noqa: B023
                _calm(2 * CALM)
                started = now()
                spans.append(longest_gap(buyers.moments(), killed, started))
                first.append(answered - killed)
                store.start(name)
                store.await_whole()
                _calm(CALM)
                joins.append(longest_gap(buyers.moments(), started, now()))
                say(f"{number + 1:3} {name}: first {first[-1]:.2f} s, gap {spans[-1]:.2f} s, join {joins[-1]:.2f} s")
        finally:
            buyers.close()
    finally:
        store.close()
    return "\n".join(
        [
            f"{kills} times kill -9 of a replica, at {BUYS_A_SECOND} buys a second",
            f"from the kill to the answer of a buy begun after it: {told(first)}",
            f"longest span without an answer around the kill:      {told(spans)}",
            f"longest span while the replica joins again:          {told(joins)}",
            f"longest span in the second before the kill:          {told(usual)}",
        ]
    )


def _calm(seconds: float) -> None:
    """Let things take their course, as what is measured is a span of time."""
    threading.Event().wait(min(seconds, LONGEST))
