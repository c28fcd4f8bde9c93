"""Processes: the product's own servers on a simulated clock, network and disk; killed, frozen, shut down, started."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from pygmy.catalog import CatalogServer
from pygmy.cluster import Node
from pygmy.frontend import FrontEnd
from pygmy.ledger.catalog import ReplicatedCatalog
from pygmy.ledger.driver import Driver, Place
from pygmy.ledger.orders import ReplicatedOrders
from pygmy.messages.internal import AnswerBody, Call
from pygmy.messages.register import RegisterMessage, RegisterReply
from pygmy.opened import opening
from pygmy.order import OrderServer
from pygmy.peers import LinkDown
from tests.simulation.disk import Disk, Store
from tests.simulation.network import Client, Links
from tests.simulation.voters import VoterProcess
from tests.simulation.world import EPOCH, NodeClock

if TYPE_CHECKING:
    from tests.simulation.cluster import Simulation


class Uncounted:
    """What a node takes for its metrics."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None


class Process:
    """A node's process. `up` from its start to its end, `frozen` as after SIGSTOP."""

    def __init__(self, sim: Simulation, node: Node) -> None:
        self.sim, self.world, self.node, self.name = sim, sim.world, node, node.name
        random = sim.world.random
        # Any two clocks' rates differ by no more than 2 %.
        self._rate, self._offset = 1 + random.uniform(-0.0099, 0.0099), random.uniform(0, 1000)
        self._skew = random.uniform(-0.3, 0.3)
        self.up = False
        self.clock = NodeClock(self.world, self._rate, self._offset)
        self.clock.die()
        self.calls: dict[Any, None] = {}
        self.server: Any = None
        self.voter = VoterProcess(self) if sim.shape.replicated else None

    @property
    def frozen(self) -> bool:
        return self.clock.frozen

    def wall(self) -> int:
        return int((EPOCH + self.world.now * self._rate + self._skew) * 1000)

    def boot(self) -> None:
        """Start the process."""
        if self.up:
            return
        self.world.say(f"BOOT {self.name}")
        self.up = True
        self.clock = NodeClock(self.world, self._rate, self._offset)
        self.calls = {}
        if self.voter is not None:
            self.voter.boot()
        self.start()

    def start(self) -> None:
        raise NotImplementedError

    def kill(self) -> None:
        """kill -9, or the power goes. Whoever waits for an answer mostly hears of it."""
        if not self.up:
            return
        self.world.say(f"KILL {self.name}")
        self.up = False
        if self.voter is not None:
            self.voter.crash()
        self.clock.die()
        calls, self.calls = self.calls, {}
        for call in calls:
            call.back(LinkDown("lost", sent=True))

    def lose_voter(self) -> None:
        """The process dies, and what its voter had promised and accepted is gone."""
        assert self.voter is not None
        self.kill()
        self.world.say(f"LOSE {self.name}'s voter.db")
        self.voter.lose()

    def freeze(self) -> None:
        if self.up:
            self.world.say(f"FREEZE {self.name}")
            self.clock.frozen = True

    def thaw(self) -> None:
        if self.up and self.clock.frozen:
            self.world.say(f"THAW {self.name}")
            self.clock.thaw()

    def leave(self) -> None:
        """SIGTERM. A front end has nothing to give up."""
        if self.up:
            self.kill()
            self.world.at(self.world.random.uniform(0.05, 0.5), self.boot)

    def arrive(self, sender: str, message: Any) -> None:
        """A message: the voter's, the server's, or both's."""
        if self.voter is not None:
            self.voter.receive(sender, message)
        elif not isinstance(message, RegisterMessage) or isinstance(message, RegisterReply):
            self.receive(sender, message)

    def receive(self, sender: str, message: Any) -> None:
        self.server.receive(sender, message)

    def answer(self, sender: str, call: Call) -> Deferred[AnswerBody]:
        answer: Deferred[AnswerBody] = self.server.answer(sender, call)
        return answer

    def health(self) -> Any:
        return self.server.health()


class ReplicaProcess(Process):
    """A catalog or order server."""

    tier = ""
    driver: Driver

    def __init__(self, sim: Simulation, node: Node) -> None:
        super().__init__(sim, node)
        self.disk = Disk()
        self.store: Store | None = None
        self.stuck = False

    def start(self) -> None:
        sim = self.sim
        self.store = Store(self.world, self.clock, self.disk, self.name, sim.disk_slowness)
        self.store.stuck = self.stuck
        nodes = sim.cluster.nodes
        place = Place(
            self.name, tuple(node.name for node in sim.cluster.tier(self.node.role)), {n.name: n.url for n in nodes}
        )
        boot = self.disk.boot(sim.boot_window, self.tier)
        sim.starting = self
        self.make(place, boot, Links(sim.network, self))
        self.driver.start()

    def make(self, place: Place, boot: Any, links: Links) -> None:
        raise NotImplementedError

    def failed(self, failure: Failure) -> None:
        """Fail-stop: the log turned out to differ, or the core raised. With sound disks that must not be."""
        self.world.violate(f"{self.name} stopped: {failure.getTraceback()}")

    def receive(self, sender: str, message: Any) -> None:
        self.driver.receive(sender, message)

    def settings(self) -> dict[str, Any]:
        return {"now": self.clock.seconds, "wall": self.wall, "timing": self.sim.timing}

    def kill(self) -> None:
        if self.up and self.store is not None:
            self.store.crash()
        super().kill()

    def lose_disk(self) -> None:
        """All that this replica had is gone. Incarnations that are numbered by the clock go on growing."""
        self.kill()
        incarnation = self.disk.incarnation
        self.disk = Disk()
        self.disk.incarnation = incarnation + 1000

    def leave(self) -> None:
        """SIGTERM: V8, then the end."""
        if self.up and not self.frozen:
            self.world.say(f"LEAVE {self.name}")
            self.driver.stop().addCallback(self._left, self.clock)

    def _left(self, _: object, clock: NodeClock) -> None:
        if clock.alive:
            self.kill()
            self.world.at(self.world.random.uniform(0.05, 0.5), self.boot)


class CatalogProcess(ReplicaProcess):
    tier = "catalog"

    def make(self, place: Place, boot: Any, links: Links) -> None:
        self.driver = self.ledger = ReplicatedCatalog(
            place, self.store, boot, links, self.clock, self.failed, self.sim._membership, **self.settings()
        )
        self.server = build(CatalogServer, self, links, ledger=self.ledger, receive=self.ledger.receive)
        self.server.startService()


class OrderProcess(ReplicaProcess):
    tier = "order"

    def make(self, place: Place, boot: Any, links: Links) -> None:
        self.driver = self.ledger = ReplicatedOrders(
            place, self.store, boot, links, self.clock, self.failed, self.sim._membership, **self.settings()
        )
        self.server = build(OrderServer, self, links, ledger=self.ledger, receive=self.ledger.receive)
        self.server.startService()


class FrontEndProcess(Process):
    def start(self) -> None:
        self.server = build(FrontEnd, self, Links(self.sim.network, self), settings=self.sim.front_end_settings)
        self.server.startService()


def build(server: Callable[..., Any], process: Process, links: Links, **more: Any) -> Any:
    """A server, given what it asks for of all that there is."""
    there = {
        "cluster": process.sim.cluster,
        "node": process.node,
        "links": links,
        "client": Client(process.sim.network, process),
        "clock": process.clock,
        "secrets": None,
        "metrics": Uncounted(),
        "now": process.clock.seconds,
        "wall": process.wall,
        "opening": opening(process.sim.opening),
        **more,
    }
    wanted = inspect.signature(server).parameters
    return server(**{name: value for name, value in there.items() if name in wanted})
