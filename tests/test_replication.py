"""The protocol core, rule by rule: replicas on a network, disks and a clock that a test holds in its hands."""

from collections.abc import Callable
from typing import Any

import pytest

from pygmy.messages.internal import Invalidate, Invalidated
from pygmy.messages.operations import (
    Book,
    ChangeBook,
    Line,
    NewBook,
    NoSuchBook,
    OpenStock,
    Operation,
    Result,
    Reused,
    Sell,
    Sold,
)
from pygmy.messages.replication import (
    Ack,
    Batch,
    Entry,
    Give,
    Grant,
    Heartbeat,
    Join,
    QueryValidate,
    Status,
    Suffix,
    SuffixRequest,
    SyncAck,
    Take,
    Took,
    Update,
    Validate,
    View,
)
from pygmy.replication import views
from pygmy.replication.effects import Abandon, Answer, Fetch, Recheck, SaveView, Send, Store, Synced
from pygmy.replication.leases import NEVER, Leases
from pygmy.replication.log import Log, LogBroken, chained, digest_of, result_of
from pygmy.replication.replica import Found, Replica, Submission
from pygmy.replication.sessions import Sessions
from pygmy.replication.timing import Timing
from pygmy.state.stock import Stock, item_key
from tests.support.ideal_register import Register

STEP = 0.05
WALL = 1_700_000_000_000
ONE = Sell((Line(1, 1),))
STOCK = OpenStock((NewBook("One", "t", 3000, 100, 1), NewBook("Two", "u", 2000, 50, 2)), "digest")
KEY = frozenset({item_key(1)})


class Node:
    """A replica and what its driver would hold."""

    def __init__(self, net: "Net", name: str) -> None:
        self.net = net
        self.name = name
        self.disk: list[Batch] = []
        self.view: View | None = None
        self.member = False
        self.incarnation = 0
        self.up = False
        self.boot()

    def boot(self) -> None:
        self.incarnation += 1
        self.up, self.working = True, True
        self.log = Log(Stock(), window=self.net.timing.window)
        for batch in self.disk:
            self.log.append(batch)
        self.replica = Replica(
            self.name, self.net.names, self.incarnation, self.log, self.view, self.net.now, self.net.timing,
            self.net.register.membership, previous=self.incarnation - 1, emptied=not self.member,
        )  # fmt: skip
        self.stores: list[Store] = []
        self.answers: dict[int, Any] = {}
        self.asked: dict[int, tuple[str, Operation]] = {}
        self.effects: list[Any] = []
        self.next_tick = self.net.now
        self.granted = 0.0

    def give(self, effects: list[Any]) -> None:
        for effect in effects:
            self.effects.append(effect)
            match effect:
                case Send(to, message):
                    if isinstance(message, Grant):
                        self.granted = self.net.now
                    self.net.post(self.name, to, message)
                case Store():
                    self.stores.append(effect)
                case Answer(ticket, result):
                    assert ticket not in self.answers, "answered twice"
                    self.answers[ticket] = result
                case Abandon(ticket):
                    self.answers[ticket] = effect
                case Recheck(ticket):
                    self.submit_again(ticket)
                case Fetch():
                    batches = tuple(self.disk[effect.first - 1 : effect.first + 99])
                    self.give(self.replica.fetched(effect, batches, *self.net.time))
                case SaveView(view, member):
                    self.view, self.member = view, member

    def write_disk(self) -> bool:
        """One transaction; then what the driver does: wait for the front ends, and tell."""
        if not self.working or not self.stores:
            return False
        for store in list(self.stores):
            self.commit(store)
            if not store.invalidations & self.replica.open_invalidations(self.net.now):
                self.stores.remove(store)
                self.give(self.replica.stored(store.token, *self.net.time))
                return True
        return False

    def commit(self, store: Store) -> None:
        if store.batches and self.disk and store.batches[-1].version == self.disk[-1].version:
            return  # committed already; it waits for front ends
        assert store.cut >= len(self.disk), "more than the last batch would be dropped"
        del self.disk[store.cut - 1 :]
        self.disk.extend(store.batches)

    def submit(self, operation: Operation, op_id: str, found: Found | None = None) -> int:
        ticket = self.net.ticket()
        self.asked[ticket] = (op_id, operation)
        found = self.look_up(op_id) if found is None else found
        self.give(self.replica.submit([Submission(ticket, op_id, operation, found)], *self.net.time))
        return ticket

    def submit_again(self, ticket: int) -> None:
        op_id, operation = self.asked[ticket]
        self.give(self.replica.submit([Submission(ticket, op_id, operation, self.look_up(op_id))], *self.net.time))

    def look_up(self, op_id: str) -> Found:
        for batch in self.disk:
            for index, entry in enumerate(batch.entries):
                if entry.op_id == op_id:
                    return Found((entry, result_of(entry, batch.version, index)), len(self.disk))
        return Found(None, len(self.disk))

    def readable(self, item: int = 1) -> bool | None:
        return self.replica.readable(frozenset({item_key(item)}), self.net.now)

    def await_read(self, read: Callable[[], None]) -> None:
        self.give(self.replica.await_read(read, *self.net.time))

    def count(self, item: int = 1) -> int:
        machine: Any = self.log.machine
        return int(machine.shelves.book(item).count)

    @property
    def owns(self) -> bool:
        return self.replica._ownership.mine

    def sent(self, kind: type) -> list[Any]:
        return [e.message for e in self.effects if isinstance(e, Send) and isinstance(e.message, kind)]


class Net:
    """The tier, and front ends that obey their invalidations unless they are `deaf`."""

    def __init__(self, names: str = "ab", timing: Timing | None = None) -> None:
        self.timing = timing or Timing()
        self.names = tuple(names)
        self.register = Register(self.names)
        self.now = 100.0
        self.mail: list[tuple[str, str, Any]] = []
        self.lost: Callable[[str, str, Any], bool] = lambda sender, to, message: False
        self.deaf: set[str] = set()
        self._ticket = 0
        self.nodes = {name: Node(self, name) for name in names}

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    @property
    def time(self) -> tuple[float, int]:
        return self.now, WALL + round(self.now * 1000)

    def ticket(self) -> int:
        self._ticket += 1
        return self._ticket

    def lose(self, *kinds: type, to: str = "") -> None:
        """From now on, lose these kinds of messages (to this node only)."""
        self.lost = lambda _, receiver, message: isinstance(message, kinds) and receiver.startswith(to)

    def cut(self, name: str) -> None:
        """Nothing reaches this node or leaves it."""
        self.lost = lambda sender, to, message: name in (sender, to)
        self.register.unreachable = {name}

    def lose_nothing(self) -> None:
        self.register.unreachable = set()
        self.lost = lambda sender, to, message: False

    def post(self, sender: str, to: tuple[str, ...], message: Any) -> None:
        self.mail.extend((sender, name, message) for name in to if not self.lost(sender, name, message))

    def deliver(self) -> bool:
        if not self.mail:
            return False
        sender, to, message = self.mail.pop(0)
        if to.startswith("front"):
            if to not in self.deaf and isinstance(message, Invalidate):
                self.post(to, (sender,), Invalidated(message.number))
        elif self.nodes[to].up and (sender.startswith("front") or self.nodes[sender].up):
            node = self.nodes[to]
            node.give(node.replica.receive(sender, message, *self.time))
        return True

    def settle(self) -> None:
        """Deliver everything and write everything; no time passes."""
        for _ in range(10_000):
            wrote = [node.write_disk() for node in self.nodes.values() if node.up]
            if not self.deliver() and not any(wrote):
                return
        raise AssertionError("it never gets quiet")

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        self.settle()
        while self.now < end - 1e-9:
            self.now += STEP
            for node in self.nodes.values():
                if node.up and self.now >= node.next_tick - 1e-9:
                    node.next_tick = self.now + self.timing.heartbeat
                    node.give(node.replica.tick(*self.time))
            self.settle()

    def until(self, done: Callable[[], object], limit: float = 20) -> float:
        """How long it takes until `done()`."""
        started = self.now
        while not done():
            assert self.now - started < limit, {n: node.replica.mode for n, node in self.nodes.items()}
            self.run(STEP)
        return self.now - started

    def kill(self, name: str) -> None:
        self.nodes[name].up = False

    def alone(self, name: str) -> bool:
        """True if this node runs the tier by itself."""
        replica = self.nodes[name].replica
        return replica.mode == "RUNNING" and replica.view is not None and list(replica.view.members) == [name]

    def modes(self) -> str:
        return " ".join(node.replica.mode for node in self.nodes.values() if node.up)

    def running(self) -> bool:
        return all(node.replica.mode == "RUNNING" for node in self.nodes.values() if node.up)

    def full(self) -> bool:
        """All nodes are members and sources."""
        return self.running() and all(
            node.replica.view is not None and len(node.replica.view.sources) == len(self.names)
            for node in self.nodes.values()
        )

    def write(self, name: str, op_id: str, operation: Operation = ONE) -> Any:
        """Submit, settle, and the answer."""
        ticket = self[name].submit(operation, op_id)
        self.settle()
        return self[name].answers.get(ticket)

    def agree(self) -> None:
        self.run(2)
        disks = [node.disk for node in self.nodes.values() if node.up]
        assert all(disk == disks[0] for disk in disks)
        assert len({node.log.head_hash for node in self.nodes.values() if node.up}) == 1


def opened(names: str = "ab", **timing: Any) -> Net:
    """A tier that runs and has books, 100 copies of book 1."""
    net = Net(names, Timing(**timing))
    net.run(2)
    assert net.full()
    assert net.write(names[0], "open", STOCK) is not None
    return net


@pytest.fixture
def net() -> Net:
    return opened()


# ---- V0: birth


def test_newborn_nodes_make_one_view_of_all() -> None:
    net = Net("abc")
    net.run(1)
    views = {repr(node.replica.view) for node in net.nodes.values()}
    assert len(views) == 1
    assert net["a"].replica.view == View(1, 0, {"a": 1, "b": 1, "c": 1}, frozenset("abc"), "a")
    assert net.modes() == "RUNNING RUNNING RUNNING"


def test_a_node_alone_serves_without_leases() -> None:
    net = Net("a")
    net.run(0.5)
    net.write("a", "open", STOCK)
    assert isinstance(net.write("a", "k").outcome, Sold)
    assert net["a"].readable() is True


def test_nobody_serves_before_the_view_is_active() -> None:
    net = Net()
    assert net["a"].readable() is False
    assert net["a"].submit(ONE, "k") in net["a"].answers
    assert net["a"].replica.why()


# ---- P1 to P8: a write


def test_a_write_is_answered_once_all_members_have_it_on_disk(net: Net) -> None:
    a, b = net["a"], net["b"]
    a.working = b.working = False
    ticket = a.submit(ONE, "k")
    net.settle()
    assert b.readable() is None, "P6: pending at the follower as soon as it has arrived"
    assert not b.sent(Ack)[1:], "P6: an ack before the fsync"
    a.working = True
    net.settle()
    assert ticket not in a.answers, "P7: answered before every member has acked"
    assert a.readable() is None
    b.working = True
    net.settle()
    assert isinstance(a.answers[ticket].outcome, Sold)
    assert (a.readable(), b.readable()) == (True, True)
    assert a.disk == b.disk


def test_a_write_waits_for_the_owners_own_disk_too(net: Net) -> None:
    a = net["a"]
    a.working = False
    ticket = a.submit(ONE, "k")
    net.settle()
    assert net["b"].sent(Ack)
    assert ticket not in a.answers
    a.working = True
    net.settle()
    assert ticket in a.answers


def test_what_waits_goes_as_one_batch(net: Net) -> None:
    a = net["a"]
    a.working = False
    tickets = [a.submit(ONE, f"k{n}") for n in range(10)]
    a.working = True
    net.settle()
    assert len(a.disk) == 3  # the books, the first write, and the other nine
    assert [a.answers[t].outcome.lines[0].left for t in tickets] == list(range(99, 89, -1))


def test_an_update_without_an_answer_is_repeated(net: Net) -> None:
    a = net["a"]
    net.lose(Update)
    ticket = a.submit(ONE, "k")
    net.settle()
    assert ticket not in a.answers
    net.lose_nothing()
    net.run(0.3)
    assert ticket in a.answers


def test_an_ack_that_got_lost_is_given_again_but_never_before_the_disk_has_it(net: Net) -> None:
    a, b = net["a"], net["b"]
    acks = len(b.sent(Ack))
    b.working = False
    ticket = a.submit(ONE, "k")
    net.run(0.6)
    assert len(b.sent(Update)) == 0
    assert len(b.sent(Ack)) == acks, "an ack before durable: lost on power cut"
    net.lose(Ack)
    b.working = True
    net.settle()
    net.lose_nothing()
    net.run(0.3)
    assert ticket in a.answers


def test_a_validate_that_got_lost_is_asked_for(net: Net) -> None:
    b = net["b"]
    net.lose(Validate)
    net.write("a", "k")
    assert b.readable() is None
    net.lose_nothing()
    net.run(0.3)
    assert b.readable() is True
    assert b.sent(QueryValidate)


def test_a_reader_has_the_validate_hastened_before_and_after_the_commit(net: Net) -> None:
    """Nobody waits for a VALIDATE, so it may wait for company; unless somebody does."""
    a, b = net["a"], net["b"]
    seen: list[int] = []

    def patience() -> list[bool]:
        """Of the VALIDATEs that the owner has sent since this was asked last."""
        sent = [e.patient for e in a.effects if isinstance(e, Send) and isinstance(e.message, Validate)]
        a.effects.clear()
        return sent

    patience()
    net.write("a", "nobody waits")
    assert patience() == [True]
    b.working = False
    a.submit(ONE, "k")
    net.settle()
    for node in (a, b):
        node.await_read(lambda: seen.append(1))
    b.await_read(lambda: seen.append(2))
    net.settle()
    assert (len(b.sent(QueryValidate)), a.sent(QueryValidate), patience()) == (1, [], [])
    b.working = True
    net.settle()
    assert (sorted(seen), patience()) == ([1, 1, 2], [False])
    net.lose(Validate)
    net.write("a", "another")
    net.lose_nothing()
    b.await_read(lambda: seen.append(3))
    net.settle()
    assert (seen[3:], patience()) == ([3], [True, False])


def test_the_follower_carries_every_batch_out_again() -> None:
    """A batch that comes out otherwise here means that the copies differ: stop."""
    log = Log(Stock())
    entry = Entry("open", digest_of(STOCK), STOCK, 1, Sold((), 0))
    with pytest.raises(LogBroken, match="otherwise"):
        log.append(Batch(1, 1, 0, (entry,), chained(log.head_hash, (1, 1), 0, (entry,))))


@pytest.mark.parametrize(("base", "tamper"), [(1, ""), (0, "x")])
def test_a_batch_that_does_not_follow_is_not_appended(base: int, tamper: str) -> None:
    log = Log(Stock())
    with pytest.raises(LogBroken, match="follow"):
        log.append(Batch(1, 1, base, (), chained(log.head_hash, (1, 1), base, ()) + tamper))


def test_a_log_lacks_what_is_neither_in_memory_nor_known_to_be_on_disk(net: Net) -> None:
    net.write("a", "k")
    log = net["a"].log
    assert (log.lacks("k"), log.lacks("other")) == (False, True)
    log.older.add("other")
    assert not log.lacks("other")
    log.older.complete = False
    assert not log.lacks("a third one")


def test_a_log_drops_its_last_batch_at_most(net: Net) -> None:
    net.write("a", "k")
    assert net["a"].log.head[1] == 2
    with pytest.raises(LogBroken, match="more than the last"):
        net["a"].log.truncate(1)
    assert net["a"].log.truncate(3) is False


# ---- P2, P3: the primary copy moves


def test_the_primary_copy_moves_to_whoever_wants_to_write(net: Net) -> None:
    a, b = net["a"], net["b"]
    assert (a.owns, b.owns) == (True, False)
    assert isinstance(net.write("b", "k").outcome, Sold)
    assert (a.owns, b.owns) == (False, True)
    assert b.sent(Take)
    assert b.sent(Update)
    assert isinstance(net.write("a", "k2").outcome, Sold)
    assert (a.owns, b.owns) == (True, False)
    net.agree()


def test_a_take_that_overtakes_the_give_is_not_forgotten(net: Net) -> None:
    """Requests have connections of their own: else its sender would wait until the next heartbeat."""
    a, b = net["a"], net["b"]
    net.write("a", "k0")
    b.give(b.replica.receive("a", Take(b.replica.view.epoch), *net.time))  # type: ignore[union-attr]
    ticket = b.submit(ONE, "k1")
    net.settle()
    assert ticket in b.answers
    assert (a.owns, b.owns) == (True, False)


def test_a_take_of_long_ago_moves_nothing(net: Net) -> None:
    a, b = net["a"], net["b"]
    net.write("a", "k0")
    b.give(b.replica.receive("a", Take(b.replica.view.epoch), *net.time))  # type: ignore[union-attr]
    net.run(0.3)
    net.write("b", "k1")
    assert (a.owns, b.owns) == (False, True)


def test_only_an_idle_owner_gives_the_primary_copy_away(net: Net) -> None:
    a, b = net["a"], net["b"]
    a.working = False
    first = a.submit(ONE, "k1")
    second = b.submit(ONE, "k2")
    net.run(0.6)
    assert not a.sent(Give)
    a.working = True
    net.settle()
    assert a.answers[first].outcome.lines[0].left == 99
    assert b.answers[second].outcome.lines[0].left == 98


def test_a_give_is_repeated_until_it_is_took_and_makes_no_second_owner(net: Net) -> None:
    a, b = net["a"], net["b"]
    net.lose(Give)
    ticket = b.submit(ONE, "k")
    net.run(0.6)
    assert (a.owns, b.owns, ticket in b.answers) == (False, False, False)
    net.lose(Took)
    net.run(0.3)
    assert (b.owns, ticket in b.answers) == (True, True)
    gives = len(a.sent(Give))
    net.write("a", "k2")  # the primary copy goes back while the first GIVE is still being repeated
    net.run(0.6)
    assert a.owns + b.owns == 1
    net.write("b", "k3")
    assert len(a.sent(Give)) > gives
    net.lose_nothing()
    net.run(0.6)
    gives = len(a.sent(Give))
    net.run(1)
    assert len(a.sent(Give)) == gives, "repeated though it was TOOK"
    net.agree()


def test_an_old_give_that_comes_late_makes_no_owner(net: Net) -> None:
    a, b = net["a"], net["b"]
    net.write("b", "k1")
    late = a.sent(Give)[0]
    net.write("a", "k2")
    b.give(b.replica.receive("a", late, *net.time))
    assert (a.owns, b.owns) == (True, False)


def test_waiters_are_served_in_turn() -> None:
    net = opened("abc")
    a = net["a"]
    a.working = False
    a.submit(ONE, "k0")
    tickets = {name: net[name].submit(ONE, f"k-{name}") for name in "bc"}
    net.settle()
    a.working = True
    net.settle()
    assert all(tickets[name] in net[name].answers for name in "bc")
    assert [net["c"].owns, net["b"].owns] == [True, False]
    net.agree()


def test_a_replica_that_only_writes_still_lets_others_write(net: Net) -> None:
    """Waiters get GIVE before the owner's next batch."""
    a, b = net["a"], net["b"]
    a.working = False
    a.submit(ONE, "k0")
    net.settle()
    mine = [a.submit(ONE, f"k{n}") for n in range(1, 600)]
    other = b.submit(ONE, "other")
    net.settle()
    a.working = True
    net.settle()
    outcome = b.answers[other].outcome
    assert isinstance(outcome, Sold)
    assert outcome.lines[0].left == 98, "it waited behind the owner's whole queue"
    assert all(ticket in a.answers for ticket in mine)


# ---- exactly once


def test_a_known_op_id_gets_its_answer_again_wherever_it_is_asked(net: Net) -> None:
    first = net.write("a", "k")
    assert net.write("a", "k") == net.write("b", "k") == first
    assert first.seq == 2
    assert not net["b"].sent(Take), "a retry needs no primary copy"
    assert net["a"].count() == 99


def test_the_same_op_id_with_another_payload_is_refused_and_recorded_nowhere(net: Net) -> None:
    net.write("a", "k")
    for name in "ab":
        assert isinstance(net.write(name, "k", Sell((Line(1, 2),))).outcome, Reused)
    assert len(net["a"].disk) == 2


def test_a_retry_that_overtakes_the_commit_is_not_answered_before_it(net: Net) -> None:
    a, b = net["a"], net["b"]
    b.working = False
    tickets = [a.submit(ONE, "k"), a.submit(ONE, "k"), a.submit(Sell((Line(2, 1),)), "k")]
    elsewhere = b.submit(ONE, "k")
    net.settle()
    assert not any(ticket in a.answers for ticket in tickets)
    assert elsewhere not in b.answers
    b.working = True
    net.settle()
    assert a.answers[tickets[0]] == a.answers[tickets[1]] == b.answers[elsewhere]
    assert isinstance(a.answers[tickets[2]].outcome, Reused)
    assert a.count() == 99


def test_two_tries_in_one_batch_are_one_sale(net: Net) -> None:
    a = net["a"]
    a.working = False
    a.submit(ONE, "first")
    tickets = [a.submit(ONE, "k"), a.submit(ONE, "k")]
    a.working = True
    net.settle()
    assert a.answers[tickets[0]] == a.answers[tickets[1]]
    assert a.count() == 98


def test_a_refusal_for_want_of_stock_is_an_answer_for_good(net: Net) -> None:
    refused = net.write("a", "k", Sell((Line(1, 101),)))
    net.write("a", "more", ChangeBook(1, count=1000))
    assert net.write("a", "k", Sell((Line(1, 101),))) == refused


def test_an_unknown_book_is_refused_and_not_recorded(net: Net) -> None:
    nothing = Sell((Line(9, 1),))
    assert net.write("a", "k", nothing).outcome == NoSuchBook((9,))
    assert len(net["a"].disk) == 1


def test_a_refusal_without_a_record_is_a_read_and_needs_the_lease(net: Net) -> None:
    a = net["a"]
    net.lose(Grant)
    net.run(1.1)
    assert a.readable() is False
    ticket = a.submit(Sell((Line(9, 1),)), "k")
    net.settle()
    assert ticket not in a.answers
    net.lose_nothing()
    net.run(0.6)
    assert a.answers[ticket].outcome == NoSuchBook((9,))


def test_a_look_up_too_old_to_decide_by_is_made_again() -> None:
    """The window in memory has moved past it: what it did not find may be on disk by now."""
    net = opened(window=2)
    a = net["a"]
    sold = net.write("a", "k")
    for number in range(6):
        net.write("a", f"more{number}")
    assert a.log.result("k") is None
    ticket = a.submit(ONE, "k", Found(None, 1))
    net.settle()
    assert [e for e in a.effects if isinstance(e, Recheck)]
    assert a.answers[ticket] == sold
    assert a.count() == 93


def test_the_queue_is_bounded() -> None:
    net = opened(queue=3)
    a = net["a"]
    a.working = False
    tickets = [a.submit(ONE, f"k{n}") for n in range(5)]
    refused = [a.answers[t] for t in tickets if t in a.answers]
    assert [(r.unknown, "Too many" in r.why) for r in refused] == [(False, True)]
    a.working = True
    net.settle()
    assert a.count() == 96


# ---- reads


def test_a_read_waits_for_the_commit_that_touches_it_and_sees_the_new_value(net: Net) -> None:
    a, b = net["a"], net["b"]
    b.working = False
    a.submit(ChangeBook(1, count=7), "k")
    net.settle()
    for node in (a, b):
        assert (node.readable(1), node.readable(2)) == (None, True)
        assert node.replica.readable(frozenset({"topic t"}), net.now) is True, "a list without counts is not touched"
    seen: list[tuple[str, int]] = []
    for node in (a, b):
        node.await_read(lambda node=node: seen.append((node.name, node.count())))  # type: ignore[misc]
    assert not seen
    b.working = True
    net.settle()
    assert sorted(seen) == [("a", 7), ("b", 7)]


def test_without_leases_there_are_no_reads(net: Net) -> None:
    net.lose(Heartbeat)
    assert net["b"].readable() is True
    net.run(1.05)
    assert net["b"].readable() is False
    assert "lease" in net["b"].replica.why()
    assert net["b"].replica.chosen(net.now) is None


def test_a_lease_counts_from_the_sending_of_the_heartbeat(net: Net) -> None:
    """A grant that was on its way for long is worth little: the grantor has counted all the while."""
    b = net["b"]
    net.lose(Grant)
    net.run(0.5)
    grants = net["a"].sent(Grant)
    net.run(1)
    b.give(b.replica.receive("a", grants[-1], *net.time))
    assert b.readable() is False


# ---- sessions of front ends


def front(net: Net, name: str = "a", holder: str = "front-0") -> Any:
    return net[name].replica.fill(holder, KEY, net.now)


def test_a_write_waits_until_front_ends_have_dropped_what_it_touches(net: Net) -> None:
    for name in "ab":  # the owner's own front ends, and the follower's
        session, lease = front(net, name)
        assert session == (1, 0)
        assert 0 < lease <= 1
        net.deaf = {"front-0"}
        ticket = net["a"].submit(ONE, f"k-{name}")
        net.run(0.3)
        assert ticket not in net["a"].answers
        net.deaf = set()
        net.run(0.3)
        assert isinstance(net["a"].answers[ticket].outcome, Sold)


def test_a_write_that_touches_nothing_held_waits_for_nobody(net: Net) -> None:
    front(net)
    net.deaf = {"front-0"}
    assert isinstance(net.write("a", "k", Sell((Line(2, 1),))).outcome, Sold)


def test_a_front_end_that_is_gone_holds_a_write_up_for_its_lease_only(net: Net) -> None:
    front(net)
    net.deaf = {"front-0"}
    ticket = net["a"].submit(ONE, "k")
    took = net.until(lambda: ticket in net["a"].answers)
    assert 0.5 < took < 1.3
    assert front(net)[0] == (1, 1), "it goes on under a new session: what it kept under the old one is void"


def held(incarnation: int = 1) -> tuple[Sessions, list[tuple[str, Invalidate]]]:
    told: list[tuple[str, Invalidate]] = []
    return Sessions(incarnation, lambda name, message: told.append((name, message))), told


def test_a_session_is_renewed_only_under_its_current_name() -> None:
    sessions, _ = held()
    session, lease = sessions.fill("f", KEY, 0.8, now=10)
    assert (session, lease) == ((1, 0), 0.8)
    assert sessions.renew("f", session, 0.7, now=10.5) == ((1, 0), 0.7)
    assert sessions.renew("f", (0, 5), 0.7, now=10.5) == ((1, 0), 0.0)
    assert sessions.renew("f", None, 0.7, now=10.5) == ((1, 0), 0.0)
    assert sessions.renew("f", session, 0.0, now=10.5) is None, "no lease here, none for others"


def test_while_an_invalidation_is_open_nothing_is_let() -> None:
    sessions, told = held()
    session, _ = sessions.fill("f", KEY, 1, now=10)
    numbers = sessions.invalidate(KEY, now=10.1)
    assert [message.number for _, message in told] == list(numbers)
    assert sessions.fill("f", KEY, 1, now=10.2) == (None, 0.0)
    assert sessions.renew("f", session, 1, now=10.2) is None
    assert sessions.fill("g", KEY, 1, now=10.2)[0] == (1, 0), "another front end is not concerned"
    sessions.invalidated("f", *numbers)
    assert sessions.open_numbers() == frozenset()
    assert sessions.renew("f", session, 1, now=10.3) == (session, 1)


def test_an_ack_counts_for_its_own_number_only() -> None:
    sessions, told = held()
    sessions.fill("f", KEY, 1, now=10)
    (first,) = sessions.invalidate(KEY, now=10)
    sessions.invalidated("f", first)
    sessions.fill("f", KEY, 1, now=10)
    (second,) = sessions.invalidate(KEY, now=10)
    sessions.invalidated("f", first)
    sessions.invalidated("g", second)
    assert sessions.open_numbers() == {second}
    sessions.tick(now=10.2)
    assert told[-1] == ("f", Invalidate(second, tuple(KEY))), "it is repeated"


def test_numbers_are_unique_across_boots() -> None:
    numbers: set[int] = set()
    for incarnation in (1, 2):
        sessions, _ = held(incarnation)
        sessions.fill("f", KEY, 1, now=10)
        numbers |= sessions.invalidate(KEY, now=10)
    assert len(numbers) == 2


def test_a_lapsed_front_end_is_skipped_and_its_session_moves_on() -> None:
    sessions, told = held()
    sessions.fill("f", KEY, 0.5, now=10)
    assert sessions.invalidate(KEY, now=10.6) == frozenset()
    assert not told
    assert sessions.renew("f", (1, 0), 1, now=10.7) == ((1, 1), 0.0), "a renewal must not revive the old session"


def test_an_open_invalidation_ends_with_the_lease() -> None:
    sessions, _ = held()
    sessions.fill("f", KEY, 0.5, now=10)
    numbers = sessions.invalidate(KEY, now=10.1)
    sessions.lapse_expired(now=10.4)
    assert sessions.open_numbers() == numbers
    sessions.lapse_expired(now=10.51)
    assert sessions.open_numbers() == frozenset()
    assert sessions.fill("f", KEY, 1, now=11)[0] == (1, 1)


# ---- a member fails


def test_a_dead_follower_is_removed_and_the_write_goes_on(net: Net) -> None:
    net.kill("b")
    ticket = net["a"].submit(ONE, "k")
    took = net.until(lambda: ticket in net["a"].answers)
    assert isinstance(net["a"].answers[ticket].outcome, Sold)
    assert 1.0 < took < 2.0
    view = net["a"].replica.view
    assert view is not None
    assert (view.epoch, view.members, view.sources) == (2, {"a": 1}, frozenset("a"))


def test_a_node_that_is_cut_off_has_stopped_reading_before_the_others_go_on_without_it(net: Net) -> None:
    a, b = net["a"], net["b"]
    net.cut("b")
    ticket = a.submit(ChangeBook(1, count=7), "k")
    while ticket not in a.answers:
        net.run(STEP)
        if net.alone("a"):
            assert b.readable() is False, "both sides serve"
    assert a.answers[ticket].outcome.book.count == 7


def test_a_view_without_a_member_waits_until_its_last_lease_has_run_out(net: Net) -> None:
    """Also when it is known at once that the member has gone: who knows what it has let its front ends have."""
    a, b = net["a"], net["b"]
    net.run(0.2)
    net.kill("b")
    granted = a.granted
    b.boot()  # at once: its probe tells that the older incarnation is dead
    net.until(lambda: net.register.members()[-1] == {"a": 1})
    assert net.now < granted + net.timing.lease
    net.until(lambda: net.alone("a"))
    assert net.now >= granted + net.timing.lease - 1e-6


def test_a_grant_is_for_one_incarnation() -> None:
    """A restart is another node: what was promised to the former one has to run out all the same."""
    leases = Leases(Timing())
    leases.book("b", 1, 10.0)
    assert leases.outsiders_until({"a": 1, "b": 1}) == NEVER
    assert leases.outsiders_until({"a": 1, "b": 2}) == 11.0
    leases.book("b", 2, 10.5)
    assert leases.outsiders_until({"a": 1}) == 11.5
    leases.release("b", 2)
    assert leases.outsiders_until({"a": 1}) == 11.0


@pytest.mark.parametrize(("stuck", "well"), ["ab", "ba"])
def test_a_member_whose_disk_hangs_is_a_failed_member(net: Net, stuck: str, well: str) -> None:
    """It neither grants nor asks for grants, and it does not take the others for dead who get none from it."""
    net[stuck].working = False
    net["a"].submit(ONE, "k")
    net.until(lambda: net.alone(well))
    assert net.register.members() == [{"a": 1, "b": 1}, {well: 1}]
    assert isinstance(net.write(well, "k2").outcome, Sold)
    assert net[stuck].readable() is False
    net[stuck].working = True
    net.until(net.full)
    net.agree()


def test_what_a_dead_owner_left_is_adopted_by_whoever_has_it(net: Net) -> None:
    """The update has reached the survivor: the batch counts, and a retry hears of it."""
    a, b = net["a"], net["b"]
    net.lose(Ack)
    a.submit(ONE, "k")
    net.settle()
    decided = b.log.result("k")
    assert decided is not None
    net.kill("a")
    net.lose_nothing()
    net.until(lambda: net.alone("b"))
    assert net.write("b", "k") == decided[1]
    assert b.count() == 99


def test_a_batch_that_the_new_leader_never_saw_is_rolled_back_with_its_op_ids() -> None:
    net = opened("abc")
    a, b = net["a"], net["b"]
    net.write("b", "before")  # b owns the log; a leads
    net.lost = lambda sender, to, message: isinstance(message, Update) and message.epoch == 1
    ticket = b.submit(ONE, "k")
    net.settle()
    tentative = b.log.result("k")
    assert tentative is not None
    assert b.disk[-1].entries[0].op_id == "k"
    net.kill("c")
    net.run(1)
    assert ticket not in b.answers
    net.until(lambda: ticket in b.answers)
    result: Result = b.answers[ticket]
    assert result.epoch == 2, "the answer is that of a sale that never was"
    assert isinstance(result.outcome, Sold)
    assert a.count() == b.count() == 98
    net.agree()


def test_what_was_rolled_back_leaves_no_trace_for_retries() -> None:
    net = opened("abc")
    b = net["b"]
    net.write("b", "before")
    net.lost = lambda sender, to, message: isinstance(message, Update)
    b.submit(ChangeBook(1, count=5), "k")
    net.settle()
    assert b.count() == 5
    b.replica._writes.queue.clear()
    b.replica._writes._flight.taken.clear()  # type: ignore[union-attr]  # its client has gone
    net.kill("c")
    net.until(lambda: b.replica.view is not None and b.replica.view.epoch == 2 and net.running())
    assert b.log.result("k") is None
    assert b.look_up("k").known is None
    assert b.count() == 99
    assert [e.entries[0].op_id for e in b.disk] == ["open", "before"]


def test_messages_of_a_sealed_epoch_are_dead(net: Net) -> None:
    a, b = net["a"], net["b"]
    net.write("a", "k")
    old = a.sent(Update)[-1]
    net.cut("b")
    net.until(lambda: net.alone("a"))
    assert b.replica.mode == "RUNNING"
    net.register.unreachable = set()
    net.now += 1.1
    b.give(b.replica.tick(*net.time))
    assert b.readable() is False
    assert net.modes() == "RUNNING INIT"
    acks = len(b.sent(Ack))
    b.give(b.replica.receive("a", old, *net.time))
    assert len(b.sent(Ack)) == acks, "a removed member votes on in the epoch it left"


def test_a_view_older_than_the_sealed_one_changes_nothing(net: Net) -> None:
    first = net.register.value
    assert first is not None
    net.cut("b")
    net.until(lambda: net.alone("a"))
    net.register.unreachable = set()
    net.now += 1.1
    net["b"].give(net["b"].replica.tick(*net.time))
    for node in net.nodes.values():
        before = (node.replica.mode, node.replica.view)
        node.replica._change._on_value(first)  # the answer to a read of long ago
        assert (node.replica.mode, node.replica.view) == before


def test_a_node_that_asks_to_join_is_first_removed_as_what_it_was(net: Net) -> None:
    a = net["a"]
    net.kill("b")
    a.give(a.replica.receive("b", Join(2), *net.time))
    net.settle()
    assert net.register.members()[1:] == [{"a": 1}]


def test_whoever_is_taken_out_of_the_view_tells_its_clients_what_it_knows(net: Net) -> None:
    b = net["b"]
    net.write("b", "mine")
    net.cut("b")
    decided = b.submit(ONE, "k1")
    queued = b.submit(ONE, "k2")
    net.until(lambda: net.alone("a"))
    net.register.unreachable = set()
    net.now += 1.1
    b.give(b.replica.tick(*net.time))
    assert b.answers[decided].unknown is True, "it may have been adopted"
    assert b.answers[queued].unknown is False
    net.lose_nothing()
    net.until(net.full)
    net.agree()
    assert b.count() == 99


def test_copies_with_other_histories_are_found_within_a_heartbeat(net: Net) -> None:
    b = net["b"]
    beat = Heartbeat(1, 1, b.log.head, "f" * 32, net.now)
    with pytest.raises(LogBroken, match="diverged"):
        b.replica.receive("a", beat, *net.time)


def test_a_head_that_a_view_never_had_stops_the_node(net: Net) -> None:
    a = net["a"]
    net.lost = lambda *_: True
    net.kill("b")
    net["b"].boot()
    a.working = False
    view = views.joined(net.register.value, "b", 2)  # type: ignore[arg-type]
    net.register.put(view)  # type: ignore[arg-type]
    net.run(1.2)
    assert a.replica.mode == "SYNC"
    with pytest.raises(LogBroken, match="never had"):
        a.replica.receive("b", SuffixRequest(a.replica.view.epoch, (7, 2), (7, 1)), *net.time)  # type: ignore[union-attr]


# ---- coming back


def test_a_node_that_starts_again_takes_what_it_missed_from_memory(net: Net) -> None:
    net.kill("b")
    net.until(lambda: net.alone("a"))
    for number in range(20):
        net.write("a", f"k{number}")
    net["b"].boot()
    net.until(net.full)
    assert net["b"].disk == net["a"].disk
    assert not [e for e in net["a"].effects if isinstance(e, Fetch)]
    synced = [e for e in net["b"].effects if isinstance(e, Synced)]
    assert sum(e.batches for e in synced) == 20


def test_a_node_that_missed_more_than_memory_holds_gets_it_from_the_others_disk() -> None:
    net = opened(window=4, chunk=8)
    net.kill("b")
    for number in range(30):
        net["a"].submit(ONE, f"k{number}")
        net.run(0.3)
    net.until(lambda: net["a"].count() == 70)
    net["b"].boot()
    net.until(net.full)
    assert net["b"].disk == net["a"].disk
    assert net["b"].count() == 70
    assert [e for e in net["a"].effects if isinstance(e, Fetch)]


def test_an_empty_disk_gets_everything(net: Net) -> None:
    net.write("a", "k")
    b = net["b"]
    net.kill("b")
    net.until(lambda: net.alone("a"))
    b.disk, b.view = [], None
    b.boot()
    net.until(net.full)
    assert b.disk == net["a"].disk


def test_a_node_that_starts_again_learns_without_waiting_for_its_next_tick(net: Net) -> None:
    """It looks at the register, hears who serves, and takes what it missed: all at its first tick."""
    net.kill("b")
    net.until(lambda: net.alone("a"))
    net.write("a", "k")
    b = net["b"]
    b.boot()
    b.give(b.replica.tick(*net.time))
    net.settle()
    assert [e.batches for e in b.effects if isinstance(e, Synced)] == [1]
    assert not b.sent(Join), "its former life may have promised leases"


def test_a_node_whose_latest_read_lists_it_as_a_source_learns_from_nobody(net: Net) -> None:
    """It could truncate what it has acknowledged: its older incarnation has to be removed first."""
    b, view = net["b"], net["a"].replica.view
    assert view is not None
    assert "b" in view.sources
    net.kill("b")
    b.boot()
    b.replica._change._on_value(view)
    b.give(b.replica.receive("a", Status("RUNNING", 1, view.epoch, False, False), *net.time))
    assert not b.sent(SuffixRequest)


def test_the_tier_does_not_wait_for_a_joiner_that_waits_for_itself(net: Net) -> None:
    """A node that has started again does not know whom its former life promised a lease: it waits before it asks."""
    net.kill("b")
    net.until(lambda: net.alone("a"))
    net.until(net.running)
    b = net["b"]
    booted = net.now
    b.boot()
    net.until(lambda: b.sent(Join))
    assert net.now - booted >= net.timing.lease
    stopped = net.until(lambda: net["a"].replica.mode == "RUNNING" and "b" in net["a"].replica.view.members)  # type: ignore[union-attr]
    assert stopped <= 0.3
    net.until(net.full)


def test_what_waited_for_a_joiner_is_answered_as_soon_as_the_view_is_active(net: Net) -> None:
    """The joiner must know that it is RUNNING before it gets the first batch, or that one waits for the next tick."""
    a, b = net["a"], net["b"]
    net.kill("b")
    net.until(lambda: net.alone("a"))
    b.boot()
    net.lose(SyncAck)
    net.until(lambda: a.replica.mode == "SYNC")
    ticket = a.submit(ONE, "k")
    net.lose_nothing()
    net.until(net.running)
    assert ticket in a.answers


def test_a_restart_faster_than_the_failure_detector_is_a_new_member(net: Net) -> None:
    """Its older incarnation goes out first, lease wait and all; only then does the new one come in."""
    b = net["b"]
    net.kill("b")
    b.boot()
    net.until(net.full)
    assert net.register.members() == [{"a": 1, "b": 1}, {"a": 1}, {"a": 1, "b": 2}]
    net.agree()


def test_while_the_register_calls_it_a_source_a_restarted_node_takes_nothing_from_anyone(net: Net) -> None:
    """It may hold the only copy of what it has acked."""
    b = net["b"]
    net.kill("b")
    b.boot()
    net.settle()
    b.give(b.replica.tick(*net.time))
    before = b.log.head
    suffix = Suffix(None, before, before[1], (), True)
    b.give(b.replica.receive("a", suffix, *net.time))
    assert b.log.head == before


def test_a_suffix_that_comes_twice_is_applied_once(net: Net) -> None:
    net.kill("b")
    net.until(lambda: net.alone("a"))
    net.until(net.running)
    net.write("a", "k1")
    net.lose(Join)
    b = net["b"]
    b.boot()
    net.until(lambda: b.log.head == net["a"].log.head)
    late = next(suffix for suffix in net["a"].sent(Suffix) if suffix.epoch is None and suffix.batches)
    net.write("a", "k2")
    net.until(lambda: b.log.head == net["a"].log.head)
    b.give(b.replica.receive("a", late, *net.time))
    assert b.log.head == net["a"].log.head
    net.lose_nothing()
    net.until(net.full)
    net.agree()


def test_a_follower_says_that_it_is_synced_only_when_its_disk_is(net: Net) -> None:
    b = net["b"]
    net.kill("b")
    net.until(lambda: net.alone("a"))
    b.boot()
    net.lose(Join)
    net.until(lambda: b.sent(Join))
    net.lose_nothing()
    b.working = False
    net.run(1)
    assert b.replica.mode == "SYNC"
    assert not b.sent(SyncAck)
    b.working = True
    net.until(net.full)


def test_after_a_power_cut_the_sources_start_the_tier_again_with_what_all_have(net: Net) -> None:
    net.write("a", "k")
    for name in "ab":
        net.kill(name)
    net.now += 5
    for name in "ab":
        net[name].boot()
    assert net.until(net.full) < 3
    assert net.write("b", "k") == net.write("a", "k")
    assert net["a"].count() == 99


def test_a_source_alone_waits_a_while_for_the_others(net: Net) -> None:
    for name in "ab":
        net.kill(name)
    net["b"].boot()
    took = net.until(lambda: net["b"].replica.mode == "RUNNING")
    assert 5 <= took < 8
    net["a"].boot()
    net.until(net.full)
    net.agree()


# ---- V8: leaving


def test_whoever_leaves_is_not_waited_for(net: Net) -> None:
    a, b = net["a"], net["b"]
    net.write("a", "k")
    a.give(a.replica.leave(*net.time))
    ticket = b.submit(ONE, "k2")
    took = net.until(lambda: ticket in b.answers)
    assert took <= 0.3, "its lease has been waited out"
    assert a.replica.left
    assert a.readable() is False


def test_whoever_leaves_finishes_what_it_has_begun_and_takes_nothing_new(net: Net) -> None:
    a, b = net["a"], net["b"]
    b.working = False
    ticket = a.submit(ONE, "k")
    net.settle()
    a.give(a.replica.leave(*net.time))
    net.settle()
    late = a.submit(ONE, "late")
    assert a.answers[late].unknown is False
    assert not a.replica.left
    b.working = True
    net.settle()
    assert isinstance(a.answers[ticket].outcome, Sold)
    net.until(lambda: a.replica.left)
    assert b.count() == 99


def test_whoever_leaves_waits_for_its_front_ends(net: Net) -> None:
    """They must not serve from what it let them have once the others go on without it."""
    a = net["a"]
    front(net, "a")
    net.deaf = {"front-0"}
    a.give(a.replica.leave(*net.time))
    net.run(0.5)
    assert not a.replica.left
    net.deaf = set()
    net.until(lambda: a.replica.left)


def test_the_last_one_leaves_at_once() -> None:
    net = Net("a")
    net.run(0.5)
    net["a"].give(net["a"].replica.leave(*net.time))
    assert net["a"].replica.left


def test_what_the_rows_say_is_what_the_log_says(net: Net) -> None:
    """However it came about: the fold of the disk's log is the machine in memory."""
    net.write("b", "k1")
    net.write("a", "k2", ChangeBook(2, cost=1))
    net.kill("b")
    ticket = net["a"].submit(ONE, "k3")
    net.until(lambda: ticket in net["a"].answers)
    net["b"].boot()
    net.until(net.full)
    for node in net.nodes.values():
        fresh = Log(Stock())
        for batch in node.disk:
            fresh.append(batch)
        live, again = node.log.machine, fresh.machine
        assert isinstance(live, Stock)
        assert isinstance(again, Stock)
        rows: list[Book] = live.shelves.all_rows()
        assert rows == again.shelves.all_rows()
