"""From one view to the next (V1..V8): install, sync, activate; rejoin, recover a dead tier, leave."""

from msgspec import Struct

from pygmy.messages.replication import (
    GENESIS,
    Active,
    Join,
    Leave,
    Probe,
    Status,
    Suffix,
    SuffixRequest,
    SyncAck,
    Version,
    View,
)
from pygmy.replication import views
from pygmy.replication.core import Core
from pygmy.replication.effects import Note, SaveView
from pygmy.replication.leases import NEVER
from pygmy.replication.membership import MembershipFactory
from pygmy.replication.neighbours import Neighbour, Neighbours
from pygmy.replication.ownership import Ownership
from pygmy.replication.sync import Sync
from pygmy.replication.writes import Writes


class Past(Struct):
    """What a replica brings along from before its start; see `pygmy.replication.replica.Replica`."""

    previous: int
    emptied: bool
    alone_since: float


class ViewChange:
    """The mode of a replica and all that moves it."""

    def __init__(
        self,
        core: Core,
        ownership: Ownership,
        writes: Writes,
        known: View | None,
        past: Past,
        membership: MembershipFactory,
    ) -> None:
        self._core = core
        self._ownership = ownership
        self._writes = writes
        self.membership = membership(core, known, self._on_value)
        self.sync = Sync(core)
        self._known: View | None = known  # the register's value as last read
        self._chosen: View | None = None  # the same, since this start
        self._change_open_since: float | None = None
        self._last_read = NEVER
        self.neighbours = Neighbours(core)
        self._init_since = core.now
        # Before this an earlier incarnation may have granted leases that nobody remembers.
        self._unsure_since = past.alone_since
        self._previous = past.previous
        self._emptied = past.emptied
        self._wait_until = NEVER
        self._in_sync = False
        self._synced: set[str] = set()
        self._sync_token: int | None = None  # the commit that ends the sync
        self._activation: int | None = None  # the barrier that activation waits for

    # ---- V1, V2: change

    def _read(self) -> None:
        self._last_read = self._core.now
        self.membership.read()

    def _swap(self, old: View, new: View | None) -> None:
        if new is None or self._change_open_since is not None:
            return
        self._change_open_since = self._core.now
        self.membership.change(old.number, new)

    def _recheck(self) -> None:
        """A change whose answer is lost may have won: read until it is known."""
        since = self._change_open_since
        if since is not None and self._core.now - since > self._core.timing.recheck:
            self._change_open_since = self._core.now
            self._read()

    def _on_value(self, view: View) -> None:
        """The register has answered."""
        core = self._core
        self._change_open_since, self._chosen = None, view
        if self._previous < view.members.get(core.me, 0) < core.incarnation:
            self._emptied = True  # it has taken part since this disk was last started: another disk has
        self._install(view)
        if core.mode != "INIT" or core.leaving:
            return
        core.ask_all(Probe(core.incarnation, view.epoch, self._emptied, self._blank()))
        if core.me in view.sources:
            self._recover(view)
        elif core.me not in view.members:  # a member may become a source at any time, with what it acked
            self._presync(view)

    # ---- V3: install

    def _install(self, view: View) -> None:
        core = self._core
        if core.view is not None and view.epoch == core.view.epoch:
            if view.gen > core.view.gen:
                core.view = self._known = view
                core.effects.append(SaveView(view, member=True))
                core.effects.append(Note(f"sources in epoch {view.epoch}: {', '.join(sorted(view.sources))}"))
            return
        if self._known is None or view.number >= self._known.number:
            self._known = view
        if view.epoch <= core.sealed:
            return
        core.sealed = view.epoch
        self.sync.progress.counts.view_changes += 1
        member = view.members.get(core.me) == core.incarnation
        core.effects.append(SaveView(view, member or not self._emptied))
        self._forget_epoch()
        if member:
            self._enter(view)
        else:
            self._drop_out(view)

    def _forget_epoch(self) -> None:
        self._ownership.forget()
        self._writes.forget_epoch()
        self._core.leases.drop()
        self._forget_sync()

    def _forget_sync(self) -> None:
        self._in_sync, self._synced = False, {self._core.me}
        self._sync_token = self._activation = None

    def _drop_out(self, view: View) -> None:
        """Not a member: INIT. What was sealed, granted and let to front ends is kept while the process lives."""
        core = self._core
        if core.mode != "INIT":
            self._unsure_since = self._init_since = core.now
            core.effects.append(Note(f"out of the view of epoch {view.epoch}: {_members(view)}"))
        core.mode, core.view = "INIT", None
        self._writes.abandon_all("This node was taken out of the view.")

    def _enter(self, view: View) -> None:
        core = self._core
        core.mode, core.view = "SYNC", view
        self._previous, self._emptied = core.incarnation, False
        core.leases.start_listening(core.peers(), core.now)
        until = core.leases.outsiders_until(view.members)
        # Before the first epoch nobody granted anything.
        self._wait_until = max(until, self._unsure_since + core.timing.lease) if view.epoch > 1 else until
        core.sessions.invalidate(None, core.now)
        core.effects.append(Note(f"SYNC in epoch {view.epoch}: {_members(view)}"))
        if core.is_leader():
            self._try_activate()
        else:
            self._continue_sync()

    # ---- V4: sync with the frozen leader

    def _waited(self) -> bool:
        return self._core.now >= self._wait_until and not self._core.sessions.open_numbers()

    def _continue_sync(self) -> None:
        core = self._core
        assert core.view is not None
        if not self._in_sync:
            if self._sync_token is None:
                self.sync.request(core.view.leader, core.view.epoch)
        elif self._waited():
            core.send(core.view.leader, SyncAck(core.view.epoch))

    def on_suffix_request(self, peer: str, request: SuffixRequest) -> None:
        """A frozen leader answers its followers, a RUNNING member whoever learns."""
        core = self._core
        if request.epoch is None:
            if core.mode == "RUNNING":
                self.sync.answer(peer, request)
        elif core.in_epoch(request.epoch, "SYNC") and core.is_leader():
            self.sync.answer(peer, request)

    def on_suffix(self, peer: str, suffix: Suffix) -> None:
        """Applied only if it was computed for the very log that is here."""
        core = self._core
        if suffix.epoch is None:
            wanted = core.mode == "INIT" and self._known is not None and core.me not in self._known.members
        else:
            wanted = core.in_epoch(suffix.epoch, "SYNC") and not self._in_sync and not core.is_leader()
        if not wanted or suffix.head != core.log.head or self._sync_token is not None:
            return
        token = self.sync.apply(peer, suffix)
        if not suffix.last:
            self.sync.request(peer, suffix.epoch)
        elif suffix.epoch is not None:
            self._sync_token = token
        elif core.now >= self._unsure_since + core.timing.lease:  # earlier, the tier would wait while this node waits
            core.send(peer, Join(core.incarnation))

    def stored(self, token: int) -> None:
        """A commit of this node is durable: the last of a sync, or the barrier before activation."""
        if token == self._sync_token:
            self._sync_token, self._in_sync = None, True
            self._continue_sync()
        elif token == self._activation:
            self._activate()

    # ---- V5: activate

    def on_sync_ack(self, peer: str, epoch: int) -> None:
        """A follower is ready (or has missed that the view is active)."""
        core = self._core
        if core.in_epoch(epoch) and core.is_leader():
            core.send(peer, Active(epoch))
        elif core.in_epoch(epoch, "SYNC") and core.is_leader():
            self._synced.add(peer)
            self._try_activate()

    def _try_activate(self) -> None:
        core = self._core
        assert core.view is not None
        if self._activation is None and self._waited() and core.view.members.keys() <= self._synced:
            self._activation = core.barrier()

    def _activate(self) -> None:
        core = self._core
        assert core.view is not None
        core.broadcast(Active(core.epoch))  # before what is sent next, which counts among RUNNING members only
        self._start_running()
        self._declare_sources()

    def on_active(self, peer: str, epoch: int) -> None:
        """The leader's word that every member acked."""
        core = self._core
        if core.in_epoch(epoch, "SYNC") and core.view is not None and peer == core.view.leader:
            self._start_running()

    def _start_running(self) -> None:
        core = self._core
        assert core.view is not None
        self._forget_sync()
        core.mode = "RUNNING"
        core.leases.start_listening(core.peers(), core.now)
        core.heartbeat()  # without a lease nobody can read: do not wait for the next tick
        self._ownership.start(core.view.leader)
        core.effects.append(Note(f"RUNNING in epoch {core.epoch}: {_members(core.view)}"))
        core.run_readers()
        self._writes.pump()

    def _declare_sources(self) -> None:
        """V2: RUNNING proves that every member holds every acknowledged write: any member may say so."""
        view = self._core.view
        if view is not None and view.sources != frozenset(view.members):
            self._swap(view, views.all_sources(view))

    # ---- V6: an INIT node learns and asks to join

    def _presync(self, view: View) -> None:
        if running := self.neighbours.serving(view):
            self.sync.request(running[self._core.incarnation % len(running)], None)

    def on_probe(self, peer: str, probe: Probe) -> None:
        """A node asks how this one is; a newer incarnation of a member means that the member has died."""
        core = self._core
        self.neighbours.note(peer, probe)
        if core.mode != "INIT" and core.view and core.view.members.get(peer, probe.incarnation) < probe.incarnation:
            self._remove(frozenset({peer}))
        if probe.epoch > core.sealed:
            self._read()
        core.send(peer, Status(core.mode, core.incarnation, core.sealed, self._emptied, self._blank()))

    def on_status(self, peer: str, status: Status) -> None:
        """The answer to a probe: who learns from this node now need not wait for the next heartbeat to do so."""
        core, view = self._core, self._chosen
        self.neighbours.note(peer, status)
        if core.mode != "INIT" or core.leaving:
            return
        if status.epoch > core.sealed:
            self._read()
        elif view is not None and core.me not in view.members:
            self._presync(view)

    def on_join(self, peer: str, join: Join) -> None:
        """First its older incarnation goes out, then it comes in."""
        view = self._core.view
        if self._core.mode != "RUNNING" or view is None:
            return
        known = view.members.get(peer)
        if known is None:
            self._swap(view, views.joined(view, peer, join.incarnation))
        elif known < join.incarnation:
            self._remove(frozenset({peer}))

    def _remove(self, gone: frozenset[str]) -> None:
        view = self._core.view
        if view is not None:
            self._swap(view, views.without(view, gone))

    # ---- V7: a whole tier was down

    def _recover(self, view: View) -> None:
        """A source that finds no RUNNING member starts the tier again with the sources it reaches.

        A source whose disk was lost counts as none, unless nobody in the whole tier has anything: as when the power
        fails while the first view is born, and nothing was ever acknowledged.
        """
        core = self._core
        if self.neighbours.serving(view):
            return  # it will remove this node's older incarnation, and then this node joins
        waiting = self.neighbours.waiting()
        others = view.sources - {core.me}
        all_here = others <= waiting.keys()
        if self._emptied and not self._nobody_has_anything(waiting):
            return
        patience = core.timing.recovery_wait + core.timing.heartbeat * sorted(view.sources).index(core.me)
        if not all_here and core.now - self._init_since < patience:
            return
        reached = {
            node: other.incarnation
            for node, other in waiting.items()
            if node in others and other.emptied == self._emptied
        }
        self._swap(view, views.with_members(view, {core.me: core.incarnation, **reached}))

    def _blank(self) -> bool:
        return self._emptied and self._core.log.head == GENESIS

    def _nobody_has_anything(self, waiting: dict[str, Neighbour]) -> bool:
        """Every node of the tier is here, and none has taken part in a view or holds a single batch."""
        return self._blank() and all(node in waiting and waiting[node].blank for node in self._core.others)

    def _sound(self) -> frozenset[str]:
        """Who is INIT, this node included, on a disk that has taken part in a view."""
        others = {node for node, other in self.neighbours.waiting().items() if not other.emptied}
        return frozenset(others if self._emptied else {*others, self._core.me})

    def awaits(self) -> str:
        """One sentence on what an INIT node waits for."""
        core, view = self._core, self._known
        if view is None:
            return "The tier has no view yet: every server of it has to be there once."
        if self.neighbours.serving(view):
            return "The node has not caught up with its tier yet."
        missing = ", ".join(sorted(view.sources - self._sound() - {core.me}))
        if core.me in view.sources and not self._emptied:
            return "The tier is starting again" + (f", if need be without {missing}." if missing else ".")
        return (
            f"The tier is down, and this node lacks what was acknowledged last. It waits for {missing or 'others'}."
        )

    # ---- when the last source is gone

    def cannot_force(self, expected: Version) -> str:
        """One sentence on why the tier need not or cannot be forced to go on from this node; "": it can."""
        core, view = self._core, self._known
        if core.mode != "INIT":
            return "This node is a member of its tier's view: there is nothing to force."
        if view is None:
            return "This node has never heard of a view of its tier: there is nothing to go on from."
        if view.number != expected:
            return f"The tier's view is {_numbered(view.number)}, not {_numbered(expected)}: look again."
        if running := self.neighbours.serving(view):
            return f"{running[0]} serves, and has all that was acknowledged: this node will learn it from there."
        if sources := sorted(view.sources & self._sound()):
            return f"{sources[0]} has all that was acknowledged, and is there: the tier will start again with it."
        return self.membership.why()

    def force(self, expected: Version) -> None:
        """Go on from this node's log alone."""
        view = self._known
        if view is not None and not self.cannot_force(expected):
            self._change_open_since = None
            self._swap(view, views.forced(view, self._core.me, self._core.incarnation))

    # ---- V8: leave

    def leave(self) -> None:
        """Take nothing new, and ask to be left out as soon as all is done here. May be called again."""
        core = self._core
        if not core.leaving:
            core.leaving = True
            core.sessions.invalidate(None, core.now)
        if core.mode == "RUNNING" and self._writes.idle and not core.sessions.open_numbers():
            core.broadcast(Leave(core.incarnation))

    def on_leave(self, peer: str, leave: Leave) -> None:
        """A member has stopped: its leases hold up nobody."""
        core = self._core
        core.leases.release(peer, leave.incarnation)
        if core.view is not None and core.view.members.get(peer) == leave.incarnation:
            self._remove(frozenset({peer}))

    # ---- every heartbeat

    def tick(self) -> None:
        """Ask, wait and repeat, as the mode demands."""
        core = self._core
        self.membership.tick()
        self._recheck()
        if core.mode == "INIT":
            if not core.leaving:
                self._read()
            return
        if core.leaving:
            self.leave()
            self._read()  # the word of the view without this node may be lost
            return
        if silent := core.leases.silent(core.now):
            self._remove(silent)
        if core.now - self._last_read > (core.timing.calm_poll if self._calm() else core.timing.register_poll):
            self._read()
        if core.mode == "RUNNING":
            self._declare_sources()
        elif core.is_leader():
            self._try_activate()
        else:
            self._continue_sync()

    def _calm(self) -> bool:
        """No newer view can be active: its members would not have answered this node's heartbeats of late.

        One may have been chosen without anyone knowing, as its proposer died; nobody serves in it yet.
        """
        view = self._core.view
        settled = self._core.mode == "RUNNING" and view is not None and view.sources == frozenset(view.members)
        return settled and self._change_open_since is None and self._core.lease_left() > 0


def _numbered(number: Version) -> str:
    return f"{number[0]}.{number[1]}"


def _members(view: View) -> str:
    return ", ".join(
        name + (" (leads)" if name == view.leader else "") + ("" if name in view.sources else " (joins)")
        for name in sorted(view.members)
    )
