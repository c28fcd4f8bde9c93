"""One replica of a tier: the whole protocol behind a few inputs, each of which returns what it asks for.

Inputs are a message, a tick, a finished commit or an operation, with the time on this node's own clock (seconds).
The same object runs under the reactor and under a simulator.
"""

from collections.abc import Callable, Iterable

from msgspec import Struct
from msgspec.structs import replace

from pygmy.messages.condition import Counts, Head, Recovery
from pygmy.messages.internal import Invalidated, Session
from pygmy.messages.operations import Operation, Result
from pygmy.messages.register import RegisterReply
from pygmy.messages.replication import (
    Ack,
    Active,
    Batch,
    Entry,
    Give,
    Grant,
    Heartbeat,
    Join,
    Leave,
    Mode,
    Probe,
    QueryValidate,
    ReplicaMessage,
    Status,
    Suffix,
    SuffixRequest,
    SyncAck,
    Take,
    Took,
    Update,
    Validate,
    Version,
    View,
    ViewAsk,
    ViewTell,
)
from pygmy.replication.core import Core
from pygmy.replication.effects import Abandon, Effect, Fetch, Note
from pygmy.replication.log import Diverged, Log, digest_of
from pygmy.replication.membership import MembershipFactory
from pygmy.replication.ownership import Ownership
from pygmy.replication.timing import Timing
from pygmy.replication.viewchange import Past, ViewChange
from pygmy.replication.writes import Waiting, Writes


class Found(Struct, frozen=True):
    """What the disk holds under an op_id, as of the moment its log ended with seq `upto`."""

    known: tuple[Entry, Result] | None
    upto: int


class Submission(Struct, frozen=True):
    """An operation, to be answered under this ticket, and what the disk holds under its op_id."""

    ticket: int
    op_id: str
    operation: Operation
    found: Found


class Heard(Struct, frozen=True):
    """Another node as last heard of: for people. `ago` in seconds, `lease` in those left of the one it granted."""

    mode: str
    epoch: int | None
    head: Head | None
    ago: float | None
    incarnation: int | None = None
    lease: float | None = None


class Replica:
    """A replica named `me` of the tier of these nodes, in this incarnation, with this log.

    `previous` is the incarnation of its disk's last start (0: none). `emptied`: its disk has taken part in no view
    yet; it is newborn, or its disk was lost with all it held. `alone_since` (s): by then every earlier process of
    this node had ended (default: now).
    """

    def __init__(
        self,
        me: str,
        tier: tuple[str, ...],
        incarnation: int,
        log: Log,
        known: View | None,
        now: float,
        timing: Timing,
        membership: MembershipFactory,
        *,
        previous: int,
        emptied: bool,
        alone_since: float | None = None,
    ) -> None:
        self._core = Core(me, tier, incarnation, log, now, timing)
        self._ownership = Ownership(self._core)
        self._writes = Writes(self._core, self._ownership)
        past = Past(previous, emptied, now if alone_since is None else alone_since)
        self._change = ViewChange(self._core, self._ownership, self._writes, known, past, membership)
        self._heads: dict[str, Head] = {}  # of the peers, as their heartbeats tell: for people
        self._parted: set[tuple[str, int]] = set()  # incarnations of peers whose histories are others

    # ---- inputs

    def tick(self, now: float, wall: int) -> list[Effect]:
        """A heartbeat is due: send it, and repeat everything unanswered."""
        core = self._at(now, wall)
        core.heartbeat()
        core.leases.forget_before(now)
        core.sessions.tick(now)
        self._change.tick()
        if core.mode == "RUNNING":
            self._ownership.repeat()
            self._writes.repeat()
        return self._drain()

    def await_read(self, read: Callable[[], None], now: float, wall: int) -> list[Effect]:
        """Call `read` (which must not call back in) as soon as nothing is pending here and the lease holds."""
        self._at(now, wall).readers.append(read)
        self._writes.hasten()
        return self._drain()

    def receive(
        self, sender: str, message: ReplicaMessage | RegisterReply | Invalidated, now: float, wall: int
    ) -> list[Effect]:
        """A message from a node of the tier, a voter's reply, or a front end's word that it has dropped something."""
        core = self._at(now, wall)
        if isinstance(message, Invalidated):
            core.sessions.invalidated(sender, message.number)
        elif isinstance(message, RegisterReply):
            self._change.membership.receive(sender, message)
        elif sender in core.others:
            self._dispatch(sender, message)
        return self._drain()

    def submit(self, submissions: Iterable[Submission], now: float, wall: int) -> list[Effect]:
        """P1, P2, P4: execute each operation once. What comes at once goes into one batch, if it can."""
        core, writes = self._at(now, wall), self._writes
        for one in submissions:
            if core.mode == "INIT" or core.leaving:
                core.effects.append(Abandon(one.ticket, False, self.why()))
            elif len(writes.queue) >= core.timing.queue:
                core.effects.append(Abandon(one.ticket, False, "Too many operations are waiting here."))
            else:
                digest, found = digest_of(one.operation), one.found
                writes.submit(Waiting(one.ticket, one.op_id, one.operation, digest, found.known, found.upto))
        writes.pump()
        return self._drain()

    def stored(self, token: int, now: float, wall: int) -> list[Effect]:
        """The `Store` with this token is durable, and its invalidations are closed."""
        core = self._at(now, wall)
        core.stores.pop(token, None)
        self._change.stored(token)
        self._writes.stored(token)
        return self._drain()

    def fetched(self, fetch: Fetch, batches: tuple[Batch, ...], now: float, wall: int) -> list[Effect]:
        """The batches that a `Fetch` asked for."""
        core = self._at(now, wall)
        learner = fetch.epoch is None and core.mode == "RUNNING"
        if learner or (fetch.epoch is not None and core.in_epoch(fetch.epoch, "SYNC")):
            self._change.sync.fetched(fetch, batches)
        return self._drain()

    def leave(self, now: float, wall: int) -> list[Effect]:
        """V8: stop serving, and ask to be left out of the view, again until `left` tells that it is done."""
        self._at(now, wall)
        self._change.leave()
        return self._drain()

    def force(self, expected: Version, now: float, wall: int) -> list[Effect]:
        """Have the tier go on from this node alone, in place of view `expected`, unless `cannot_force` objects."""
        self._at(now, wall)
        self._change.force(expected)
        return self._drain()

    def _at(self, now: float, wall: int) -> Core:
        self._core.now, self._writes.wall = now, wall
        return self._core

    def _drain(self) -> list[Effect]:
        effects, self._core.effects = self._core.effects, []
        return effects

    # ---- messages

    def _dispatch(self, sender: str, message: ReplicaMessage) -> None:
        change, core = self._change, self._core
        match message:
            case Heartbeat():
                self._on_heartbeat(sender, message)
            case Grant():
                if core.mode != "INIT" and message.epoch == core.epoch:
                    core.leases.extend(sender, message.sent, core.now)
            case ViewAsk() | ViewTell():
                change.membership.receive(sender, message)
            case Probe():
                change.on_probe(sender, message)
            case Status():
                change.on_status(sender, message)
            case SuffixRequest():
                change.on_suffix_request(sender, message)
            case Suffix():
                change.on_suffix(sender, message)
            case SyncAck():
                change.on_sync_ack(sender, message.epoch)
            case Active():
                change.on_active(sender, message.epoch)
            case Join():
                change.on_join(sender, message)
            case Leave():
                change.on_leave(sender, message)
            case _:
                if core.in_epoch(message.epoch):
                    self._dispatch_write(sender, message)

    def _dispatch_write(
        self, sender: str, message: Take | Give | Took | Update | Ack | Validate | QueryValidate
    ) -> None:
        """The write path exists only in RUNNING members of the message's epoch."""
        writes, ownership = self._writes, self._ownership
        match message:
            case Update():
                writes.on_update(sender, message)
            case Ack():
                writes.on_ack(sender, message.version)
            case Validate():
                writes.on_validate(message.version)
            case QueryValidate():
                writes.on_query_validate(sender, message.version)
            case Take():
                ownership.on_take(sender)
                if ownership.mine:
                    writes.pump()
            case Give():
                if ownership.on_give(sender, message):
                    writes.settle()
                    writes.pump()
            case Took():
                ownership.on_took(message)

    def _on_heartbeat(self, sender: str, beat: Heartbeat) -> None:
        core, view = self._core, self._core.view
        if view is None or core.mode == "INIT":
            return
        if beat.epoch == view.epoch and view.members.get(sender) == beat.incarnation:
            if core.stalled():
                core.leases.hear(sender, core.now)
                return  # a disk that hangs is a failure: let the others go on without this node
            self._heads[sender] = Head(*beat.head, beat.head_hash)
            if core.mode == "RUNNING" and self._diverged(sender, beat):
                return
            core.leases.book(sender, beat.incarnation, core.now)
            core.send(sender, Grant(beat.epoch, beat.sent))
        elif beat.epoch < view.epoch:
            core.send(sender, ViewTell(core.incarnation, view))
        else:
            self._change.membership.read()

    def _diverged(self, sender: str, beat: Heartbeat) -> bool:
        """True if this follower has another history than this node, which leads: it is heard no more.

        Whoever has another history than the leader stops, so that one of them is left to serve. A hash vouches for
        all before it, so it does not matter where the histories part, nor that one is a batch ahead.
        """
        core = self._core
        mine = core.log.batch(beat.head[1])
        if mine is None or mine.version != beat.head or mine.hash == beat.head_hash:
            return False
        told = f"batch {_named(beat.head)} has the hash {mine.hash[:8]} here and {beat.head_hash[:8]} at {sender}"
        if core.view is not None and sender == core.view.leader:
            raise Diverged(f"the copies have diverged: {told}, which leads")
        if core.is_leader() and (sender, beat.incarnation) not in self._parted:
            self._parted.add((sender, beat.incarnation))
            core.effects.append(Note(f"the copies have diverged: {told}, which has to stop"))
        return core.is_leader()

    # ---- questions, for reads and for people

    def readable(self, keys: frozenset[str], now: float) -> bool | None:
        """May these cache keys be read here and now? None: not yet, a commit under way touches them."""
        core = self._core
        core.now = now
        if core.lease_left() <= 0:
            return False
        return None if self._writes.pending_keys & keys else True

    @property
    def awaits_validate(self) -> bool:
        """True if something is pending here of which its owner alone knows whether it is committed."""
        return self._writes.awaits_validate

    def fill(self, holder: str, keys: frozenset[str], now: float) -> tuple[Session | None, float]:
        """Let a front end cache what is read in this very turn: its session and lease (None, 0: not to cache)."""
        self._core.now = now
        return self._core.sessions.fill(holder, keys, self._core.lease_left(), now)

    def renew(self, holder: str, session: Session | None, now: float) -> tuple[Session, float] | None:
        """Extend a front end's session; None: no answer now."""
        self._core.now = now
        return self._core.sessions.renew(holder, session, self._core.lease_left(), now)

    def open_invalidations(self, now: float) -> frozenset[int]:
        """The invalidations that front ends have neither acked nor outlived."""
        self._core.sessions.lapse_expired(now)
        return self._core.sessions.open_numbers()

    def chosen(self, now: float) -> int | None:
        """The seq up to which this log is known to be committed; None while this node may not be read."""
        core = self._core
        core.now = now
        if core.lease_left() <= 0:
            return None
        head = core.log.head[1]
        return head - 1 if self._writes.pending else head

    @property
    def left(self) -> bool:
        """True once this node, leaving, is out of the view (or there was nobody to leave to)."""
        return self._core.mode != "RUNNING" or (not self._core.peers() and self._writes.idle)

    @property
    def mode(self) -> Mode:
        """INIT, SYNC or RUNNING."""
        return self._core.mode

    @property
    def view(self) -> View | None:
        """The view this node is in."""
        return self._core.view

    @property
    def log(self) -> Log:
        """The log."""
        return self._core.log

    @property
    def incarnation(self) -> int:
        """The incarnation of this node."""
        return self._core.incarnation

    @property
    def pending(self) -> Version | None:
        """The batch at the end of this log that is not known to be committed (None: there is none)."""
        batch = self._writes.pending
        return None if batch is None else batch.version

    @property
    def recovery(self) -> Recovery | None:
        """How far this log has been brought up to date since this node started."""
        return self._change.sync.recovery

    @property
    def counts(self) -> Counts:
        """What has happened since this node started."""
        sessions = self._core.sessions
        return replace(
            self._change.sync.progress.counts,
            primary_moves=self._ownership.moves,
            invalidations=sessions.sent,
            invalidations_lapsed=sessions.lapsed,
        )

    def lease(self, now: float) -> float:
        """Seconds for which this node may answer reads."""
        self._core.now = now
        return max(0.0, self._core.lease_left())

    @property
    def owner(self) -> str:
        """The holder of the primary copy, as last heard of."""
        return self._ownership.owner

    @property
    def readers(self) -> int:
        """How many reads wait here for a commit under way."""
        return len(self._core.readers)

    @property
    def queued(self) -> int:
        """How many operations wait here."""
        return len(self._writes.queue)

    @property
    def known(self) -> View | None:
        """The view as last read from the register, whether this node is in it or not."""
        return self._change.membership.known

    def cannot_force(self, expected: Version, now: float) -> str:
        """One sentence on why `force` would do nothing; "" where it would."""
        self._core.now = now
        return self._change.cannot_force(expected)

    def heard_of(self, now: float) -> dict[str, Heard]:
        """The other nodes of the tier."""
        core = self._core
        core.now = now
        return {node: self._heard_of(node) for node in core.others}

    def _heard_of(self, node: str) -> Heard:
        core = self._core
        if core.view is not None and node in core.view.members:
            at = core.leases.last_heard(node)
            ago = None if at is None else core.now - at
            state = "DOWN" if node in core.leases.silent(core.now) else core.mode
            lease = max(0.0, core.leases.left_of(node, core.now))
            return Heard(state, core.epoch, self._heads.get(node), ago, core.view.members[node], lease)
        status = self._change.neighbours.last_word(node)
        if status is None:
            return Heard("DOWN" if core.view else "UNKNOWN", None, None, None)
        return Heard(status.mode, status.epoch, None, core.now - status.at, status.incarnation)

    def leads(self) -> bool:
        """True if this node is RUNNING and leads the view."""
        return self._core.mode == "RUNNING" and self._core.is_leader()

    def why(self) -> str:
        """One sentence on why this node does not serve; "" when it does."""
        core = self._core
        if core.leaving:
            return "The node is shutting down."
        if core.lease_left() > 0:
            return ""
        stuck = self._change.membership.why()
        match core.mode:
            case "INIT":
                return stuck or self._change.awaits()
            case "SYNC":
                return "The tier is changing its members." + (f" {stuck}" if stuck else "")
        return "The node's read lease has run out: it does not hear its peers." + (f" {stuck}" if stuck else "")


def _named(version: Version) -> str:
    """`3-1234`."""
    return f"{version[0]}-{version[1]}"
