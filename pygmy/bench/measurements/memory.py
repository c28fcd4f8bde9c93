"""10: what each process takes of the memory while the store works as hard as it can."""

import random
import threading
import time
from pathlib import Path

from pygmy.bench.desk import Desk
from pygmy.bench.measuring import Findings, Measurement
from pygmy.bench.results import Bar, Curve
from pygmy.bench.stores import BenchStore, Requests, Shape, buys, lookups, searches
from pygmy.private.ticker import Ticker

EVERY = 1.0  # seconds between two looks
WARMING = 0.2  # of the time
MOST = 10.0  # MiB that a process may grow by after that
CLIENTS = 16
BOOKS = range(1, 1001)

Samples = list[tuple[float, float]]  # (seconds since the beginning, MiB)


class Sizes:
    """The resident size of every node's process, looked at beside the load."""

    def __init__(self, store: BenchStore) -> None:
        self._files = {name: Path(f"/proc/{store.pid(name)}/status") for name in store.names}
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self.samples: dict[str, Samples] = {name: [] for name in store.names}

    def look(self) -> None:
        """Once. Raises OSError where the kernel does not tell."""
        with self._lock:
            for name, file in self._files.items():
                self.samples[name].append((time.monotonic() - self._began, resident(file.read_text())))


def resident(status: str) -> float:
    """MiB, of what /proc tells of a process."""
    line = next((line for line in status.splitlines() if line.startswith("VmRSS:")), "")
    if not line:
        raise OSError("the process has ended")
    return int(line.split()[1]) / 1024


def growth(samples: Samples) -> tuple[float, float, float]:
    """What it was when warm (after the first fifth), the most after that, and the difference."""
    warm_at = samples[0][0] + WARMING * (samples[-1][0] - samples[0][0])
    later = [size for at, size in samples if at >= warm_at]
    return later[0], max(later), max(later) - later[0]


def mixed() -> Requests:
    """Ten requests for each book: eight lookups, a search and a buy, in an order by chance."""
    requests = [*8 * lookups(BOOKS), *20 * searches(len(BOOKS)), *buys(BOOKS)]
    random.Random(1).shuffle(requests)
    return tuple(requests)


def work(desk: Desk, findings: Findings) -> None:
    """Load, and look on."""
    seconds = desk.either(3.0, 600.0)
    with desk.store(Shape()) as store:
        sizes = Sizes(store)
        sizes.look()
        ticker = Ticker(sizes.look, desk.either(0.25, EVERY))
        ticker.start()
        try:
            outcome = desk.closed("lookups, searches, buys", store.server("frontend-0"), mixed(), CLIENTS, seconds)
        finally:
            ticker.stop()
        sizes.look()
    put_down(desk, findings, sizes.samples)
    findings.grid("The load", ("", "a second"), [("answers", f"{outcome.throughput:,.0f}")])


def put_down(desk: Desk, findings: Findings, samples: dict[str, Samples]) -> None:
    """The growth of each process, and its size over time."""
    found = {name: growth(ones) for name, ones in samples.items()}
    name, (warm, most, _) = max(found.items(), key=lambda one: one[1][2])
    what = f"memory of {name}, which grew most: at most, against when it was warm"
    findings.ratio(what, most, warm, "lower")
    for name, (_, _, more) in found.items():
        if more > MOST:
            desk.warn(f"{name} grew by {more:.1f} MiB after its warm-up, which is more than {MOST:g}")
    findings.plot(
        "Memory under full load",
        x="seconds",
        y="MiB",
        curves=[Curve(name, tuple(ones)) for name, ones in samples.items()],
        better="lower",
    )
    findings.bars(
        "Growth after the warm-up, MiB",
        y="MiB",
        bars=[Bar("growth", tuple((name, more) for name, (_, _, more) in found.items()))],
        better="lower",
    )
    rows = [(name, f"{ones[0][1]:.1f}", *(f"{one:.1f}" for one in found[name])) for name, ones in samples.items()]
    findings.grid("Resident size, MiB", ("", "at first", "when warm", "at most after that", "growth"), rows)


MEASUREMENT = Measurement(
    "memory",
    "Memory under full load",
    "A store with one front end, which keeps a cache; 16 clients look books up (8 of 10 requests), search and buy as "
    "fast as they are answered, for ten minutes. Each second the resident size of every process is read from the "
    "kernel. A process is warm after the first fifth of the time; its growth is the most that it takes after that, "
    "less what it took then. A quick run leaves this out, unless it is named; three seconds show no more than that "
    "it works.",
    work,
    quick=False,
)
