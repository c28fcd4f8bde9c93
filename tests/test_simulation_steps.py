"""Hypothesis decides what happens next, step by step, so that a failure shrinks to the few steps it takes."""

from __future__ import annotations

from contextlib import ExitStack

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.simulation import cluster
from tests.simulation.cluster import Shape, Simulation
from tests.simulation.hooks import simulated
from tests.simulation.world import Timer, Violation

NODES = ("catalog-0", "catalog-1", "frontend-0")


class Steps(RuleBasedStateMachine):
    """Two catalogs and a front end, at the mercy of whoever chooses the next message, fault or tick."""

    @initialize(seed=st.integers(0, 3), cached=st.booleans())
    def found(self, seed: int, cached: bool) -> None:
        self.scope = ExitStack()
        self.scope.enter_context(simulated())
        shape = Shape(2, 0, 1)
        shape.quiet, shape.items = True, 3
        before, cluster.REPLICATED = cluster.REPLICATED, False
        self.simulation = Simulation(seed, shape)
        cluster.REPLICATED = before
        self.pass_time(800)
        if cached:
            self.read()
            self.pass_time(50)

    # ---- what clients do

    @rule()
    def buy(self) -> None:
        self.simulation.clients.buy_one(1)

    @rule()
    def restock(self) -> None:
        self.simulation.clients.restock()

    @rule()
    def read(self) -> None:
        self.simulation.clients.read_one(1)

    # ---- time and messages

    @rule(milliseconds=st.sampled_from([1, 5, 20, 80, 300, 450]))
    def pass_time(self, milliseconds: int) -> None:
        world = self.simulation.world
        try:
            world.run_until(world.now + milliseconds / 1000)
        except Violation as violation:
            raise AssertionError(str(violation)) from None

    def _under_way(self) -> list[Timer]:
        names = ("_deliver", "arrive", "act")
        return [timer for timer in self.simulation.world.pending() if getattr(timer.call, "__name__", "") in names]

    @precondition(lambda self: self._under_way())
    @rule(which=st.integers(0, 30))
    def overtake(self, which: int) -> None:
        """One message arrives before all others."""
        messages = self._under_way()
        timer = messages[which % len(messages)]
        call, arguments = timer.call, timer.args
        timer.cancel()
        assert call is not None
        call(*arguments)
        self.pass_time(1)

    @precondition(lambda self: self._under_way())
    @rule(which=st.integers(0, 30))
    def lose(self, which: int) -> None:
        messages = self._under_way()
        messages[which % len(messages)].cancel()

    # ---- faults

    @rule(name=st.sampled_from(NODES))
    def kill(self, name: str) -> None:
        self.simulation.nodes[name].kill()

    @rule(name=st.sampled_from(NODES))
    def boot(self, name: str) -> None:
        self.simulation.nodes[name].boot()

    @rule(name=st.sampled_from(NODES))
    def freeze(self, name: str) -> None:
        self.simulation.nodes[name].freeze()

    @rule(name=st.sampled_from(NODES))
    def thaw(self, name: str) -> None:
        self.simulation.nodes[name].thaw()
        self.pass_time(1)

    @rule(ends=st.permutations(NODES))
    def cut(self, ends: list[str]) -> None:
        """One link, one way."""
        self.simulation.network.cut.add((ends[0], ends[1]))

    @rule()
    def mend(self) -> None:
        self.simulation.network.cut.clear()

    # ---- the end of every course of steps

    def teardown(self) -> None:
        if not hasattr(self, "scope"):
            return
        try:
            self.simulation.heal()
            self.simulation.finish()
            problem = self.simulation.verdict()
        except Violation as violation:
            problem = str(violation)
        finally:
            self.scope.close()
        assert problem is None, problem


TestSteps = Steps.TestCase
TestSteps.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
