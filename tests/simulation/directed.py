"""Schedules written by hand, for what chance meets too rarely: no random faults, no loss, the usual verdict."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pygmy.balancing.forwarding import Reply
from pygmy.caching.cache import BookOf
from pygmy.messages.internal import Executed, Invalidated
from pygmy.messages.operations import ChangeBook
from pygmy.messages.replication import Ack, Active, Grant, Heartbeat, Take, View
from tests.simulation.cluster import Shape, Simulation
from tests.simulation.process import ReplicaProcess
from tests.simulation.world import Violation


class Schedule:
    """A quiet catalog tier (and front ends) that does what it is told."""

    def __init__(
        self, replicas: int, front_ends: int = 0, trace: Callable[[str], None] | None = None, seed: int = 1
    ) -> None:
        shape = Shape(replicas, 0, front_ends)
        shape.quiet, shape.items = True, 1
        self.sim = Simulation(seed, shape, trace)
        self.run(0.8)
        self.until(lambda: all(self.node(index).server.opener.stock is None for index in range(replicas)))

    def run(self, seconds: float) -> None:
        self.sim.world.run_until(self.sim.world.now + seconds)

    def until(self, ready: Callable[[], bool], most: float = 2.0) -> None:
        """Let time pass in small steps, until something is so."""
        end = self.sim.world.now + most
        while not ready():
            if self.sim.world.now > end:
                raise Violation("the schedule does not come about")
            self.run(0.001)

    def node(self, index: int) -> ReplicaProcess:
        found = self.sim.nodes[f"catalog-{index}"]
        assert isinstance(found, ReplicaProcess)
        return found

    def core(self, index: int) -> Any:
        return self.node(index).driver.replica

    def write(self, index: int) -> Any:
        """One copy more, asked of this replica's ledger, once."""
        clients, node = self.sim.clients, self.node(index)
        task = clients._task(ChangeBook(1, increment=1))
        clients._told[task] = (task, None)
        task.tries = 1
        assert task.operation is not None
        answer: Any = node.driver.execute(task.operation, task.op_id)
        answer.addCallback(lambda result: clients._told_write(Reply(node.name, Executed((result,))), task))
        answer.addErrback(clients._refused, task)
        return task

    def read(self, name: str) -> Any:
        task = self.sim.clients._task(None)
        task.tries = 1
        self.sim.clients.look(task, BookOf(1), self.sim.nodes[name])
        return task

    def drop(self, sender: int, to: int, *kinds: str) -> None:
        self.sim.network.dropped |= {(f"catalog-{sender}", f"catalog-{to}", kind) for kind in kinds}

    def pass_on(self, sender: int, to: int, *kinds: str) -> None:
        self.sim.network.dropped -= {(f"catalog-{sender}", f"catalog-{to}", kind) for kind in kinds}

    def kill(self, *indexes: int) -> None:
        for index in indexes:
            self.node(index).kill()

    def boot(self, *indexes: int) -> None:
        for index in indexes:
            self.node(index).boot()

    def register(self) -> Any:
        return self.sim.registers["catalog"]

    def finish(self) -> str | None:
        self.sim.heal()
        self.sim.finish()
        return self.sim.verdict()


SCHEDULES: dict[str, tuple[Callable[[Schedule], None], int, int, tuple[str, ...]]] = {}


def schedule(replicas: int, front_ends: int, *bugs: str) -> Any:
    """Register a schedule, and which bugs it catches."""

    def register(play: Callable[[Schedule], None]) -> Callable[[Schedule], None]:
        SCHEDULES[play.__name__] = (play, replicas, front_ends, bugs)
        return play

    return register


def play(name: str, trace: Callable[[str], None] | None = None, seed: int = 1) -> str | None:
    """Play one schedule to its end: what is wrong, or None. The seed is that of the time that messages take."""
    steps, replicas, front_ends, _ = SCHEDULES[name]
    try:
        directed = Schedule(replicas, front_ends, trace, seed)
        steps(directed)
        return directed.finish()
    except Violation as violation:
        return str(violation)


def caught(name: str, trace: Callable[[str], None] | None = None) -> str | None:
    """What is wrong in a schedule with a bug, which may take messages that are neither slow nor fast."""
    return next((problem for seed in range(1, 5) if (problem := play(name, trace, seed))), None)


@schedule(2, 0, "no_give_resend", "give_on_take_only")
def lost_give(d: Schedule) -> None:
    """A stale TAKE moves the primary copy to a node that wants nothing, and that GIVE is lost."""
    d.write(1)
    d.run(0.3)
    d.write(0)
    d.run(0.3)
    assert d.core(0)._ownership.mine
    d.drop(0, 1, "give")
    d.node(0).driver.receive("catalog-1", Take(1))
    d.run(0.2)
    d.pass_on(0, 1, "give")
    d.write(0)
    d.run(0.5)


@schedule(3, 0, "sync_no_barrier")
def queued_commit_at_sync(d: Schedule) -> None:
    """A follower's commit still waits for its disk when it syncs; later it recovers alone."""
    d.write(0)
    d.run(0.3)
    d.kill(2)
    d.run(0.25)
    d.sim.stick(d.node(1))
    d.write(0)
    d.run(0.36)
    d.kill(0, 1)
    d.sim.unstick(d.node(1))
    d.boot(1)
    d.run(3)
    d.boot(0, 2)


@schedule(2, 0, "ack_again_early")
def repeated_update(d: Schedule) -> None:
    """An UPDATE comes twice to a member whose disk hangs; then the power goes, and that member recovers alone."""
    d.write(0)
    d.run(0.3)
    d.sim.stick(d.node(1))
    d.write(0)
    d.run(0.3)
    d.kill(0, 1)
    d.sim.unstick(d.node(1))
    d.boot(1)
    d.run(3)
    d.boot(0)


@schedule(2, 0, "activate_before_durable")
def activated_alone(d: Schedule) -> None:
    """The last survivor's disk hangs when it goes on alone; then its power goes too."""
    d.write(0)
    d.run(0.3)
    d.kill(1)
    d.run(0.1)
    d.sim.stick(d.node(0))
    d.write(0)
    d.run(0.7)
    d.kill(0)
    d.sim.unstick(d.node(0))
    d.boot(0, 1)


@schedule(3, 0, "presync_source")
def restarted_source_truncates(d: Schedule) -> None:
    """A restarted source copies a member that has not yet got a batch that the source had ACKed."""
    d.write(2)
    d.run(0.3)
    assert d.core(2)._ownership.mine
    d.drop(2, 0, "update")
    d.drop(1, 2, "suffix_request")
    d.register().unreachable = {"catalog-0", "catalog-2"}
    d.write(2)
    d.run(0.1)
    d.kill(1)
    d.boot(1)
    d.run(0.2)
    d.drop(1, 0, "suffix_request")
    d.pass_on(2, 0, "update")
    d.run(0.15)
    d.kill(0, 2)
    d.register().unreachable = set()
    d.run(3)
    d.boot(0, 2)


@schedule(2, 0, "reenter")
def reentered_epoch(d: Schedule) -> None:
    """Late messages of the epoch that a member left; its log ends with a batch that nobody else has."""
    d.kill(1)
    d.boot(1)
    d.run(2)
    left: View = d.register().view
    d.write(1)
    d.run(0.3)
    leader, node = d.core(0), d.core(1)
    assert node._ownership.mine
    assert left.leader == "catalog-0"
    d.drop(1, 0, "heartbeat", "grant", "update")
    d.drop(0, 1, "grant")
    d.until(lambda: leader._change._change_open_since is not None)
    sent = d.node(1).clock.seconds()
    beat = Heartbeat(node._core.incarnation, left.epoch, node.log.head, node.log.head_hash, sent)
    d.node(0).driver.receive("catalog-1", beat)  # granted just before the removal
    d.write(1)
    d.until(lambda: leader._core.epoch != left.epoch)

    def told(view: View) -> Callable[[float, int], Any]:
        def install(now: float, wall: int) -> Any:
            node._at(now, wall)
            node._change._install(view)
            return node._drain()

        return install

    d.node(1).driver._input(told(leader._core.view))
    d.node(1).driver._input(told(left))
    d.node(1).driver.receive("catalog-0", Active(left.epoch))
    d.node(1).driver.receive("catalog-0", Grant(left.epoch, sent))
    d.read("catalog-1")


@schedule(2, 0, "leader_only_sources")
def leader_dies_undeclared(d: Schedule) -> None:
    """The only source activates a view and dies before it can declare that its members are sources."""
    d.kill(1)
    d.boot(1)
    d.until(lambda: d.register().view.members.get("catalog-1") == 2)
    d.register().unreachable.add("catalog-0")
    d.until(lambda: d.core(1).mode == "RUNNING")
    d.kill(0)
    d.register().unreachable.clear()
    d.boot(0)
    d.register().unreachable.add("catalog-0")  # its read passes, its change is lost
    d.run(0.2)


@schedule(2, 0, "no_register_poll")
def late_change(d: Schedule) -> None:
    """A change that was given up as unknown lands after its proposer has read the old value."""
    d.register().view = View(2, 0, {"catalog-0": 1}, frozenset({"catalog-0"}), "catalog-0")
    d.run(1.5)


@schedule(3, 0, "readers_on_view_change")
def read_waits_through_a_view_change(d: Schedule) -> None:
    """While a read waits for a batch that only the owner has, a third member's restart brings a new view."""
    d.write(1)
    d.until(lambda: d.core(1)._ownership.mine)
    d.run(0.3)
    d.drop(1, 0, "update")
    d.drop(1, 2, "update")
    d.write(1)
    d.run(0.02)
    d.kill(2)
    d.boot(2)
    d.read("catalog-1")
    d.until(lambda: d.core(1)._core.epoch > 1)


@schedule(3, 0, "acks_across_epochs")
def late_ack(d: Schedule) -> None:
    """An ACK of an older epoch, for a batch of the same seq, comes late; then the power goes."""
    d.write(0)
    d.run(0.3)
    d.drop(0, 1, "update")
    d.drop(0, 2, "update")
    d.write(0)
    d.run(0.01)
    head = d.core(0).log.head
    # What catalog-1 and -2 would have said of the batch of that seq in an epoch before.
    for name in ("catalog-1", "catalog-2"):
        d.node(0).driver.receive(name, Ack(0, (0, head[1])))
    d.run(0.05)
    d.kill(0, 1, 2)
    d.boot(1, 2)
    d.run(3)
    d.boot(0)


def _cached_from(d: Schedule, index: int) -> None:
    """Have the front end cache the book from this very replica."""
    front_end: Any = d.sim.nodes["frontend-0"]
    for _ in range(20):
        d.read("frontend-0")
        d.run(0.02)
        entry = front_end.server.cache._entries["books"].get(BookOf(1))
        if entry is not None and entry.replica == f"catalog-{index}":
            return
        front_end.server.cache.drop(1)
    raise Violation("the schedule does not come about: the front end asks others")


@schedule(2, 1, "no_lease_wait")
def fast_restart(d: Schedule) -> None:
    """A replica restarts at once; a front end still holds a lease of its earlier incarnation."""
    _cached_from(d, 1)
    d.run(0.1)
    d.kill(1)
    d.boot(1)
    d.until(lambda: d.core(0)._core.epoch > 1 and d.core(0).mode == "RUNNING")
    task = d.write(0)
    d.until(lambda: task.done)
    d.read("frontend-0")


@schedule(2, 1, "recover_no_wait")
def fast_recovery(d: Schedule) -> None:
    """The whole tier restarts at once; a front end still holds a lease of before, a fresh one."""
    _cached_from(d, 1)
    front_end = d.sim.nodes["frontend-0"]
    leases = front_end.server.cache.leases
    fresh = 0.8 * d.sim.timing.lease
    d.until(lambda: leases.until("catalog-1", leases.session("catalog-1")) - front_end.clock.seconds() > fresh)
    d.kill(0, 1)
    d.boot(0, 1)
    d.until(lambda: d.core(0).mode == "RUNNING", most=3.0)
    task = d.write(0)
    d.until(lambda: task.done)
    d.read("frontend-0")


@schedule(2, 1, "drop_sessions_on_removal")
def removed_and_back(d: Schedule) -> None:
    """A living member is removed and comes back; meanwhile, what a front end cached from it has changed."""
    _cached_from(d, 1)
    d.drop(1, 0, "heartbeat", "grant")
    d.until(lambda: d.core(1).mode == "INIT", most=3.0)
    task = d.write(0)
    d.until(lambda: task.done)
    d.pass_on(1, 0, "heartbeat", "grant")
    d.until(lambda: d.core(1).mode == "RUNNING", most=3.0)
    d.run(0.3)
    d.read("frontend-0")


@schedule(2, 1, "fe_ack_without_number")
def doubled_ack_of_an_invalidation(d: Schedule) -> None:
    """The ack of an older invalidation comes again while a newer one is open, and lost on its way."""
    _cached_from(d, 1)
    task = d.write(1)
    d.until(lambda: task.done)
    _cached_from(d, 1)
    d.sim.network.dropped |= {("catalog-1", "frontend-0", "invalidate")}
    task = d.write(1)
    d.run(0.03)
    d.node(1).driver.receive("frontend-0", Invalidated(1))
    d.run(0.03)
    d.read("frontend-0")


@schedule(2, 0, "lease_on_receipt")
def grants_after_a_pause(d: Schedule) -> None:
    """A member is frozen while grants to it wait in its socket; meanwhile the others go on without it."""
    d.write(0)
    d.run(0.3)
    node = d.node(1)
    epoch, sent = d.core(1)._core.epoch, node.clock.seconds()
    node.freeze()
    d.until(lambda: d.core(0)._core.epoch > epoch and d.core(0).mode == "RUNNING")
    task = d.write(0)
    d.until(lambda: task.done)
    held, node.clock._held = node.clock._held, []
    node.thaw()
    node.driver.receive("catalog-0", Grant(epoch, sent))  # of all that waited in its sockets, this comes first
    d.read("catalog-1")
    for call, arguments in held:
        node.clock.run(call, *arguments)
