"""The driver of a replica: it carries out what the protocol core asks for, on a real disk, network and clock.

The paths of the protocol are Deferred chains here: commit, invalidate, acknowledge (P6); look up, submit, answer
(P1 to P7); drain, leave, close (V8).
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from msgspec import Struct
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall, deferLater
from twisted.python.failure import Failure

from pygmy.clock import boottime, utc_milliseconds
from pygmy.database import Boot, Store
from pygmy.errors import Problem, outcome_unknown, overloaded, unavailable
from pygmy.gathering import results_of
from pygmy.ledger import told
from pygmy.ledger.asking import Asking
from pygmy.ledger.seam import Condition, Peer
from pygmy.ledger.searches import Searches
from pygmy.ledger.trail import Trail
from pygmy.logs import Logger
from pygmy.messages.internal import Invalidate, Invalidated, OneWay
from pygmy.messages.operations import Operation, RecordForced, Result
from pygmy.messages.register import FoundingMessage, RegisterRequest
from pygmy.messages.replication import Ack, Batch, Grant, Heartbeat, Update, Version
from pygmy.peers import Links
from pygmy.replication.effects import (
    Abandon,
    Answer,
    Effect,
    Fetch,
    Note,
    Recheck,
    SaveView,
    Send,
    Synced,
    Syncing,
)
from pygmy.replication.effects import Store as StoreEffect
from pygmy.replication.log import Log
from pygmy.replication.membership import MembershipFactory
from pygmy.replication.replica import Replica, Submission
from pygmy.replication.timing import DEFAULT, Timing
from pygmy.state.machine import Machine
from pygmy.ticking import in_step

T = TypeVar("T")

log = Logger()

READ_PATIENCE = 0.2  # seconds that a read waits for the commit that touches it
LEAVE_PATIENCE = 3.0
FORCE_PATIENCE = 10.0
COMPANY = 0.1  # seconds for which a patient message waits for another one to go along with
FETCH_BATCHES, FETCH_BYTES = 1024, 512 * 1024


class Place(Struct, frozen=True):
    """Where a replica stands: its name, all nodes of its tier, and the URL of each node for people."""

    me: str
    tier: tuple[str, ...]
    urls: dict[str, str]

    def url(self, name: str) -> str:
        """Of the node of this name."""
        return self.urls.get(name, name)


class Driver:
    """Runs one replica. The tiers' ledgers derive from it.

    `failed` is called once, with the reason, when this node must not go on: a commit failed, or its log has turned
    out to differ from what was chosen. `membership` is where it takes its views from; `alone_since` as in `Replica`.
    """

    def __init__(
        self,
        place: Place,
        store: Store,
        boot: Boot,
        machine: Machine,
        links: Links,
        clock: IReactorTime,
        failed: Callable[[Failure], None],
        membership: MembershipFactory,
        *,
        alone_since: float | None = None,
        now: Callable[[], float] = boottime,
        wall: Callable[[], int] = utc_milliseconds,
        timing: Timing = DEFAULT,
    ) -> None:
        self._place = place
        self._store = store
        self._links = links
        self._clock = clock
        self._now = now
        self._wall = wall
        self._failed: Callable[[Failure], None] | None = failed
        self._timing = timing
        newest = Log(machine, boot.last, timing.window)
        self.replica = Replica(
            place.me,
            place.tier,
            boot.incarnation,
            newest,
            boot.view,
            now(),
            timing,
            membership,
            previous=boot.previous,
            emptied=not boot.member,
            alone_since=alone_since,
        )
        self._todo: deque[Effect | Callable[[], None]] = deque()
        self._busy = False
        self._told = ""  # why this node does not serve, as last logged
        self._beaten: dict[tuple[str, type], int] = {}  # by node, the epochs of the last heartbeat and grant sent
        self._search = Searches(store, newest, clock)
        self._asking = Asking(self._search, self._recorded, self._submit, self._fail_stop, clock, now)
        self._closing: list[tuple[frozenset[int], Deferred[None]]] = []
        self._closed = False
        self._trail = Trail(now)
        self._beat = LoopingCall(self._tick)
        self._beat.clock = clock
        self._sure_at = timing.lease + (now() if alone_since is None else alone_since)
        self._sure: IDelayedCall | None = None

    # ---- life

    def start(self) -> None:
        """Begin to take part."""
        self._beat.start(self._timing.heartbeat)
        in_step(self._beat)
        self._search.learn().addErrback(self._fail_stop)
        # From then on nothing that an earlier process granted holds: it may join, and not only at the next tick.
        wait = self._sure_at - self._now()
        if wait > 0:
            self._sure = self._clock.callLater(wait + 0.001, self._tick)

    def stop(self) -> Deferred[None]:
        """V8: finish what is in flight, leave the view, close the database."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        limit = self._now() + LEAVE_PATIENCE
        while self._failed is not None:
            self._input(self.replica.leave)
            if self.replica.left or self._now() >= limit:
                break
            await deferLater(self._clock, 0.05)
        self._rest()
        self._failed = None
        self._closed = True
        for asked in self._asking.take_all():
            asked.refuse(outcome_unknown(self.replica.why()))
        await self._store.close()

    def _rest(self) -> None:
        """Tick no more."""
        if self._beat.running:
            self._beat.stop()
        if self._sure is not None and self._sure.active():
            self._sure.cancel()

    def _tick(self) -> None:
        self._input(self.replica.tick)
        self._look_at_invalidations()
        why = self.replica.why()
        if why != self._told:
            self._told = why
            log.info("{what}", what=f"does not serve: {why}" if why else "serves")

    def receive(self, sender: str, message: OneWay) -> None:
        """A one-way message arrived."""
        if isinstance(message, Invalidate | RegisterRequest | FoundingMessage):
            return  # for front ends, or for the node's voter
        if isinstance(message, Ack):
            self._trail.acked(sender, message.version)
        self._input(self.replica.receive, sender, message)
        if isinstance(message, Update) and self.replica.owner == sender and self.replica.pending is not None:
            self._links.owe(sender)  # the ACK will not take long
        if isinstance(message, Invalidated):
            self._look_at_invalidations()

    # ---- the seam

    def execute(self, operation: Operation, op_id: str) -> Deferred[Result]:
        """Execute once per op_id; see `pygmy.ledger.seam.Ledger`."""
        return self.execute_all([(op_id, operation)]).addCallback(lambda results: results[0])

    def execute_all(self, operations: Sequence[tuple[str, Operation]]) -> Deferred[list[Result]]:
        """Execute each once per op_id; see `pygmy.ledger.seam.Ledger`."""
        if self._closed or self.replica.mode == "INIT":
            return fail(unavailable(self.replica.why()))
        if len(self._asking) + len(operations) > self._timing.queue:
            return fail(overloaded("writes"))
        return self._asking.ask(operations) if operations else succeed([])

    async def find(self, *op_ids: str) -> list[Result | None]:
        """The committed result under each op_id, if it is known here."""
        if self._closed:
            raise unavailable(self.replica.why())
        recorded = self.replica.log
        known = {op_id: recorded.result(op_id) for op_id in op_ids}
        if any(hit is not None and hit[1].seq == recorded.head[1] for hit in known.values()):
            await self._learn_of_pending()  # meanwhile it may have been dropped
            known = {op_id: recorded.result(op_id) for op_id in op_ids}
        unsure = [op_id for op_id in op_ids if known[op_id] is None and self._search.spared(op_id) is None]
        if unsure:
            found = await results_of([self._search(op_id) for op_id in unsure])
            known |= {op_id: one.known for op_id, one in zip(unsure, found, strict=True)}
        chosen = self.replica.chosen(self._now())
        upto = -1 if chosen is None else chosen
        hits = (known[op_id] for op_id in op_ids)  # the disk was searched meanwhile: does each still stand?
        return [
            hit[1] if hit is not None and hit[1].seq <= upto and recorded.stands(hit[1]) else None for hit in hits
        ]

    async def batches(self, after: int, limit: int) -> tuple[Batch, ...]:
        """Committed batches after a seq."""
        await self._learn_of_pending()
        chosen = self.replica.chosen(self._now())
        if chosen is None:
            raise unavailable(self.replica.why())
        limit = min(limit, chosen - after)
        return await self._store.batches(after + 1, limit, FETCH_BYTES) if limit > 0 else ()

    def condition(self) -> Condition:
        """How the tier is, seen from here."""
        return told.condition(self.replica, self._now())

    def peers(self) -> dict[str, Peer]:
        """Every node of the tier, as last heard of here."""
        return told.peers(self.replica, self._place.me, self._now())

    def _when_readable(self, keys: frozenset[str], read: Callable[[], T]) -> Deferred[T]:
        """`read()` in a turn in which this node may answer for these keys: now, or once a commit is through."""
        verdict = self.replica.readable(keys, self._now())
        if verdict:
            return succeed(read())
        if verdict is False:
            return fail(unavailable(self.replica.why()))
        if self.replica.readers >= self._timing.queue:
            return fail(overloaded("reads"))
        return self._once_settled(read, _too_busy)

    async def _learn_of_pending(self) -> None:
        """Wait until what is pending here is known to be committed; if that takes too long, go on without."""
        if self.replica.awaits_validate and self.replica.readers < self._timing.queue:
            await self._once_settled(lambda: None, lambda result, timeout: None)

    def _once_settled(self, read: Callable[[], T], late: Callable[[Any, float], Any]) -> Deferred[T]:
        """`read()` once nothing is pending here, or `late` if that takes too long."""
        waiter: Deferred[T] = Deferred()
        self._input(self.replica.await_read, lambda: None if waiter.called else self._later(waiter.callback, read()))
        return waiter.addTimeout(READ_PATIENCE, self._clock, late)

    # ---- when the last source is gone

    def force(self, expected: Version) -> Deferred[int]:
        """Have the tier go on from this node's log alone, in place of the view `expected`; fires with the new epoch.

        What the sources of that view alone had acknowledged is lost; that this was done is recorded in the log. Fails
        with a 409 `Problem` where it need not or cannot be done, with a 503 where its outcome is not known.
        """
        return Deferred.fromCoroutine(self._force(expected))

    def cannot_force(self, expected: Version) -> str:
        """One sentence on why the tier need not or cannot be forced to go on from here; "": it can."""
        return self.replica.cannot_force(expected, self._now())

    async def _force(self, expected: Version) -> int:
        known = self.replica.known
        if why := self.cannot_force(expected):
            raise Problem(409, "Not to be forced", why)
        assert known is not None
        log.warn("the view {view} is being forced to go on from this node", view=f"{expected[0]}.{expected[1]}")
        self._input(self.replica.force, expected)
        limit = self._now() + FORCE_PATIENCE
        while self.replica.mode != "RUNNING" or self.replica.view is None:
            if self._now() >= limit:
                raise outcome_unknown("The view has not changed yet. Look again how the tier is.")
            await deferLater(self._clock, 0.05)
        epoch = self.replica.view.epoch
        record = RecordForced(epoch, self._place.me, tuple(sorted(known.sources - {self._place.me})))
        await self.execute(record, f"forced:{epoch}")
        return epoch

    # ---- P1 to P7, as the one who asked sees them

    def _recorded(self, op_id: str) -> bool:
        """The core has it in memory."""
        return self.replica.log.result(op_id) is not None

    def _submit(self, submissions: Sequence[Submission]) -> None:
        """What was asked for in one turn of the reactor."""
        if not self._closed:
            self._input(self.replica.submit, submissions)

    def _answer(self, effect: Answer) -> None:
        asked = self._asking.take(effect.ticket)
        if asked is not None:
            self._trail.chosen((effect.result.epoch, effect.result.seq), asked.since)
            asked.answer(effect.result)

    def _abandon(self, effect: Abandon) -> None:
        asked = self._asking.take(effect.ticket)
        if asked is not None:
            asked.refuse(outcome_unknown(effect.why) if effect.unknown else unavailable(effect.why))

    # ---- inputs and effects

    def _input(self, method: Callable[..., list[Effect]], *args: Any) -> None:
        """One input of the core, with the time; then what it asks for."""
        try:
            effects = method(*args, self._now(), self._wall())
        except Exception:
            self._fail_stop(Failure())
            return
        self._todo.extend(effects)
        self._run()

    def _later(self, call: Callable[[T], None], value: T) -> None:
        """Call from outside the core, after what it has asked for so far."""
        self._todo.append(lambda: call(value))
        if not self._busy:
            self._clock.callLater(0, self._run)

    def _run(self) -> None:
        """Strictly in order, also when carrying one thing out brings the next input."""
        if self._busy:
            return
        self._busy = True
        try:
            while self._todo:
                self._carry_out(self._todo.popleft())
        finally:
            self._busy = False

    def _carry_out(self, effect: Effect | Callable[[], None]) -> None:
        match effect:
            case Send():
                self._send(effect)
            case StoreEffect():
                self._commit(effect)
            case Answer():
                self._answer(effect)
            case Abandon():
                self._abandon(effect)
            case Recheck():
                self._asking.look_up(effect.ticket)
            case Fetch():
                self._fetch(effect)
            case SaveView():
                self._store.save_view(effect.view, effect.member).addErrback(self._fail_stop)
            case Synced():
                told.synced(effect, self._place.url(effect.peer))
            case Syncing():
                told.syncing(effect.recovery, self._place.url(effect.recovery.source))
            case Note():
                log.info("{text}", text=effect.text)
            case _:
                effect()

    def _send(self, effect: Send) -> None:
        match effect.message:
            case Heartbeat() | Grant():
                for name in effect.to:
                    self._send_beat(name, effect.message)
            case Ack(version=version):
                self._trail.acknowledge(version, effect.to[0])
                self._links.reply(effect.to[0], effect.message)
            case _:
                self._links.tell(effect.to, effect.message, within=COMPANY if effect.patient else 0.0)

    def _send_beat(self, name: str, message: Heartbeat | Grant) -> None:
        """One request brings most of a pair's heartbeats and grants: that of the node whose name is the first.

        The other one's go with its answer, and grants with the heartbeats: a lease counts from the sending of the
        heartbeat in any case. But nobody can read before the first ones of an epoch: they go at once.
        """
        first = self._beaten.get((name, type(message))) != message.epoch
        self._beaten[name, type(message)] = message.epoch
        asks = isinstance(message, Heartbeat) and self._place.me < name
        within = 0.0 if first or asks else self._timing.heartbeat
        self._links.tell((name,), message, heartbeat=True, within=within)

    def _commit(self, effect: StoreEffect) -> None:
        """P6 (and P5 at the owner): commit, invalidate, acknowledge."""
        chain = self._store.commit(effect.cut, effect.batches, effect.changes)
        if effect.batches:
            newest = effect.batches[-1]
            self._trail.begun(newest)
            chain.addCallback(lambda _: self._trail.stored(newest.version))
        chain.addCallback(lambda _: self._invalidated(effect.invalidations))
        chain.addCallback(lambda _: self._input(self.replica.stored, effect.token))
        chain.addErrback(self._fail_stop)

    def _fetch(self, effect: Fetch) -> None:
        """V4 for a peer that is far behind: read the older batches, send them."""
        reading = self._store.batches(effect.first, FETCH_BATCHES, FETCH_BYTES)
        reading.addCallback(lambda batches: self._input(self.replica.fetched, effect, batches))
        reading.addErrback(self._fail_stop)

    # ---- front ends that hold what is being changed

    def _invalidated(self, numbers: frozenset[int]) -> Deferred[None]:
        """Fires when none of these invalidations is open: each was acked, or its front end's lease has lapsed."""
        if not numbers & self.replica.open_invalidations(self._now()):
            return succeed(None)
        waiter: Deferred[None] = Deferred()
        self._closing.append((numbers, waiter))
        return waiter

    def _look_at_invalidations(self) -> None:
        if not self._closing:
            return
        still_open = self.replica.open_invalidations(self._now())
        closed = [waiter for numbers, waiter in self._closing if not numbers & still_open]
        self._closing = [(numbers, waiter) for numbers, waiter in self._closing if numbers & still_open]
        for waiter in closed:
            waiter.callback(None)

    # ---- fail-stop

    def _fail_stop(self, failure: Failure) -> None:
        """This node must not go on: tell its owner, once."""
        if self._failed is not None:
            failed, self._failed = self._failed, None
            self._rest()
            failed(failure)


def _too_busy(result: T | Failure, timeout: float) -> T | Failure:
    if isinstance(result, Failure):
        return Failure(unavailable(f"A commit that touches this has not come through within {timeout:.1f} s."))
    return result
