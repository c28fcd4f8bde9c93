"""Each rule of the protocol, left out once: the simulation notices. Else its silence would mean nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.simulation import cluster
from tests.simulation.bugs import BUGS, OF_REGISTER, UNREACHABLE, planted
from tests.simulation.cluster import Simulation
from tests.simulation.directed import SCHEDULES, caught, play
from tests.simulation.hooks import simulated

SEEDS = 50
# Met in one history of thirty to seventy: where to begin to look for them.
RARE = {"no_seal": 3000, "fe_full_lease": 1200}
BY_HAND = [(name, bug) for name, (_, _, _, bugs) in SCHEDULES.items() for bug in bugs]
BY_CHANCE = sorted(BUGS.keys() - {bug for _, bug in BY_HAND} - UNREACHABLE - OF_REGISTER)


@pytest.fixture(autouse=True)
def _atomic_register() -> Iterator[None]:
    cluster.REPLICATED = False
    yield
    cluster.REPLICATED = True


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_written_by_hand_is_sound_as_the_protocol_stands(name: str) -> None:
    with simulated():
        assert play(name) is None


@pytest.mark.parametrize(("name", "bug"), BY_HAND)
def test_a_schedule_written_by_hand_catches_its_bug(name: str, bug: str) -> None:
    with planted(bug), simulated():
        assert caught(name) is not None


@pytest.mark.parametrize("bug", BY_CHANCE)
def test_chance_catches_the_bug(bug: str) -> None:
    first = RARE.get(bug, 0)
    with planted(bug), simulated():
        assert any(Simulation(first + seed).run() is not None for seed in range(SEEDS)), f"{bug} was not noticed"


@pytest.mark.parametrize("bug", sorted(OF_REGISTER))
def test_chance_catches_the_bug_of_the_register(bug: str) -> None:
    cluster.REPLICATED = True
    with planted(bug), simulated():
        assert any(Simulation(seed).run() is not None for seed in range(2 * SEEDS)), f"{bug} was not noticed"
