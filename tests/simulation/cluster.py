"""One history: a store, its clients, its faults, and the verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pygmy.checker import check
from pygmy.checker.history import Logged, Stock
from pygmy.cluster import Cluster, Node, Role
from pygmy.frontend import Settings
from pygmy.messages.operations import Book, NewBook, Order, Sold
from pygmy.replication.timing import Timing
from tests.simulation.clients import Clients
from tests.simulation.hooks import PATIENCE, watch
from tests.simulation.network import Network
from tests.simulation.process import CatalogProcess, FrontEndProcess, OrderProcess, Process, ReplicaProcess
from tests.simulation.register import AtomicMembership, AtomicRegister
from tests.simulation.voters import ReplicatedRegister
from tests.simulation.world import Violation, World

LEASE = 0.3
SETTLES_WITHIN = 3.0
SLOW_DELAY, SLOW_SETTLES_WITHIN = 0.01, 4.5  # rounds of the register take four of a link's delays, and may collide
ORDERS_WITHIN = 3.0
REPLICATED = True
_ROLES = {Role.CATALOG: CatalogProcess, Role.ORDER: OrderProcess, Role.FRONTEND: FrontEndProcess}


class Shape:
    """How large a history is, and how rough."""

    def __init__(self, catalogs: int = 2, orders: int = 2, front_ends: int = 1, duration: float = 4.0) -> None:
        self.catalogs, self.orders, self.front_ends, self.duration = catalogs, orders, front_ends, duration
        self.rate = 25.0
        self.hot = False  # nearly all that happens is front ends reading very few books
        self.quiet = False
        self.replicated = False  # the register; else an atomic one stands in for it
        self.items = 4

    @classmethod
    def of(cls, seed: int) -> Shape:
        """Every third history has catalogs only."""
        shape = cls(2 + seed % 2, 0 if seed % 3 == 0 else 2 + seed // 2 % 2, 1 + seed // 4 % 2)
        shape.replicated = REPLICATED
        if seed % 3 == 0 and seed % 2 == 0:
            shape.hot, shape.items, shape.rate = True, 2, 90.0
        return shape


def _tier(role: Role, count: int) -> tuple[Node, ...]:
    first = {Role.CATALOG: 5000, Role.ORDER: 5001, Role.FRONTEND: 5002}[role]
    return tuple(Node(role, index, "localhost", first + 3 * index) for index in range(count))


class Simulation:
    """A store in a world of its own."""

    def __init__(self, seed: int, shape: Shape | None = None, trace: Callable[[str], None] | None = None) -> None:
        self.seed = seed
        self.shape = shape = shape or Shape.of(seed)
        self.world = World(seed, trace)
        random = self.world.random
        self.cluster = Cluster(
            _tier(Role.CATALOG, shape.catalogs),
            _tier(Role.ORDER, shape.orders),
            _tier(Role.FRONTEND, shape.front_ends),
        )
        loss = 0.0 if shape.quiet else random.choice([0, 0.01, 0.05, 0.1])
        # Times here are a third of the product's, and rounds of the replicated register take four of these.
        delays = [0.002, 0.005, 0.015] if shape.replicated else [0.003, 0.01, 0.03]
        delay = 0.003 if shape.quiet else random.choice(delays)
        self.network = Network(self.world, loss, delay, wire=seed % 8 == 7)
        # Some histories are all power cuts, on disks slow enough for one to strike while a commit waits.
        self.crashy = not shape.quiet and random.random() < 0.25
        self.settles_within = SLOW_SETTLES_WITHIN if delay > SLOW_DELAY and shape.replicated else SETTLES_WITHIN
        self.disk_slowness = random.choice([1, 4, 15]) if self.crashy else 1.0
        self.network.voters_elsewhere = self.network.prompt = shape.quiet
        window = random.choice([6, 40, 8192])
        self.boot_window = random.choice([2, 8, 1024])
        self.timing = Timing(
            lease=LEASE,
            heartbeat=LEASE / 4,
            silence=LEASE * 1.25,
            recovery_wait=1.0,
            register_poll=0.8,
            calm_poll=1.5,
            recheck=0.3,
            round_life=0.25,
            status_fresh=0.5,
            batch=64,
            chunk=3,
            window=window,
        )
        self.front_end_settings = Settings(0.25, LEASE / 4, PATIENCE)
        self.items = list(range(1, shape.items + 1))
        stock = random.randint(3, 12)
        self.opening = [NewBook(f"book {item}", "t1", 1000 + item, stock, item) for item in self.items]
        self.starting: ReplicaProcess | None = None
        self.nodes: dict[str, Process] = {node.name: _ROLES[node.role](self, node) for node in self.cluster.nodes}
        self.network.nodes = self.nodes
        self.registers: dict[str, Any] = {
            str(role): self._register(str(role), tuple(node.name for node in self.cluster.tier(role)))
            for role in (Role.CATALOG, Role.ORDER)
            if self.cluster.tier(role)
        }
        self.emptied = set()  # replicas that have lost their disk and are not sources again yet
        self.clients = Clients(self, shape.rate)
        watch.begin(self.world)
        watch.registers = self.registers
        watch.current_epoch = lambda tier: self.registers[tier].view.epoch
        for node in self.nodes.values():
            self.world.at(random.uniform(0, 0.05), node.boot)

    def _register(self, name: str, tier: tuple[str, ...]) -> Any:
        if self.shape.replicated:
            return ReplicatedRegister(self.world, lambda: [node.voter for node in self.nodes.values()], name)
        return AtomicRegister(self.network, tier)

    def _membership(self, core: Any, known: Any, on_value: Any) -> Any:
        assert self.starting is not None
        if self.starting.voter is not None:
            return self.starting.voter.membership(self.starting.tier)(core, known, on_value)
        return AtomicMembership(core, known, on_value, self.registers[self.starting.tier], self.starting)

    def replicas(self, tier: str | None = None) -> list[ReplicaProcess]:
        """The replicas, of one tier or of both."""
        return [
            node
            for node in self.nodes.values()
            if isinstance(node, ReplicaProcess) and (tier is None or node.tier == tier)
        ]

    # ---- the course of a history

    def run(self) -> str | None:
        """What is wrong, or None."""
        try:
            self.world.run_until(1.0 if self.shape.replicated else 0.5)
            self.clients.start()
            self.world.at(0.3, self._fault)
            self.world.run_until(self.world.now + self.shape.duration - 0.5)
            self.heal()
            self.finish()
        except Violation as violation:
            return str(violation)
        return self.verdict()

    def finish(self) -> None:
        """Everything works again: all must settle and serve, and then be at rest."""
        healed = self.world.now
        self.world.run_until(healed + 1.5)
        self.clients.stopped = True
        while not self.running():
            self.world.run_until(self.world.now + 0.05)
            if self.world.now > healed + self.settles_within:
                raise Violation(f"not settled {self.settles_within} s after everything works again: {self.states()}")
        self.world.sometimes["settled after (ms, sum)"] += round(1000 * (self.world.now - healed))
        probes = self._probe()
        while not all(task.done for task in probes):
            self.world.run_until(self.world.now + 0.02)
            if self.world.now > healed + self.settles_within + 1:
                raise Violation(f"not served, though everything works: {self.states()}")
        while not (self.settled() and self.at_rest()):
            self.world.run_until(self.world.now + 0.05)
            if self.world.now > healed + self.settles_within + ORDERS_WITHIN:
                raise Violation(
                    f"not at rest: {self.states()}, {len(self.sold())} sales, {len(self.ordered())} orders"
                )

    def _probe(self) -> list[Any]:
        """One purchase and one look through each front end."""
        probes = []
        for node in self.nodes.values():
            if isinstance(node, FrontEndProcess):
                probes += [self.clients.buy_one(1), self.clients.read_one(1)]
        return probes

    def running(self) -> bool:
        """All are RUNNING, and members of one view."""
        replicas = self.replicas()
        return all(replica.up and replica.driver.replica.mode == "RUNNING" for replica in replicas) and all(
            len(replica.driver.replica._core.peers()) == len(self.replicas(replica.tier)) - 1 for replica in replicas
        )

    def settled(self) -> bool:
        """All are RUNNING members of the view that counts, and all of them are sources."""
        for replica in self.replicas():
            view = self.registers[replica.tier].view
            core = replica.driver.replica
            if not replica.up or replica.frozen or core.mode != "RUNNING" or core.view != view:
                return False
            if len(view.members) != len(self.replicas(replica.tier)) or view.sources != frozenset(view.members):
                return False
        return True

    def at_rest(self) -> bool:
        """Nothing waits anywhere, and every sale has its order."""
        for replica in self.replicas():
            core = replica.driver.replica
            if core._writes.pending or core.queued or (replica.store and replica.store.pending):
                return False
        return not self.cluster.orders or len(self.sold()) == len(self.ordered())

    def sold(self) -> list[str]:
        disk = self.replicas("catalog")[0].disk
        return [op_id for op_id, found in disk.entries.items() if isinstance(found.entry.outcome, Sold)]

    def ordered(self) -> list[Order]:
        replicas = self.replicas("order")[:1]
        return [row for replica in replicas for row in replica.disk.rows.values() if isinstance(row, Order)]

    def states(self) -> str:
        """How the replicas are, for people."""
        return (
            ", ".join(
                f"{r.name} {r.driver.replica.mode if r.up else 'DOWN'} epoch {r.driver.replica._core.epoch}"
                f" head {r.driver.replica.log.head} queue {r.driver.replica.queued}"
                for r in self.replicas()
            )
            + f"; registers {[register.view for register in self.registers.values()]}"
        )

    # ---- the verdict

    def verdict(self) -> str | None:
        """Copies are equal, the rows are what the log says, and the checker agrees with what clients saw."""
        for tier in self.registers:
            disks = {replica.name: replica.disk for replica in self.replicas(tier)}
            first = next(iter(disks.values()))
            for name, disk in disks.items():
                if disk.log != first.log:
                    return f"{name}'s log differs from the others' at the end"
                if disk.rows != first.rows:
                    return f"{name}'s rows differ from the others' at the end"
            if [batch.version for batch in first.log] != watch.chosen[tier]:
                return f"the {tier} log is not what was chosen"
        verdict = check(self.history(), quiet=True)
        return verdict.problems[0] if verdict.problems else None

    def history(self) -> Iterator[Any]:
        """As `pygmy.checker.history` describes it."""
        yield from self.clients.records()
        for tier in self.registers:
            replicas = self.replicas(tier)
            for batch in replicas[0].disk.log:
                for index, entry in enumerate(batch.entries):
                    yield Logged("catalog" if tier == "catalog" else "order", batch.version, index, entry)
            for replica in replicas:
                rows = replica.disk.rows.values()
                if tier == "catalog":
                    yield Stock(replica.name, tuple(row for row in rows if isinstance(row, Book)))

    # ---- faults

    def heal(self) -> None:
        """Everything works from now on."""
        self.world.say("HEAL")
        self.healed = True
        self.network.cut, self.network.loss, self.network.dropped = set(), 0.0, set()
        for register in self.registers.values():
            register.unreachable.clear()
        for node in self.nodes.values():
            if isinstance(node, ReplicaProcess):
                self.unstick(node)
            node.boot()
            node.thaw()

    healed = False
    emptied: set[str]

    def stick(self, node: ReplicaProcess) -> None:
        """Its disk hangs from now on."""
        node.stuck = True
        if node.store is not None:
            node.store.stuck = True

    def unstick(self, node: ReplicaProcess) -> None:
        node.stuck = False
        if node.up and node.store is not None and node.store.stuck:
            node.store.unstick()

    def _fault(self) -> None:
        """One fault, and then the next."""
        if self.healed or self.shape.quiet:
            return
        random, world = self.world.random, self.world
        node = random.choice(list(self.nodes.values()))
        forgets = random.random() if self.shape.replicated else 1.0
        if forgets < 0.04:
            world.at(self._swing(node), self._fault)
            return
        if forgets < 0.12:
            self._lose_voter(random.choice(list(self.nodes.values())))
        dice = random.random() * (0.35 if self.crashy else 1)
        if dice < 0.35:
            self._kill(node)
            if dice < 0.03:
                self._kill_all(list(self.nodes.values()))
            elif dice < (0.2 if self.crashy else 0.08):
                self._kill_all([other for other in self.nodes.values() if other.node.role == node.node.role])
        elif dice < 0.40:
            world.sometimes["leaves"] += 1
            node.leave()
        elif dice < 0.62 and not node.frozen:
            world.sometimes["pauses"] += 1
            node.freeze()
            world.at(random.choice([0.1, 0.5, 0.9, 1.5]), node.thaw)
        elif dice < 0.65 and isinstance(node, ReplicaProcess) and self._spare(node):
            world.sometimes["lost disks"] += 1
            world.say(f"LOSE {node.name}'s disk")
            node.lose_disk()
            self.emptied.add(node.name)
            world.at(random.choice([0.01, 0.3]), node.boot)
        elif dice < 0.68 and isinstance(node, ReplicaProcess):
            world.sometimes["stuck disks"] += 1
            self.stick(node)
            world.at(random.uniform(0.1, 1.0), self.unstick, node)
        else:
            self._cut()
        world.at(random.uniform(0.15, 0.6 if self.crashy else 1.0), self._fault)

    def _spare(self, node: ReplicaProcess) -> bool:
        """True if its disk may be lost: the others are up, and hold all that was acknowledged."""
        register = self.registers[node.tier]
        others = [other for other in self.replicas(node.tier) if other is not node]
        views = [view for view in (register.view, register.held()) if view is not None]
        for view in views:
            back = {
                other.name
                for other in self.replicas(node.tier)
                if other.name in view.sources and view.members[other.name] == other.disk.incarnation
            }
            self.emptied -= back
            if not all(other.name in back for other in others):
                return False
        there = all(other.up and not other.frozen and not other.stuck for other in others)
        return there and not self.network.cut and not self.emptied

    def _may_forget(self, node: Process) -> bool:
        """True if those voters that remember are a majority of all without this one, too."""
        forgetful = {other.name for other in self.nodes.values() if other.voter is None or other.voter.forgetful}
        return 2 * len(forgetful | {node.name}) < len(self.nodes)

    def _lose_voter(self, node: Process) -> None:
        if self._may_forget(node):
            self.world.sometimes["lost voters"] += 1
            node.lose_voter()
            self.world.at(self.world.random.choice([0.01, 0.05, 0.3]), lambda: self.healed or node.boot())

    def _swing(self, node: Process) -> float:
        """A voter is in a majority with one side, forgets, and is in a majority with the other: how long it takes."""
        random, world = self.world.random, self.world
        others = [name for name in self.nodes if name != node.name]
        random.shuffle(others)
        sides = [set(others[: len(others) // 2]), set(others[len(others) // 2 :])]
        world.sometimes["swing voters"] += 1

        def forget() -> None:
            if not self.healed:
                self._lose_voter(node)
                self._part(sides[0])

        def mend() -> None:
            self.network.cut = set()

        self._part(sides[1])
        first, second = random.uniform(0.4, 0.9), random.uniform(0.4, 1.2)
        world.at(first, forget)
        world.at(first + second, mend)
        return first + second

    def _part(self, side: set[str]) -> None:
        """Cut these nodes off from all others."""
        names = self.nodes
        self.network.cut = {(a, b) for a in names for b in names if (a in side) != (b in side)}
        self.world.say(f"CUT {sorted(side)} off")

    def _kill_all(self, nodes: list[Process]) -> None:
        self.world.sometimes["power cuts"] += 1
        for node in nodes:
            self._kill(node)

    def _kill(self, node: Process) -> None:
        if node.up:
            self.world.sometimes["kills"] += 1
            node.kill()
            self.world.at(
                self.world.random.choice([0.01, 0.02] if self.crashy else [0.01, 0.05, 0.3, 1.0]),
                lambda: self.healed or node.boot(),
            )

    def _cut(self) -> None:
        random, names = self.world.random, list(self.nodes)
        self.world.sometimes["cuts"] += 1
        side = {name for name in names if random.random() < 0.5}
        cut = {(a, b) for a in names for b in names if (a in side) != (b in side)}
        if random.random() < 0.3:  # one way only
            cut = {(a, b) for a, b in cut if a in side}
        self.network.cut = cut
        self.world.say(f"CUT {sorted(cut)}")

        def mend() -> None:
            self.network.cut = set()

        self.world.at(random.uniform(0.1, 1.2), mend)
