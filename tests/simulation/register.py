"""A register that holds the view: linearizable, but slow and lossy, and only for who reaches a majority of nodes.

It stands in for the replicated one wherever that is not itself what is looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pygmy.messages.register import RegisterReply
from pygmy.messages.replication import Version, View, ViewMessage, ViewTell
from pygmy.replication import views
from pygmy.replication.core import Core
from pygmy.replication.effects import Effect
from tests.simulation.network import Network

if TYPE_CHECKING:
    from tests.simulation.process import ReplicaProcess


class AtomicRegister:
    """One per tier."""

    def __init__(self, network: Network, tier: tuple[str, ...]) -> None:
        self.network = network
        self.view = views.birth(dict.fromkeys(tier, 1))
        self.unreachable: set[str] = set()  # nodes whose requests get lost: for schedules written by hand
        self.changed_by: dict[Version, set[str]] = {}

    def held(self) -> View:
        """What it holds."""
        return self.view

    def ask(
        self, node: ReplicaProcess, expected: Version | None, new: View | None, told: Callable[[View], None]
    ) -> None:
        """Read, or compare and set; `told` the value that counts after that, unless a message is lost."""
        network, world, clock = self.network, self.network.world, node.clock

        def act() -> None:
            if new is not None and expected is not None:
                proposers = self.changed_by.setdefault(expected, set())
                if proposers and node.name not in proposers:
                    world.sometimes["both members proposed"] += 1
                proposers.add(node.name)
            if new is not None and expected == self.view.number:
                world.sometimes["views"] += new.epoch > self.view.epoch
                self.view = new
                world.say(f"REGISTER {new}")
            if world.random.random() >= network.loss:
                world.at(2 * network.delay(), clock.run, told, self.view)
            elif new is not None:
                world.sometimes["compare-and-set answer lost"] += 1

        lost = network.cut_off(node.name) or node.name in self.unreachable
        if not lost and world.random.random() >= network.loss:
            world.at(2 * network.delay(), act)


class AtomicMembership:
    """What a replica takes for its `Membership`."""

    def __init__(
        self,
        core: Core,
        known: View | None,
        on_value: Callable[[View], None],
        register: AtomicRegister,
        node: ReplicaProcess,
    ) -> None:
        self._core, self._on_value, self._register, self._node = core, on_value, register, node
        self.known = known

    def read(self) -> None:
        self._register.ask(self._node, None, None, self._told)

    def change(self, expected: Version, new: View) -> None:
        self._register.ask(self._node, expected, new, self._told)

    def _told(self, view: View) -> None:
        def told(now: float, wall: int) -> list[Effect]:
            replica = self._node.driver.replica
            replica._at(now, wall)
            self._take(view, always=True)
            return replica._drain()

        self._node.driver._input(told)

    def _take(self, view: View, always: bool) -> None:
        newer = self.known is None or view.number > self.known.number
        if newer:
            self.known = view
        if newer or always:
            self._on_value(view)

    def receive(self, sender: str, message: ViewMessage | RegisterReply) -> None:
        """A member's word that there is a newer view."""
        if isinstance(message, ViewTell) and message.known is not None:
            self._take(message.known, always=False)

    def why(self) -> str:
        return ""

    def tick(self) -> None:
        """Nothing to repeat: whoever asks does so again."""
