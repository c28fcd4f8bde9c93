"""Deliberate bugs: each rule of the protocol left out once, to show that the simulation would notice.

They are patches of the product's classes, in force while a history runs; the product has no switches.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

from msgspec.structs import replace
from twisted.internet.defer import Deferred

import pygmy.replication.views
import pygmy.replication.writes
from pygmy.caching.cache import Leases as HeldLeases
from pygmy.caching.flights import Flights
from pygmy.messages.operations import SoldOut
from pygmy.messages.register import Vote
from pygmy.messages.replication import Ack, Took, Update
from pygmy.reconciler import Reconciler, order_of
from pygmy.replication import views
from pygmy.replication.effects import Answer
from pygmy.replication.leases import NEVER, Leases
from pygmy.replication.log import Log, result_of
from pygmy.replication.opids import OpIds
from pygmy.replication.ownership import Ownership
from pygmy.replication.replica import Replica
from pygmy.replication.sessions import Sessions
from pygmy.replication.sync import Sync
from pygmy.replication.viewchange import ViewChange
from pygmy.replication.voter import Voter
from pygmy.replication.writes import Writes
from pygmy.state.orders import OrderBook
from pygmy.state.stock import Stock
from tests.simulation.disk import Disk, Store
from tests.simulation.hooks import around
from tests.simulation.process import ReplicaProcess

BUGS: dict[str, tuple[str, Callable[[], list[Any]]]] = {}

# No history can show this one: a member comes back only in a later view than the one that it is missing from, and by
# then whoever granted its earlier incarnation anything has waited for that.
UNREACHABLE = {"grant_by_id"}

# These are of the replicated register; an atomic one in its place does not have them.
OF_REGISTER = {"voter_forgets"}


def bug(what: str) -> Callable[[Callable[[], list[Any]]], Callable[[], list[Any]]]:
    """Register patches under the function's name; `what` says what is left out."""

    def register(patches: Callable[[], list[Any]]) -> Callable[[], list[Any]]:
        BUGS[patches.__name__] = (what, patches)
        return patches

    return register


@contextlib.contextmanager
def planted(name: str | None) -> Iterator[None]:
    """While this lasts the product has this bug. To be entered before `simulated`."""
    with contextlib.ExitStack() as stack:
        for one in BUGS[name][1]() if name else []:
            stack.enter_context(one)
        yield


# ---- durability


@bug("commits are told of before they are durable")
def ack_before_fsync() -> list[Any]:
    def commit(original: Any, self: Store, *args: Any) -> Any:
        original(self, *args)
        told: Deferred[None] = Deferred()
        self._clock.callLater(0, told.callback, None)
        return told

    return [around(Store, "commit", commit)]


@bug("a repeated UPDATE is ACKed although not yet durable and invalidated")
def ack_again_early() -> list[Any]:
    def on_update(original: Any, self: Writes, peer: str, update: Update) -> None:
        if self._core.log.head != update.batch.base and self._core.log.contains(update.batch.version):
            self._core.send(peer, Ack(self._core.epoch, update.batch.version))
        else:
            original(self, peer, update)

    return [around(Writes, "on_update", on_update)]


@bug("the leader activates before its own commits are durable")
def activate_before_durable() -> list[Any]:
    def try_activate(original: Any, self: ViewChange) -> None:
        view = self._core.view
        if view is not None and self._waited() and view.members.keys() <= self._synced:
            self._activate()

    return [around(ViewChange, "_try_activate", try_activate)]


@bug("SYNCACK while earlier commits are still queued")
def sync_no_barrier() -> list[Any]:
    def on_suffix(original: Any, self: ViewChange, peer: str, suffix: Any) -> None:
        original(self, peer, suffix)
        if self._sync_token is not None and not suffix.batches and suffix.cut > suffix.head[1]:
            self.stored(self._sync_token)

    return [around(ViewChange, "on_suffix", on_suffix)]


@bug("what has left memory is taken for new")
def forgotten_is_new() -> list[Any]:
    def add(original: Any, self: OpIds, op_id: str) -> None: ...

    return [around(OpIds, "add", add)]


@bug("a backup is restored onto a member, which starts as if nothing had happened")
def backup_restored() -> list[Any]:
    def start(original: Any, self: ReplicaProcess) -> None:
        log = list(self.disk.log)
        if self.disk.incarnation and len(log) > 3:
            machine_rows = _rows_upto(self, len(log) // 2)
            fresh = Disk()
            fresh.incarnation, fresh.view = self.disk.incarnation, self.disk.view
            for batch, changes in machine_rows:
                fresh.commit(batch.seq, [batch], changes)
            self.disk = fresh
        original(self)

    return [around(ReplicaProcess, "start", start)]


def _rows_upto(process: ReplicaProcess, count: int) -> list[tuple[Any, Any]]:
    log = Log(Stock() if process.tier == "catalog" else OrderBook())
    return [(batch, log.append(batch)) for batch in process.disk.log[:count]]


# ---- incarnations and leases


@bug("a restarted member carries on in the old view, its volatile state lost")
def no_incarnation() -> list[Any]:
    def boot(original: Any, self: Disk, *args: Any) -> Any:
        if self.incarnation:
            self.incarnation -= 1
        return original(self, *args)

    def init(original: Any, self: Replica, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        core, known = self._core, args[4]
        if known is not None and known.members.get(core.me) == core.incarnation:
            core.view, core.sealed = known, known.epoch
            self._change._start_running()

    return [around(Disk, "boot", boot), around(Replica, "__init__", init)]


@bug("reads do not check the lease")
def no_lease() -> list[Any]:
    def readable(original: Any, self: Replica, keys: Any, now: float) -> bool | None:
        self._core.now = now
        if self._core.mode != "RUNNING" or self._core.leaving:
            return False
        return None if self._writes.pending_keys & keys else True

    return [around(Replica, "readable", readable)]


@bug("a view activates without waiting for leases granted to removed members")
def no_lease_wait() -> list[Any]:
    return [around(Leases, "outsiders_until", lambda original, self, members: NEVER)]


@bug("a lease counts from the receipt of the grant, not from the sending of the heartbeat")
def lease_on_receipt() -> list[Any]:
    return [around(Leases, "extend", lambda original, self, peer, sent, now: original(self, peer, now, now))]


@bug("grants are remembered per node, not per (node, incarnation)")
def grant_by_id() -> list[Any]:
    def outsiders_until(original: Any, self: Leases, members: dict[str, int]) -> float:
        lease = self._timing.lease
        return max((at + lease for (peer, _), at in self._granted.items() if peer not in members), default=NEVER)

    return [around(Leases, "outsiders_until", outsiders_until)]


@bug("no wait of a lease after the start, when earlier grants are forgotten")
def recover_no_wait() -> list[Any]:
    def waited(original: Any, self: ViewChange) -> bool:
        core = self._core
        until = core.leases.outsiders_until(core.view.members) if core.view else NEVER
        return bool(core.now >= until and not core.sessions.open_numbers())

    return [around(ViewChange, "_waited", waited)]


# ---- views


@bug("a member keeps ACKing the old epoch after it has learnt of the new one")
def no_seal() -> list[Any]:
    def dispatch(original: Any, self: Replica, sender: str, message: Any) -> None:
        core = self._core
        old = isinstance(message, Update) and core.mode != "INIT" and message.epoch < core.epoch
        if old and core.log.head == message.batch.base:
            core.store(message.batch.seq, (message.batch,), core.log.append(message.batch))
            core.send(sender, Ack(message.epoch, message.batch.version))
        else:
            original(self, sender, message)

    return [around(Replica, "_dispatch", dispatch)]


@bug("ACKs count whatever their epoch")
def acks_across_epochs() -> list[Any]:
    def dispatch(original: Any, self: Replica, sender: str, message: Any) -> None:
        flight = self._writes._flight
        if isinstance(message, Ack) and flight is not None and message.version[1] == flight.batch.seq:
            self._writes.on_ack(sender, flight.batch.version)
        else:
            original(self, sender, message)

    return [around(Replica, "_dispatch", dispatch)]


@bug("the leader may be any member: sources are ignored")
def any_leader() -> list[Any]:
    original = views.with_members

    def with_members(view: Any, members: dict[str, int]) -> Any:
        new = original(view, members)
        return new and replace(new, leader=min(members))

    return [patch.object(pygmy.replication.views, "with_members", with_members)]


@bug("the leader is found anew when the sources of an epoch grow")
def leader_recomputed() -> list[Any]:
    original = views.all_sources

    def all_sources(view: Any) -> Any:
        return replace(original(view), leader=min(view.members))

    def install(original: Any, self: ViewChange, view: Any) -> None:
        same = self._core.view is not None and view.epoch == self._core.view.epoch
        moved = same and view.leader != self._core.view.leader
        original(self, view)
        if moved:
            self._ownership.start(view.leader)

    return [
        patch.object(pygmy.replication.views, "all_sources", all_sources),
        around(ViewChange, "_install", install),
    ]


@bug("a removed member does not seal, and may enter again the epoch it left")
def reenter() -> list[Any]:
    def install(original: Any, self: ViewChange, view: Any) -> None:
        core = self._core
        before, member = core.sealed, view.members.get(core.me) == core.incarnation
        if core.view is None and member and view.epoch <= core.sealed:
            core.sealed = view.epoch - 1
        original(self, view)
        if not member:
            core.sealed = before

    return [around(ViewChange, "_install", install)]


@bug("only the leader declares the members sources")
def leader_only_sources() -> list[Any]:
    def declare(original: Any, self: ViewChange) -> None:
        if self._core.is_leader():
            original(self)

    return [around(ViewChange, "_declare_sources", declare)]


@bug("members never read the register unasked: a change that lands late goes unnoticed")
def no_register_poll() -> list[Any]:
    def tick(original: Any, self: ViewChange) -> None:
        if self._core.mode != "INIT":
            self._last_read = self._core.now
        original(self)

    return [around(ViewChange, "tick", tick)]


@bug("a voter that has lost its votes takes part as if it had never voted")
def voter_forgets() -> list[Any]:
    def on_founding(original: Any, self: Voter, *args: Any) -> None:
        original(self, *args)
        if self.cluster_id is not None and not self._votes:
            self._votes = {register: Vote() for register in self._registers}

    return [around(Voter, "_on_founding", on_founding)]


# ---- sync


@bug("a sync answer that was computed for an older head is applied")
def no_cut_echo() -> list[Any]:
    def on_suffix(original: Any, self: ViewChange, peer: str, suffix: Any) -> None:
        original(self, peer, replace(suffix, head=self._core.log.head))

    return [around(ViewChange, "on_suffix", on_suffix)]


@bug("a restarted source truncates its log to match a running member")
def presync_source() -> list[Any]:
    def on_value(original: Any, self: ViewChange, view: Any) -> None:
        original(self, view)
        if self._core.mode == "INIT" and self._core.me in view.members:
            self._presync(view)

    def on_suffix(original: Any, self: ViewChange, peer: str, suffix: Any) -> None:
        known = self._known
        if suffix.epoch is None and known is not None and self._core.me in known.members:
            members = {node: inc for node, inc in known.members.items() if node != self._core.me}
            self._known = replace(known, members=members, sources=known.sources - {self._core.me})
            original(self, peer, suffix)
            self._known = known
        else:
            original(self, peer, suffix)

    return [around(ViewChange, "_on_value", on_value), around(ViewChange, "on_suffix", on_suffix)]


@bug("sync merges: a batch that only the follower has is kept")
def merge_by_highest_version() -> list[Any]:
    def apply(original: Any, self: Sync, peer: str, suffix: Any) -> int:
        if not suffix.batches and suffix.cut <= self._core.log.head[1]:
            return self._core.barrier()
        token: int = original(self, peer, suffix)
        return token

    return [around(Sync, "apply", apply)]


@bug("truncation keeps the operation index of the dropped batch")
def dedup_survives_rollback() -> list[Any]:
    def truncate(original: Any, self: Log, cut: int) -> bool:
        before = dict(self._recent)
        dropped: bool = original(self, cut)
        if dropped:
            self._recent = {**before, **self._recent}
        return dropped

    def answer_chosen(original: Any, self: Writes, waiting: Any) -> bool:
        found = self._core.log._recent.get(waiting.op_id)
        if found is not None and not self._core.log.contains(found[1]):
            self._core.effects.append(Answer(waiting.ticket, result_of(*found)))
            return True
        answered: bool = original(self, waiting)
        return answered

    return [around(Log, "truncate", truncate), around(Writes, "_answer_chosen", answer_chosen)]


# ---- the primary copy and writes


@bug("a GIVE is accepted whatever its counter")
def give_no_counter() -> list[Any]:
    def on_give(original: Any, self: Ownership, peer: str, give: Any) -> bool:
        if give.counter > self._counter:
            taken: bool = original(self, peer, give)
            return taken
        self._core.send(peer, Took(give.epoch, give.counter))
        if self.mine or give.head != self._core.log.head:
            return False
        self.mine, self._given = True, None
        return True

    return [around(Ownership, "on_give", on_give)]


@bug("a GIVE is sent once")
def no_give_resend() -> list[Any]:
    def repeat(original: Any, self: Ownership) -> None:
        self._asked = False

    return [around(Ownership, "repeat", repeat)]


@bug("a GIVE is repeated only for a repeated TAKE of its receiver")
def give_on_take_only() -> list[Any]:
    def on_take(original: Any, self: Ownership, peer: str) -> None:
        original(self, peer)
        if not self.mine and self._given and self._given[0] == peer:
            self._core.send(*self._given)

    return [*no_give_resend(), around(Ownership, "on_take", on_take)]


@bug("reads do not wait for VALIDATE")
def read_pending() -> list[Any]:
    def readable(original: Any, self: Replica, keys: Any, now: float) -> bool | None:
        return original(self, keys, now) is not False

    return [around(Replica, "readable", readable)]


@bug("a view change lets waiting reads see what was pending")
def readers_on_view_change() -> list[Any]:
    def forget_epoch(original: Any, self: Writes) -> None:
        self._clear_pending()
        original(self)

    return [around(Writes, "forget_epoch", forget_epoch)]


@bug("a retry is executed again")
def no_dedup() -> list[Any]:
    return [
        around(Writes, "_found", lambda original, self, waiting, fresh: None),
        around(Writes, "_answer_chosen", lambda original, self, waiting: False),
    ]


@bug("refusals for want of stock are not recorded")
def refusals_not_recorded() -> list[Any]:
    unrecorded = (*pygmy.replication.writes.UNRECORDED, SoldOut)
    return [patch.object(pygmy.replication.writes, "UNRECORDED", unrecorded)]


# ---- front ends


@bug("a front end stores a fill that raced with an invalidation")
def fe_no_fill_mark() -> list[Any]:
    return [around(Flights, "mark", lambda original, self, key: None)]


@bug("sessions are not compared")
def fe_no_session() -> list[Any]:
    def until(original: Any, self: HeldLeases, replica: str, session: Any) -> float:
        lease = self._leases.get(replica)
        return lease.until if lease else NEVER

    def renew(original: Any, self: Sessions, name: str, held: Any, lease: float, now: float) -> Any:
        current = (self._incarnation, self._holder(name).number)
        return original(self, name, current, lease, now)

    return [around(HeldLeases, "until", until), around(Sessions, "renew", renew)]


@bug("a replica goes on without a front end's ack, and keeps its session")
def fe_session_not_bumped() -> list[Any]:
    def lapse(original: Any, self: Sessions, holder: Any) -> None:
        original(self, holder)
        holder.number -= 1

    return [around(Sessions, "_lapse", lapse)]


@bug("a replica ACKs before its front ends have dropped the items")
def fe_no_invalidation() -> list[Any]:
    return [around(Sessions, "invalidate", lambda original, self, keys, now: frozenset())]


@bug("of what a batch has touched, the lists are left out: front ends keep them, and nobody waits for their commit")
def list_not_invalidated() -> list[Any]:
    def touched(original: Any, self: Stock) -> frozenset[str]:
        return frozenset(key for key in original(self) if key.startswith("item "))

    return [around(Stock, "touched", touched)]


@bug("any ack of an invalidation closes all that are open")
def fe_ack_without_number() -> list[Any]:
    def invalidated(original: Any, self: Sessions, name: str, number: int) -> None:
        for open_number in list(self._holder(name).open):
            original(self, name, open_number)

    return [around(Sessions, "invalidated", invalidated)]


@bug("a front end's lease is not bounded by the replica's own")
def fe_full_lease() -> list[Any]:
    def fill(original: Any, self: Replica, holder: str, keys: Any, now: float) -> Any:
        return self._core.sessions.fill(holder, keys, self._core.timing.lease, now)

    def renew(original: Any, self: Replica, holder: str, session: Any, now: float) -> Any:
        return self._core.sessions.renew(holder, session, self._core.timing.lease, now)

    return [around(Replica, "fill", fill), around(Replica, "renew", renew)]


@bug("a removed member forgets its front ends' sessions")
def drop_sessions_on_removal() -> list[Any]:
    def drop_out(original: Any, self: ViewChange, view: Any) -> None:
        original(self, view)
        self._core.sessions._holders.clear()

    return [around(ViewChange, "_drop_out", drop_out)]


# ---- both tiers


@bug("nobody looks for sales without an order")
def no_reconciler() -> list[Any]:
    return [around(Reconciler, "_tick", lambda original, self: None)]


@bug("the reconciler writes orders under keys of its own")
def reconciler_own_key() -> list[Any]:
    async def order(original: Any, self: Reconciler, sale: Any) -> None:
        sold = sale.result.outcome
        await self._ledger.execute(order_of(sold, sale.result, sale.basket), f"x:{sale.op_id}")

    return [around(Reconciler, "_order", order)]
