"""The whole store under simulation: crashes, cuts, freezes and power cuts, and nothing promised is broken.

Each history is a pure function of its seed: `python -m tests.simulation --seed N --histories 1 --trace` plays one
again and tells everything that happens.  PYGMY_HISTORIES asks for more of them.
"""

from __future__ import annotations

import os
import time
from collections import Counter

from tests.simulation import cluster
from tests.simulation.cluster import Shape, Simulation
from tests.simulation.hooks import simulated

HISTORIES = int(os.environ.get("PYGMY_HISTORIES", "500"))
SECONDS = 100.0  # a slow machine plays fewer histories
AT_LEAST = 100

SOMETIMES = (
    "kills",
    "power cuts",
    "lost disks",
    "lost voters",
    "voters re-admitted",
    "pauses",
    "cuts",
    "tentative batch adopted",
    "tentative batch rolled back",
    "GIVE re-sent",
    "compare-and-set answer lost",
    "both members proposed",
    "invalidation lapsed",
    "fill marked",
    "cache hits",
    "lists out of a cache",
    "reconciler wrote an order",
    "buys went together",
    "buys went together through a front end",
    "retry answered at another replica",
)


def test_histories_with_faults_are_linearizable_complete_and_conserved() -> None:
    sometimes: Counter[str] = Counter()
    started = time.monotonic()
    with simulated():
        for seed in range(HISTORIES):
            if seed >= AT_LEAST and time.monotonic() - started > SECONDS:
                break
            simulation = Simulation(seed)
            problem = simulation.run()
            assert problem is None, f"seed {seed}: {problem}"
            sometimes += simulation.world.sometimes
    missing = [what for what in SOMETIMES if not sometimes[what]]
    assert not missing, f"these never happened, so they were not put to the test: {missing}"


def test_histories_are_sound_whatever_holds_the_view() -> None:
    # The protocol above the register must be right by itself: here an atomic one takes the register's place.
    cluster.REPLICATED = False
    try:
        with simulated():
            for seed in range(9000, 9030):
                problem = Simulation(seed).run()
                assert problem is None, f"seed {seed} --atomic: {problem}"
    finally:
        cluster.REPLICATED = True


def _told(seed: int) -> list[str]:
    lines: list[str] = []
    shape = Shape.of(seed)
    shape.duration = 2.0
    with simulated():
        simulation = Simulation(seed, shape, lines.append)
        assert simulation.run() is None
    return lines


def test_a_seed_plays_the_same_history_again() -> None:
    # Else a failure could not be looked into.
    assert _told(5) == _told(5)
