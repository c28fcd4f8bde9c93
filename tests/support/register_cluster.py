"""A cluster of voters and proposers under one seed and one virtual clock: with faults, and with bugs on demand."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import combinations
from random import Random
from typing import Any, cast

from msgspec import Struct
from msgspec.structs import replace

from pygmy.messages.register import RegisterMessage, RegisterReply, Vote, VoterState
from pygmy.messages.replication import Version, View, ViewMessage
from pygmy.replication.core import Core
from pygmy.replication.effects import Effect, Note, Send
from pygmy.replication.founding import check_charter
from pygmy.replication.log import Log
from pygmy.replication.register import RegisterMembership, replicated
from pygmy.replication.timing import DEFAULT, Timing
from pygmy.replication.voter import Keep, Voter
from pygmy.state.stock import Stock

SMALL = ("catalog-0", "catalog-1", "frontend-0")
LARGE = ("catalog-0", "catalog-1", "catalog-2", "frontend-0", "frontend-1")

BUGS = {
    "volatile promise": "a voter comes back without what it promised since it accepted last",
    "reply before store": "a voter replies before the disk has what it promised or accepted",
    "rejoin by reading": "an emptied voter takes over the newest value of a majority without a round",
    "birth by majority": "a founder does not wait to hear from every node that it is newborn",
}


class Violation(AssertionError):
    """A promise of the register is broken."""


class Operation(Struct):
    """What a replica asks of the register."""

    start: float
    expected: Version | None = None


class Cluster:
    """The nodes, the wires and disks between and under them, and all that was ever chosen."""

    def __init__(
        self, seed: int, bug: str | None = None, names: tuple[str, ...] | None = None, quiet: bool = False
    ) -> None:
        self.random = Random(seed)
        self._flickers = self.random.random() < 0.5
        self.timing = Timing(heartbeat=0.03) if self._flickers else DEFAULT
        self.names = names or (SMALL if self._flickers else self.random.choice([SMALL, LARGE]))
        self.replicas = tuple(name for name in self.names if name.startswith("catalog"))
        self.minority = (len(self.names) - 1) // 2
        self.bug = bug
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0
        self.loss = 0.0 if quiet else self.random.choice([0.0, 0.05, 0.2])
        self.delay = 0.003 if quiet else self.random.choice([0.003, 0.02, 0.06])
        self.pace = 1.0
        self.healed = False
        self.cut: set[frozenset[str]] = set()
        self._emptied: set[str] = set()
        self.chosen: dict[Version, View] = {}
        self.cluster_id = ""
        self._history: list[tuple[float, float, Version]] = []
        self.nodes = {me: Node(self, me) for me in self.names}
        for node in self.nodes.values():
            self.at(self.random.uniform(0, 0.3), node.boot)

    # ---- time

    def at(self, delay: float, call: Callable[..., None], *args: Any) -> None:
        self._count += 1
        heapq.heappush(self._events, (self.now + delay, self._count, call, args))

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self._events and self._events[0][0] <= end:
            self.now, _, call, args = heapq.heappop(self._events)
            call(*args)
        self.now = end

    # ---- wires

    def send(self, sender: str, to: str, message: RegisterMessage | ViewMessage) -> None:
        if frozenset((sender, to)) in self.cut:
            return
        for _ in range(2 if self.random.random() < self.loss else 1):
            if sender == to or self.random.random() >= self.loss:
                slow = 20 if self.random.random() < 0.02 else 1
                self.at(self.random.expovariate(1 / self.delay) * slow, self.nodes[to].receive, sender, message)

    # ---- faults

    def emptied(self) -> set[str]:
        """The voters that have lost their memory and do not vote again yet."""
        self._emptied -= {name for name in self._emptied if (disk := self.nodes[name].disk) and disk.votes}
        return self._emptied

    def fault_of_kind(self) -> None:
        """Something goes wrong, and soon the next thing."""
        if not self.healed:
            self.flicker() if self._flickers else self.fault()

    def fault(self) -> None:
        node = self.nodes[self.random.choice([*self.names, self.names[-1]])]
        match self.random.choice(["crash", "crash", "wipe", "pause", "cut", "cut"]):
            case "crash":
                node.crash()
                self.at(self.random.choice([0.01, 0.05, 0.3, 1.0]), node.boot)
            case "wipe" if len(self.emptied() | {node.me}) <= self.minority:
                self.empty(node)
                self.at(self.random.choice([0.01, 0.05, 0.3]), node.boot)
            case "pause":
                node.pause()
                self.at(self.random.choice([0.1, 0.4, 1.5]), node.resume)
            case "cut":
                self.cut = {link for link in self._links() if self.random.random() < 0.3}
                self.at(self.random.uniform(0.1, 1.0), self.cut.clear)
        self.at(self.random.uniform(0.02, 0.4), self.fault_of_kind)

    def flicker(self) -> None:
        """Another kind of schedule: rivals that never hear each other, voters that restart in mid-round."""
        if not self.chosen:
            self.at(0.1, self.fault_of_kind)
            return
        self.cut, self.pace, self.delay = {frozenset(self.replicas[:2])}, 0.2, 0.01
        name = self.names[-1] if self.random.random() < 0.8 else self.random.choice(self.replicas)
        node = self.nodes[name]
        if node.up and node.disk is not None:
            node.crash()
            if self.random.random() < 0.1 and len(self.emptied() | {name}) <= self.minority:
                self.empty(node)
            self.at(0.001, node.boot)
        self.at(self.random.uniform(0.01, 0.08), self.fault_of_kind)

    def empty(self, node: Node) -> None:
        """The node goes down and loses its disk."""
        node.crash()
        node.disk = None
        self._emptied.add(node.me)

    def _links(self) -> list[frozenset[str]]:
        return [frozenset(pair) for pair in combinations(self.names, 2)]

    def heal(self) -> None:
        """No more faults from here on, a network that is as fast as a round's life asks for, and fewer changes."""
        self.healed = True
        self.loss, self.cut, self.delay, self.pace = 0.0, set(), 0.003, 5.0
        for node in self.nodes.values():
            node.resume()
            node.boot()

    # ---- what is promised

    def founded(self, cluster_id: str) -> None:
        """A node belongs to this cluster."""
        self.cluster_id = self.cluster_id or cluster_id
        if cluster_id != self.cluster_id:
            raise Violation(f"two clusters: {cluster_id} and {self.cluster_id}")

    def chose(self, operation: Operation, view: View) -> None:
        """A replica was told that this is the value."""
        if self.chosen.setdefault(view.number, view) != view:
            raise Violation(f"two values for {view.number}: {view.members} and {self.chosen[view.number].members}")
        self._history.append((operation.start, self.now, view.number))

    def check(self) -> None:
        """Real-time order: whatever begins after a value was told sees that value or a newer one."""
        told = sorted((end, number) for _, end, number in self._history)
        newest: Version = (0, 0)
        place = 0
        for start, _, number in sorted(self._history):
            while place < len(told) and told[place][0] < start:
                newest = max(newest, told[place][1])
                place += 1
            if number < newest:
                raise Violation(f"{number} was read after {newest} was")


class Node:
    """One node: a voter on its disk and, at a replica, a membership that is asked for one thing after another."""

    def __init__(self, cluster: Cluster, me: str) -> None:
        self.cluster = cluster
        self.me = me
        self.disk: VoterState | None = None
        self.life = 0  # of the process; unique, as an incarnation is
        self.up = False
        self._held: list[tuple[Callable[..., None], tuple[Any, ...]]] | None = None
        self._offset, self._rate = cluster.random.uniform(0, 99), 1 + cluster.random.uniform(-0.01, 0.01)
        self._disk_free = 0.0
        self._random = Random(cluster.random.random())
        self._operation: Operation | None = None

    # ---- life

    def clock(self) -> float:
        return self._offset + self.cluster.now * self._rate

    def boot(self) -> None:
        if self.up:
            return
        self.life, self.up, self._held, self._disk_free = self.life + 1, True, None, 0.0
        kept, names, timing = self._kept(), self.cluster.names, self.cluster.timing
        kept = replace(kept, charter=check_charter(kept.charter, None, names))
        self.voter = Voter(self.me, names, ("catalog",), kept, self.clock(), self._random, timing)
        self._build_in_bug()
        self._operation = None
        if self.me in self.cluster.replicas:
            core = self.core = Core(self.me, self.cluster.replicas, self.life, Log(Stock()), self.clock(), timing)
            make = replicated("catalog", names, lambda: self.voter.cluster_id, self._random)
            self.membership = cast(RegisterMembership, make(core, None, self._told))
            self._later(0, self._work)
        self._later(self._random.uniform(0, self.cluster.timing.heartbeat), self._tick)

    def crash(self) -> None:
        self.up, self._held, self.life = False, None, self.life + 1

    def pause(self) -> None:
        if self.up and self._held is None:
            self._held = []

    def resume(self) -> None:
        held, self._held = self._held, None
        self._random.shuffle(held := held or [])
        for call, args in held:
            call(*args)

    def _later(self, delay: float, call: Callable[..., None], *args: Any) -> None:
        self.cluster.at(delay, self._if_alive, self.life, call, args)

    def _if_alive(self, life: int, call: Callable[..., None], args: tuple[Any, ...]) -> None:
        if not self.up or self.life != life:
            return
        if self._held is not None:
            self._held.append((self._if_alive, (life, call, args)))
        else:
            call(*args)

    # ---- the bugs

    def _kept(self) -> VoterState:
        state = self.disk or VoterState()
        if self.cluster.bug == "volatile promise":
            votes = {name: replace(vote, promised=vote.accepted) for name, vote in state.votes.items()}
            return replace(state, votes=votes)
        if self.cluster.bug == "rejoin by reading" and self.disk is None:
            return self._read_from_others()
        return state

    def _read_from_others(self) -> VoterState:
        others = [node.disk for node in self.cluster.nodes.values() if node is not self and node.disk]
        states = [state for state in others if state.votes]
        if len(states) <= self.cluster.minority:
            return VoterState()
        read = self._random.sample(states, self.cluster.minority + 1)
        newest: Vote = max((state.votes["catalog"] for state in read), key=lambda vote: vote.accepted)
        return VoterState(read[0].charter, {"catalog": replace(newest, promised=newest.accepted)})

    def _build_in_bug(self) -> None:
        founding = self.voter._founding
        if self.cluster.bug == "birth by majority":
            founding._all_newborn = lambda: len(founding._newborn) >= self.cluster.minority  # type: ignore[method-assign]

    # ---- inputs

    def receive(self, sender: str, message: RegisterMessage | ViewMessage) -> None:
        self._if_alive(self.life, self._receive, (sender, message))

    def _receive(self, sender: str, message: RegisterMessage | ViewMessage) -> None:
        if not isinstance(message, ViewMessage):
            self._keep(self.voter.receive(sender, message, self.clock()))
        if self.me in self.cluster.replicas and isinstance(message, ViewMessage | RegisterReply):
            self._of_membership(self.membership.receive, sender, message)

    def _tick(self) -> None:
        self._keep(self.voter.tick(self.clock()))
        if self.me in self.cluster.replicas:
            self._of_membership(self.membership.tick)
        self._later(self.cluster.timing.heartbeat, self._tick)

    def _of_membership(self, method: Callable[..., None], *args: Any) -> None:
        self.core.now = self.clock()
        method(*args)
        effects, self.core.effects = self.core.effects, []
        self._send(effects)

    def _keep(self, keep: Keep) -> None:
        """Store, then send. What is not stored when the process dies is lost, and its replies with it."""
        if self.cluster.bug == "reply before store":
            self._send(keep.then)
            keep = replace(keep, then=())
        took = 0.0 if keep.state is None else self._random.uniform(0.0005, 0.01)
        self._disk_free = max(self._disk_free, self.cluster.now) + took
        self._later(self._disk_free - self.cluster.now, self._kept_now, keep)

    def _kept_now(self, keep: Keep) -> None:
        self.disk = keep.state or self.disk
        if self.voter.cluster_id:
            self.cluster.founded(self.voter.cluster_id)
        self._send(keep.then)

    def _send(self, effects: list[Effect] | tuple[Send | Note, ...]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                for to in effect.to:
                    self.cluster.send(self.me, to, effect.message)  # type: ignore[arg-type]

    # ---- work for the register

    def _work(self) -> None:
        """Ask for one thing after another; ask again after a while, as a replica does."""
        if self._operation is None and self.membership._goal is None:  # else a read is under way that began before
            self._operation = Operation(self.cluster.now)
            known = self.membership.known
            if known is None or self._random.random() < 0.4:
                self._of_membership(self.membership.read)
            else:
                self._of_membership(self.membership.change, known.number, self._successor(known))
        else:
            self._of_membership(self.membership.read)
        self._later(self._random.uniform(0.01, 0.3) * self.cluster.pace, self._work)

    def _successor(self, view: View) -> View:
        """A next view that nobody else proposes."""
        mark = {self.me: self._random.getrandbits(48)}
        if self._random.random() < 0.3:
            return replace(view, gen=view.gen + 1, members=mark)
        return View(view.epoch + 1, 0, mark, frozenset(mark), self.me)

    def _told(self, view: View) -> None:
        operation, self._operation = self._operation, None
        if operation is not None:
            self.cluster.chose(operation, view)
