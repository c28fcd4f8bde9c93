"""The driver: the core's wishes carried out, in order and once, on a disk that a test holds in its hands."""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from pygmy.database import Boot, Store
from pygmy.database.errors import StoreBroken
from pygmy.errors import Problem, outcome_unknown, unavailable
from pygmy.ledger.catalog import ReplicatedCatalog
from pygmy.ledger.driver import Place
from pygmy.messages.internal import Invalidate, Invalidated, OneWay
from pygmy.messages.operations import Line, NewBook, NoSuchBook, OpenStock, Result, Reused, Sell, Sold
from pygmy.messages.replication import Batch, Leave, QueryValidate, Take, Update, Validate
from pygmy.peers import encode
from pygmy.replication.log import chained
from pygmy.replication.timing import Timing
from tests.support.ideal_register import Register
from tests.support.inline_store import inline_store, now_of

ONE = Sell((Line(1, 1),))
STOCK = OpenStock((NewBook("One", "t", 3000, 100, 1), NewBook("Two", "t", 3000, 100, 2)), "digest")
_decode = msgspec.json.Decoder(OneWay).decode
WALL = 1_700_000_000_000


class Held:
    """A store whose answers come when a test lets them; what is asked of it happens at once, as on a real disk."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.hold: set[str] = set()
        self.broken: Exception | None = None
        self.waiting: list[tuple[str, Deferred[Any], Any]] = []
        self.closed = False

    def __getattr__(self, name: str) -> Any:
        if name not in ("commit", "find", "op_ids", "batches", "sales", "save_view"):
            return getattr(self._store, name)

        def call(*args: Any) -> Deferred[Any]:
            done: Deferred[Any] = Deferred()
            if name == "commit" and self.broken is not None:
                done.errback(self.broken)
                return done
            result = getattr(self._store, name)(*args)
            if name in self.hold:
                self.waiting.append((name, done, result))
                return done
            return result  # type: ignore[no-any-return]

        return call

    def let(self, name: str) -> None:
        """Everything of this kind that was held is answered; nothing more is held."""
        self.hold.discard(name)
        let = [job for job in self.waiting if job[0] == name]
        self.waiting = [job for job in self.waiting if job[0] != name]
        for _, done, result in let:
            result.chainDeferred(done)

    def close(self) -> Deferred[None]:
        self.closed = True
        return self._store.close()


class Mail:
    """Links that carry messages to other drivers in this process, a moment later, or when they may wait no more."""

    def __init__(self, rig: "Rig", sender: str) -> None:
        self._rig, self._sender = rig, sender
        self.sent: list[tuple[str, Any]] = []
        self.dead: set[str] = set()

    def tell(self, names: Any, message: Any, heartbeat: bool = False, within: float = 0.0) -> None:
        for name in names:
            decoded = _decode(bytes(encode(message)))
            self.sent.append((name, decoded))
            self._rig.clock.callLater(within or 0.001, self._rig.deliver, self._sender, name, decoded)

    def owe(self, name: str) -> None:
        """Nothing goes with answers here."""

    def reply(self, name: str, message: Any) -> None:
        self.tell((name,), message)


class Turning(ReplicatedCatalog):
    """A ledger whose turn of the reactor ends with whatever it is asked."""

    _clock: Clock

    def execute(self, operation: Any, op_id: str) -> Deferred[Any]:
        executing = super().execute(operation, op_id)
        self._clock.advance(0)
        return executing

    def find(self, op_id: str) -> Deferred[Any]:  # type: ignore[override]
        finding = Deferred.fromCoroutine(super().find(op_id)).addCallback(lambda found: found[0])
        self._clock.advance(0)
        return finding


class Rig:
    """Catalog ledgers on one clock."""

    def __init__(self, path: Any, names: tuple[str, ...] = ("a",), timing: Timing | None = None) -> None:
        self.clock = Clock()
        self.clock.advance(100)
        self.path = path
        self.names = names
        self.timing = timing or Timing()
        self.register = Register(names)
        self.up: set[str] = set()
        self.stores: dict[str, Held] = {}
        self.mail: dict[str, Mail] = {}
        self.failed: list[tuple[str, Failure]] = []
        self.ledgers: dict[str, ReplicatedCatalog] = {}
        for name in names:
            self.boot(name)

    def boot(self, name: str, window: int = 1024, hold: str = "") -> ReplicatedCatalog:
        store = inline_store(self.path / name, "catalog", now=self.clock.seconds)
        held: Any = Held(store)
        held.hold.add(hold)
        boot: Boot = now_of(store.boot(window))
        mail: Any = Mail(self, name)
        place = Place(name, self.names, {n: f"http://{n}" for n in (*self.names, "front-0")})
        ledger = Turning(
            place, held, boot, mail, self.clock, lambda failure: self.failed.append((name, failure)),
            self.register.membership,
            now=self.clock.seconds, wall=lambda: WALL + round(self.clock.seconds() * 1000), timing=self.timing,
        )  # fmt: skip
        self.stores[name], self.mail[name], self.ledgers[name] = held, mail, ledger
        self.up.add(name)
        ledger.start()
        return ledger

    def kill(self, name: str) -> None:
        """Its process ends; the file stays as it is."""
        self.up.discard(name)
        if self.ledgers[name]._beat.running:
            self.ledgers[name]._beat.stop()
        now_of(self.stores[name]._store.close())

    def deliver(self, sender: str, name: str, message: Any) -> None:
        if name in self.up:
            self.ledgers[name].receive(sender, message)

    def advance(self, seconds: float) -> None:
        for _ in range(round(seconds * 100)):
            self.clock.advance(0.01)

    def close(self) -> None:
        for name in list(self.up):
            self.kill(name)


@pytest.fixture
def rigs(tmp_path: Any) -> Iterator[Callable[..., Rig]]:
    made: list[Rig] = []

    def make(*args: Any, **options: Any) -> Rig:
        made.append(Rig(tmp_path, *args, **options))
        made[-1].advance(1)
        return made[-1]

    yield make
    for rig in made:
        rig.close()


@pytest.fixture
def alone(rigs: Callable[..., Rig]) -> Rig:
    """One replica, with books."""
    rig = rigs()
    now_of(rig.ledgers["a"].execute(STOCK, "open"))
    return rig


@pytest.fixture
def pair(rigs: Callable[..., Rig]) -> Rig:
    """Two replicas, with books."""
    rig = rigs(("a", "b"))
    opening = rig.ledgers["a"].execute(STOCK, "open")
    rig.advance(0.5)
    now_of(opening)
    return rig


def count(rig: Rig, name: str = "a") -> int:
    read = now_of(rig.ledgers[name].read((1,)))
    return int(read.rows[0].count)


class Told:
    """What a Deferred has ended with, if it has."""

    def __init__(self, deferred: "Deferred[Any]") -> None:
        self.results: list[Any] = []
        deferred.addBoth(self.results.append)

    @property
    def problem(self) -> Problem:
        (failure,) = self.results
        assert isinstance(failure.value, Problem)
        return failure.value


# ---- exactly once


def test_nobody_is_answered_before_the_commit(alone: Rig) -> None:
    alone.stores["a"].hold = {"commit"}
    told = Told(alone.ledgers["a"].execute(ONE, "k"))
    alone.advance(1)
    assert not told.results
    alone.stores["a"].let("commit")
    assert isinstance(told.results[0].outcome, Sold)


def test_a_crash_between_commit_and_answer_sells_once(alone: Rig) -> None:
    alone.stores["a"].hold = {"commit"}
    told = Told(alone.ledgers["a"].execute(ONE, "k"))
    alone.advance(0.5)
    alone.kill("a")
    assert not told.results
    ledger = alone.boot("a")
    alone.advance(8)
    again = now_of(ledger.execute(ONE, "k"))
    assert isinstance(again.outcome, Sold)
    assert now_of(ledger.find("k")) == again
    assert count(alone) == 99


def test_an_answer_is_found_on_disk_when_memory_has_forgotten_it(rigs: Callable[..., Rig]) -> None:
    rig = rigs(timing=Timing(window=2))
    ledger = rig.ledgers["a"]
    now_of(ledger.execute(STOCK, "open"))
    first: Result = now_of(ledger.execute(ONE, "k"))
    for number in range(5):
        now_of(ledger.execute(ONE, f"more{number}"))
    assert ledger.replica.log.result("k") is None
    assert now_of(ledger.execute(ONE, "k")) == first
    assert now_of(ledger.find("k")) == first
    assert isinstance(now_of(ledger.execute(Sell((Line(1, 2),)), "k")).outcome, Reused)
    assert now_of(ledger.find("never")) is None
    assert count(rig) == 94


def test_several_are_found_in_the_order_asked_with_one_search_for_all_that_is_not_in_memory(
    rigs: Callable[..., Rig],
) -> None:
    rig = rigs(timing=Timing(window=2))
    ledger, store = rig.ledgers["a"], rig.stores["a"]
    now_of(ledger.execute(STOCK, "open"))
    made: dict[str, Any] = {f"k{number}": now_of(ledger.execute(ONE, f"k{number}")) for number in range(6)}
    store.hold = {"find"}
    asked = ("k5", "k0", "never", "k1", "k5")
    finding = Deferred.fromCoroutine(ReplicatedCatalog.find(ledger, *asked))
    rig.clock.advance(0)
    assert len(store.waiting) == 1
    store.let("find")
    rig.clock.advance(0)
    assert now_of(finding) == [made.get(op_id) for op_id in asked]


def test_what_is_asked_in_one_turn_is_one_search_and_one_batch(alone: Rig) -> None:
    """The first of many must not go alone, with all others waiting for its disk: that would double their time."""
    ledger, store = alone.ledgers["a"], alone.stores["a"]
    ledger.replica.log.older.complete = False
    store.hold = {"find"}
    head = ledger.replica.log.head[1]
    asked = [ReplicatedCatalog.execute(ledger, ONE, f"k{number}") for number in range(20)]
    alone.clock.advance(0)
    assert len(store.waiting) == 1
    store.let("find")
    alone.clock.advance(0)
    assert {now_of(waiter).seq for waiter in asked} == {head + 1}
    assert count(alone) == 80


def test_the_disk_is_not_searched_for_what_surely_is_not_there(alone: Rig) -> None:
    alone.stores["a"].hold = {"find"}
    assert now_of(alone.ledgers["a"].find("k")) is None
    assert isinstance(now_of(alone.ledgers["a"].execute(ONE, "k")).outcome, Sold)
    assert alone.stores["a"].waiting == []


@pytest.mark.parametrize("learnt", [1, 3, 100])
def test_what_is_on_disk_is_known_after_a_start(
    rigs: Callable[..., Rig], learnt: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until all is known each op_id is searched for; then only those that may be there."""
    monkeypatch.setattr("pygmy.ledger.searches.LEARNT", learnt)
    rig = rigs(timing=Timing(window=2))
    now_of(rig.ledgers["a"].execute(STOCK, "open"))
    first = {f"k{number}": now_of(rig.ledgers["a"].execute(ONE, f"k{number}")) for number in range(6)}
    rig.kill("a")
    ledger = rig.boot("a", window=2, hold="op_ids")
    store = rig.stores["a"]
    rig.advance(5.0)
    assert ledger.condition().state == "RUNNING"
    assert {op_id: now_of(ledger.execute(ONE, op_id)) for op_id in first} == first
    store.hold.add("find")
    assert Told(ledger.find("never")).results == []
    for _ in range(8):
        store.let("op_ids")
        rig.advance(0.1)
    assert now_of(ledger.find("never, too")) is None
    store.let("find")
    assert {op_id: now_of(ledger.execute(ONE, op_id)) for op_id in first} == first
    assert count(rig) == 94


def test_a_store_that_is_closed_while_the_node_learns_breaks_nothing(
    rigs: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pygmy.ledger.searches.LEARNT", 1)
    rig = rigs(timing=Timing(window=2))
    for number in range(4):
        now_of(rig.ledgers["a"].execute(STOCK, f"open{number}"))
    rig.kill("a")
    ledger = rig.boot("a", window=2, hold="op_ids")
    stopping = ledger.stop()
    rig.advance(5.0)
    now_of(stopping)
    rig.stores["a"].let("op_ids")
    rig.advance(1.0)
    assert not rig.failed


def test_a_look_up_that_was_too_early_is_made_again(rigs: Callable[..., Rig]) -> None:
    """It found nothing; before it was told, the operation came in by another try and left memory again."""
    rig = rigs(timing=Timing(window=2))
    ledger = rig.ledgers["a"]
    now_of(ledger.execute(STOCK, "open"))
    ledger.replica.log.older.complete = False
    rig.stores["a"].hold = {"find"}
    early = Told(ledger.execute(ONE, "k"))
    rig.stores["a"].hold = set()
    first = now_of(ledger.execute(ONE, "k"))
    for number in range(5):
        now_of(ledger.execute(ONE, f"more{number}"))
    rig.stores["a"].let("find")
    rig.clock.advance(0)
    assert early.results == [first]
    assert count(rig) == 94


def test_what_was_lacking_when_it_was_asked_for_is_looked_for_again(rigs: Callable[..., Rig]) -> None:
    """It waits for the primary copy; meanwhile another server gets it by another try, and it leaves memory again."""
    rig = rigs(("a", "b"), timing=Timing(window=2))
    told = Told(rig.ledgers["a"].execute(STOCK, "open"))
    rig.advance(0.3)
    assert told.results
    send = rig.mail["b"].tell
    rig.mail["b"].tell = lambda names, one, **more: None if isinstance(one, Take) else send(names, one, **more)
    waiting = Told(rig.ledgers["b"].execute(ONE, "k"))
    first = Told(rig.ledgers["a"].execute(ONE, "k"))
    rig.advance(0.1)
    for number in range(5):
        rig.ledgers["a"].execute(ONE, f"more{number}")
        rig.advance(0.1)
    assert not waiting.results
    rig.mail["b"].tell = send
    rig.advance(1.0)
    assert waiting.results == first.results
    assert (count(rig, "a"), count(rig, "b")) == (94, 94)


def test_what_is_not_committed_yet_is_not_found(pair: Rig) -> None:
    pair.stores["b"].hold = {"commit"}
    told = Told(pair.ledgers["a"].execute(ONE, "k"))
    pair.advance(0.1)
    assert not told.results
    assert now_of(pair.ledgers["a"].find("k")) is None
    in_vain = Told(pair.ledgers["b"].find("k"))
    assert not in_vain.results, "the one that took it may know more"
    pair.advance(0.25)
    assert in_vain.results == [None]
    assert now_of(pair.ledgers["a"].sales(0, WALL * 2, 10))[0] == ()
    pair.stores["b"].let("commit")
    pair.advance(0.06)
    assert told.results
    assert now_of(pair.ledgers["b"].find("k")) == told.results[0]
    assert [sale.op_id for sale in now_of(pair.ledgers["a"].sales(0, WALL * 2, 10))[0]] == ["k"]


@pytest.mark.parametrize("ask", ["find", "batches"])
def test_what_another_replica_has_committed_is_learnt_when_it_is_asked_for(pair: Rig, ask: str) -> None:
    told = Told(pair.ledgers["a"].execute(ONE, "k"))
    pair.advance(0.06)
    assert told.results
    ledger = pair.ledgers["b"]
    asked = Told(ledger.find("k") if ask == "find" else Deferred.fromCoroutine(ledger.batches(1, 9)))
    assert not asked.results, "it is not known there yet"
    pair.advance(0.02)
    if ask == "find":
        assert asked.results == told.results
    else:
        assert [entry.op_id for batch in asked.results[0] for entry in batch.entries] == ["k"]


def test_what_was_dropped_while_the_disk_was_searched_is_not_found(pair: Rig) -> None:
    """A hit in memory, and a search for another op_id; meanwhile the batch of the hit gives way to another one."""
    ledger = pair.ledgers["b"]
    pair.stores["b"].hold = {"find"}
    told = Told(ledger.execute(ONE, "k"))
    pair.advance(0.2)
    result = told.results[0]
    ledger.replica.log.older.complete = False
    finding = Deferred.fromCoroutine(ReplicatedCatalog.find(ledger, "k", "other"))
    found = Told(finding)
    pair.clock.advance(0)
    assert not found.results
    log: Any = ledger.replica.log
    log.truncate(result.seq)
    batch = Batch(2, result.seq, 1, (), chained(log.head_hash, (2, result.seq), 1, ()))
    log.append(batch)
    pair.stores["b"].let("find")
    pair.clock.advance(0)
    assert found.results == [[None, None]]


# ---- whoever asks may go away


def test_cancelling_the_waiter_does_not_cancel_the_write(pair: Rig) -> None:
    pair.stores["a"].hold = {"commit"}
    asking = pair.ledgers["a"].execute(ONE, "k")
    told = Told(asking)
    pair.advance(0.1)
    asking.cancel()
    assert told.results[0].check(CancelledError)
    pair.stores["a"].let("commit")
    pair.advance(0.5)
    assert (count(pair, "a"), count(pair, "b")) == (99, 99)
    assert not pair.failed
    retry = pair.ledgers["b"].execute(ONE, "k")
    pair.advance(0.1)
    assert isinstance(now_of(retry).outcome, Sold)
    assert count(pair) == 99


def test_a_waiter_that_goes_before_its_look_up_is_done_leaves_nothing_behind(alone: Rig) -> None:
    alone.ledgers["a"].replica.log.older.complete = False
    alone.stores["a"].hold = {"find"}
    asking = alone.ledgers["a"].execute(ONE, "k")
    told = Told(asking)
    asking.cancel()
    alone.stores["a"].let("find")
    alone.advance(0.1)
    assert told.results[0].check(CancelledError)
    assert not alone.failed
    assert count(alone) == 100


# ---- fail-stop


def test_a_commit_that_fails_stops_the_node_once_and_answers_nobody(alone: Rig) -> None:
    alone.stores["a"].broken = StoreBroken("disk I/O error")
    told = [Told(alone.ledgers["a"].execute(ONE, f"k{number}")) for number in range(3)]
    alone.advance(3)
    assert [(name, failure.type) for name, failure in alone.failed] == [("a", StoreBroken)]
    assert not any(one.results for one in told)
    assert not alone.ledgers["a"]._beat.running, "a node that must not go on still sends heartbeats"


def test_an_ack_is_not_sent_for_a_commit_that_failed(pair: Rig) -> None:
    pair.stores["b"].broken = StoreBroken("disk full")
    told = Told(pair.ledgers["a"].execute(ONE, "k"))
    pair.advance(0.5)
    assert [name for name, _ in pair.failed] == ["b"]
    assert not told.results


def test_a_log_that_turns_out_to_differ_stops_the_node(pair: Rig) -> None:
    told = Told(pair.ledgers["a"].execute(ONE, "k"))
    pair.advance(0.3)
    assert told.results
    update = next(message for _, message in pair.mail["a"].sent if isinstance(message, Update))
    broken = msgspec.structs.replace(update.batch, seq=3, base_epoch=update.batch.epoch, hash="0" * 32)
    pair.ledgers["b"].receive("a", Update(update.epoch, broken))
    assert [name for name, _ in pair.failed] == ["b"]


# ---- order


def test_an_answer_that_triggers_the_next_write_keeps_everything_in_order(pair: Rig) -> None:
    """The second Update must not overtake the first one's Validate, nor the answers that were still to be given."""
    ledger = pair.ledgers["a"]
    order: list[str] = []
    first = ledger.execute(ONE, "k1")
    second = ledger.execute(ONE, "k2")

    def go_on(result: Result) -> None:
        order.append("k1")
        ledger.execute(ONE, "k3").addCallback(lambda _: order.append("k3"))

    first.addCallback(go_on)
    second.addCallback(lambda _: order.append("k2"))
    pair.advance(0.3)
    assert order == ["k1", "k2", "k3"]
    kinds = [
        (type(message).__name__, message.batch.seq if isinstance(message, Update) else message.version[1])
        for _, message in pair.mail["a"].sent
        if isinstance(message, Update | Validate)
    ]
    for seq in (2, 3):
        assert kinds.index(("Validate", seq)) < kinds.index(("Update", seq + 1))
    assert (count(pair, "a"), count(pair, "b")) == (97, 97)


def test_an_answer_that_blows_up_stops_nothing(alone: Rig) -> None:
    failed = alone.ledgers["a"].execute(ONE, "k1").addCallback(lambda _: 1 / 0)
    told = Told(failed)
    assert told.results[0].check(ZeroDivisionError)
    assert isinstance(now_of(alone.ledgers["a"].execute(ONE, "k2")).outcome, Sold)
    assert not alone.failed


# ---- bounds


def test_the_writes_that_wait_are_bounded(rigs: Callable[..., Rig]) -> None:
    rig = rigs(timing=Timing(queue=3))
    now_of(rig.ledgers["a"].execute(STOCK, "open"))
    rig.stores["a"].hold = {"commit"}
    told = [Told(rig.ledgers["a"].execute(ONE, f"k{number}")) for number in range(6)]
    refused = [one.problem for one in told if one.results]
    assert [(p.status, p.outcome_unknown, p.retry_after) for p in refused] == [(503, False, 1)] * 3
    rig.stores["a"].let("commit")
    rig.advance(0.1)
    assert count(rig) == 97


def test_the_reads_that_wait_are_bounded_and_wait_for_so_long_only(rigs: Callable[..., Rig]) -> None:
    rig = rigs(timing=Timing(queue=3))
    ledger = rig.ledgers["a"]
    now_of(ledger.execute(STOCK, "open"))
    rig.stores["a"].hold = {"commit"}
    writing = Told(ledger.execute(ONE, "k"))
    waiting = [Told(ledger.read((1,))) for _ in range(4)]
    assert [len(one.results) for one in waiting] == [0, 0, 0, 1]
    assert waiting[3].problem.status == 503
    assert now_of(ledger.read((2,))).rows[0].count == 100, "another book is not touched"
    rig.advance(0.3)
    assert all(one.problem.status == 503 for one in waiting)
    rig.stores["a"].let("commit")
    rig.advance(0.1)
    assert writing.results
    assert count(rig) == 99


def test_a_read_that_waits_sees_what_it_waited_for(alone: Rig) -> None:
    alone.stores["a"].hold = {"commit"}
    alone.ledgers["a"].execute(ONE, "k")
    waiting = Told(alone.ledgers["a"].read((1, 2)))
    assert not waiting.results
    alone.stores["a"].let("commit")
    alone.advance(0.01)
    assert [book.count for book in waiting.results[0].rows] == [99, 100]


def test_a_read_at_another_replica_does_not_wait_until_a_validate_has_company(pair: Rig) -> None:
    selling = Told(pair.ledgers["a"].execute(ONE, "k"))
    pair.advance(0.06)
    assert selling.results
    assert not any(isinstance(m, QueryValidate) for _, m in pair.mail["b"].sent)
    waiting = [Told(pair.ledgers["b"].read((1,))) for _ in range(3)]
    assert not any(one.results for one in waiting), "it is not known there yet"
    pair.advance(0.02)
    assert [one.results[0].rows[0].count for one in waiting] == [99] * 3
    assert len([m for _, m in pair.mail["b"].sent if isinstance(m, QueryValidate)]) == 1


def test_before_it_has_caught_up_a_replica_refuses_everything(rigs: Callable[..., Rig]) -> None:
    rig = rigs(("a", "b"))
    rig.kill("a")
    rig.kill("b")
    ledger = rig.boot("a")
    for asking in (ledger.execute(ONE, "k"), ledger.read((1,)), ledger.page(None, 0, 9), ledger.sales(0, 9, 9)):
        problem = Told(asking).problem
        assert (problem.status, problem.outcome_unknown) == (503, False)
    assert ledger.renew("front-0", None) is None
    assert now_of(ledger.find("k")) is None
    assert ledger.condition().state == "INIT"
    assert ledger.condition().why


# ---- front ends


def test_a_commit_waits_for_front_ends_and_is_released_by_the_ack_of_its_number(alone: Rig) -> None:
    ledger = alone.ledgers["a"]
    read = now_of(ledger.read((1,), "front-0"))
    assert read.session is not None
    assert 0 < read.lease <= 1
    told = Told(ledger.execute(ONE, "k"))
    (invalidate,) = [m for to, m in alone.mail["a"].sent if to == "front-0" and isinstance(m, Invalidate)]
    assert invalidate.keys == ("item 1",)
    ledger.receive("front-0", Invalidated(invalidate.number + 1))
    assert not told.results
    ledger.receive("front-0", Invalidated(invalidate.number))
    assert told.results
    assert now_of(ledger.read((1,), "front-0")).rows[0].count == 99


def test_a_commit_waits_for_a_silent_front_end_no_longer_than_its_lease(alone: Rig) -> None:
    ledger = alone.ledgers["a"]
    now_of(ledger.read((1,), "front-0"))
    told = Told(ledger.execute(ONE, "k"))
    alone.advance(0.8)
    assert not told.results
    alone.advance(0.6)
    assert told.results
    assert ledger.renew("front-0", read_session(alone)) is not None


def test_what_is_not_there_is_not_let(alone: Rig) -> None:
    """Strangers could have a catalog remember any number of such things."""
    ledger = alone.ledgers["a"]
    for number in range(3, 20):
        assert now_of(ledger.read((number,), "front-0")).session is None
        assert now_of(ledger.page(f"none {number}", 0, 9, "front-0")).session is None
    assert now_of(ledger.read((1,), "front-0")).session is not None
    assert now_of(ledger.page("t", 0, 9, "front-0")).session is not None
    assert ledger.replica._core.sessions._holders["front-0"].keys == {"item 1", "topic t"}


def test_all_that_was_let_is_called_back_without_naming_it(alone: Rig) -> None:
    sessions = alone.ledgers["a"].replica._core.sessions
    now_of(alone.ledgers["a"].read((1, 2), "front-0"))
    numbers = sessions.invalidate(None, alone.clock.seconds())
    alone.advance(0.3)
    sent = [message for to, message in alone.mail["a"].sent if to == "front-0" and isinstance(message, Invalidate)]
    assert {(message.number, message.keys) for message in sent} == {(number, None) for number in numbers}
    alone.ledgers["a"].receive("front-0", Invalidated(sent[0].number))
    assert (sessions.open_numbers(), sessions._holders["front-0"].keys) == (frozenset(), set())


def read_session(rig: Rig) -> Any:
    return now_of(rig.ledgers["a"].read((1,), "front-0")).session


# ---- stopping


def test_stop_finishes_what_is_under_way_then_leaves_then_closes(pair: Rig) -> None:
    ledger = pair.ledgers["a"]
    pair.stores["b"].hold = {"commit"}
    told = Told(ledger.execute(ONE, "k"))
    pair.advance(0.1)
    stopped = Told(ledger.stop())
    late = Told(ledger.execute(ONE, "late"))
    pair.advance(0.2)
    assert not stopped.results
    assert not pair.stores["a"].closed
    assert late.problem.outcome_unknown is False
    assert not any(isinstance(m, Leave) for _, m in pair.mail["a"].sent), "it has left with a write under way"
    pair.stores["b"].let("commit")
    pair.advance(0.5)
    assert isinstance(told.results[0].outcome, Sold)
    assert stopped.results == [None]
    assert pair.stores["a"].closed
    assert any(isinstance(m, Leave) for _, m in pair.mail["a"].sent)
    assert pair.ledgers["b"].condition().members == {"b": 1}
    pair.up.discard("a")


def test_stop_gives_up_in_time_and_tells_whoever_waits_that_it_does_not_know(pair: Rig) -> None:
    ledger = pair.ledgers["a"]
    pair.stores["b"].hold = {"commit", "find"}
    pair.up.discard("b")  # nobody answers any more
    pair.ledgers["b"]._beat.stop()
    pair.stores["a"].hold = {"commit"}
    told = Told(ledger.execute(ONE, "k"))
    pair.advance(0.1)
    stopped = Told(ledger.stop())
    pair.advance(3.2)
    assert stopped.results == [None]
    assert told.problem.outcome_unknown is True
    pair.up.discard("a")
    now_of(pair.stores["b"]._store.close())


def test_whoever_comes_after_the_database_is_closed_is_told_that_nothing_was_done(pair: Rig) -> None:
    """The port is still open then: requests come in, and an order server begins each with a look for its key."""
    ledger = pair.ledgers["b"]
    pair.ledgers["a"]._beat.stop()
    pair.up.discard("a")  # so that the last one gives up leaving, and still holds itself for a member
    stopped = Told(ledger.stop())
    pair.advance(3.2)
    assert stopped.results == [None]
    late = [
        ledger.find("k"),
        ledger.execute(ONE, "k"),
        Deferred.fromCoroutine(ledger.batches(0, 1)),
        ledger.read((1,)),
        ledger.sales(0, 1, 1),
    ]
    for told in map(Told, late):
        assert (told.problem.status, told.problem.outcome_unknown) == (503, False)
    pair.up.discard("b")
    now_of(pair.stores["a"]._store.close())


def test_a_node_that_has_failed_can_still_be_stopped(alone: Rig) -> None:
    alone.stores["a"].broken = StoreBroken("disk I/O error")
    told = Told(alone.ledgers["a"].execute(ONE, "k"))
    stopped = Told(alone.ledgers["a"].stop())
    alone.advance(0.1)
    assert stopped.results == [None]
    assert told.problem.outcome_unknown is True
    assert len(alone.failed) == 1
    alone.up.discard("a")


# ---- several at once


def all_of(rig: Rig, *op_ids: str, operation: Any = ONE, at: str = "a") -> Told:
    told = Told(rig.ledgers[at].execute_all([(op_id, operation) for op_id in op_ids]))
    rig.clock.advance(0)
    return told


def test_several_operations_are_one_batch_and_their_results_come_in_order(alone: Rig) -> None:
    ledger = alone.ledgers["a"]
    (results,) = all_of(alone, "k1", "k2", "k1").results
    assert [(result.seq, result.index) for result in results] == [(2, 0), (2, 1), (2, 0)]
    asked = [("new", ONE), ("k2", ONE), ("k1", Sell((Line(2, 1),))), ("none", Sell((Line(9, 1),)))]
    told = Told(ledger.execute_all(asked))
    alone.clock.advance(0)
    new, again, reused, none = told.results[0]
    assert (new.seq, again) == (3, results[1])
    assert (type(reused.outcome), type(none.outcome)) == (Reused, NoSuchBook)
    assert Told(ledger.execute_all([])).results == [[]]


def test_several_operations_are_accepted_together_or_not_at_all(rigs: Callable[..., Rig]) -> None:
    rig = rigs(timing=Timing(queue=3))
    now_of(rig.ledgers["a"].execute(STOCK, "open"))
    problem = all_of(rig, "k1", "k2", "k3", "k4").problem
    assert (problem.status, problem.outcome_unknown) == (503, False)
    assert [result.seq for result in all_of(rig, "k1", "k2", "k3").results[0]] == [2, 2, 2]


def test_where_one_of_several_may_have_taken_effect_the_problem_says_so(alone: Rig) -> None:
    """One is answered at once, since it is known, and the batch of the other one comes to nothing here."""
    now_of(alone.ledgers["a"].execute(ONE, "known"))
    ledger = alone.ledgers["a"]
    alone.stores["a"].hold = {"commit"}
    told = all_of(alone, "known", "k")
    assert not told.results
    for asked in ledger._asking.take_all():
        asked.refuse(unavailable("This copy does not serve."))
    assert (told.problem.status, told.problem.outcome_unknown) == (503, True)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_one_unknown_outcome_among_several_makes_all_of_them_unknown(alone: Rig, order: tuple[int, int]) -> None:
    alone.stores["a"].hold = {"commit"}
    told = all_of(alone, "k1", "k2")
    asked = alone.ledgers["a"]._asking.take_all()
    problems = [unavailable("not accepted"), outcome_unknown("it may have been")]
    for place in order:
        asked[place].refuse(problems[place])
    assert (told.problem.detail, told.problem.outcome_unknown) == ("it may have been", True)


def test_whoever_cancels_several_leaves_them_to_go_on(alone: Rig) -> None:
    alone.stores["a"].hold = {"commit"}
    asking = alone.ledgers["a"].execute_all([("k1", ONE), ("k2", ONE)])
    asking.addErrback(lambda failure: failure.trap(CancelledError))
    alone.clock.advance(0)
    asking.cancel()
    assert not len(alone.ledgers["a"]._asking)
    alone.stores["a"].let("commit")
    alone.advance(0.1)
    assert count(alone) == 98
