"""What the simulation sees inside the product: invariants that must always hold, and things that sometimes happen."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

from twisted.logger import Logger
from twisted.python.failure import Failure

import pygmy.balancing.watch
import pygmy.buying
import pygmy.ledger.driver
import pygmy.logs
import pygmy.order
import pygmy.reconciler
from pygmy.balancing.balancer import Balancer
from pygmy.balancing.forwarding import Patience
from pygmy.buying import Buying
from pygmy.caching.cache import Cache
from pygmy.caching.flights import Flights
from pygmy.messages.replication import Version
from pygmy.replication.log import Log
from pygmy.replication.ownership import Ownership
from pygmy.replication.readmission import Readmission
from pygmy.replication.register import RegisterMembership
from pygmy.replication.sessions import Sessions
from pygmy.replication.viewchange import ViewChange
from pygmy.replication.writes import Writes
from pygmy.routes.checkout import Checkout
from tests.simulation.network import get_json
from tests.simulation.world import Violation, World

PATIENCE = Patience(total=1.2, read=0.4, write=0.5, pause=0.02, longest_pause=0.1)


class Watch:
    """Who watches the history under way; there is one at a time."""

    def __init__(self) -> None:
        self.world = World(0)
        self.registers: dict[str, Any] = {}
        self.current_epoch: Callable[[str], int] = lambda tier: 0
        self.begin(self.world)

    def begin(self, world: World) -> None:
        """A new history."""
        self.world = world
        self.chosen: dict[str, list[Version]] = {"catalog": [], "order": []}
        self.decided_by: dict[str, str] = {}

    def choose(self, tier: str, version: Version) -> None:
        """One batch is chosen for each seq, in order, for ever."""
        chosen, seq = self.chosen[tier], version[1]
        if seq == len(chosen) + 1:
            chosen.append(version)
        elif seq > len(chosen) or chosen[seq - 1] != version:
            there = chosen[seq - 1] if seq <= len(chosen) else None
            self.world.violate(f"{tier}: {version} is chosen, but {there} was chosen as batch {seq}")

    def count(self, what: str) -> None:
        self.world.sometimes[what] += 1


watch = Watch()


def tier_of(core: Any) -> str:
    return "catalog" if core.me.startswith("catalog") else "order"


def around(owner: Any, name: str, replacement: Callable[..., Any]) -> Any:
    """Patch a method with `replacement(original, self, *args)`."""
    original = getattr(owner, name)

    def patched(self: Any, *args: Any, **kwargs: Any) -> Any:
        return replacement(original, self, *args, **kwargs)

    return patch.object(owner, name, patched)


# ---- invariants


def _on_ack(original: Any, self: Writes, *args: Any) -> None:
    flight, core = self._flight, self._core
    # The commit point comes before anything that follows from it.
    counts = flight is not None and args[1] == flight.batch.version and core.view is not None
    if counts and flight.acks | {args[0]} >= core.view.members.keys():
        watch.choose(tier_of(core), flight.batch.version)
    original(self, *args)


def _activate(original: Any, self: ViewChange) -> None:
    """The leader's tentative batch, if any, is chosen now."""
    core, tier = self._core, tier_of(self._core)
    head, chosen = core.log.head, watch.chosen[tier]
    if head[1] < len(chosen) and core.epoch == watch.current_epoch(tier):  # else it has not heard of its removal yet
        watch.world.violate(f"{core.me} leads epoch {core.epoch} with head {head}, but {len(chosen)} are chosen")
    if head[1] > len(chosen):
        watch.count("tentative batch adopted")
    for version in (core.log.previous, head):
        if version is not None and version[1]:
            watch.choose(tier, version)
    original(self)


def _append(original: Any, self: Log, batch: Any) -> Any:
    """A log is the chosen prefix and at most one tentative batch."""
    tier = "catalog" if hasattr(self.machine, "shelves") else "order"
    head, chosen = self.head, watch.chosen[tier]
    if head[1] and (head[1] > len(chosen) or chosen[head[1] - 1] != head):
        watch.world.violate(f"{tier}: {batch.version} is appended to {head}, which is not chosen")
    return original(self, batch)


# ---- what happens sometimes


def _truncate(original: Any, self: Log, cut: int) -> bool:
    dropped: bool = original(self, cut)
    if dropped:
        watch.count("tentative batch rolled back")
    return dropped


def _repeat(original: Any, self: Ownership) -> None:
    if self._given:
        watch.count("GIVE re-sent")
    original(self)


def _give(original: Any, self: Ownership) -> None:
    watch.count("gives")
    original(self)


def _lapse(original: Any, self: Sessions, holder: Any) -> None:
    watch.count("invalidation lapsed")
    original(self, holder)


def _mark(original: Any, self: Any, key: str) -> None:
    if self._by_key.get(key):
        watch.count("fill marked")
    original(self, key)


def _peek(original: Any, self: Any, thing: Any, now: float) -> Any:
    stored = original(self, thing, now)
    if stored is not None:
        watch.count("cache hits")
        if thing.cache == "lists":
            watch.count("lists out of a cache")
    return stored


def _propagate(original: Any, self: Writes, batch: Any, taken: Any, answers: Any) -> None:
    for entry in batch.entries:
        watch.decided_by[entry.op_id] = self._core.me
    original(self, batch, taken, answers)


def _answer_chosen(original: Any, self: Writes, waiting: Any) -> bool:
    answered: bool = original(self, waiting)
    if answered and watch.decided_by.get(waiting.op_id) != self._core.me:
        watch.count("retry answered at another replica")
    return answered


def _order_of(*args: Any) -> Any:
    watch.count("reconciler wrote an order")
    return pygmy.buying.order_of(*args)


def _go(original: Any, self: Buying, asked: Any) -> Any:
    if sum(len(one.sales) for one in asked) > 1:
        watch.count("buys went together")
    return original(self, asked)


def _checked_out(original: Any, self: Checkout, asked: Any) -> Any:
    if len(asked) > 1:
        watch.count("buys went together through a front end")
    return original(self, asked)


# ---- the replicated register


def _settled(original: Any, self: RegisterMembership, goal: Any, value: Any) -> None:
    if value is not None:
        register = watch.registers[self._register]
        if goal.new is not None and value == goal.new:
            watch.count("views")
        register.chosen(value)
    original(self, goal, value)


def _change(original: Any, self: RegisterMembership, expected: Any, new: Any) -> None:
    proposers = watch.registers[self._register].changed_by.setdefault(expected, set())
    if proposers and self._core.me not in proposers:
        watch.count("both members proposed")
    proposers.add(self._core.me)
    original(self, expected, new)


def _ended(original: Any, self: RegisterMembership, outcome: Any) -> None:
    if outcome.kind == "unknown":
        watch.count("compare-and-set answer lost")
    original(self, outcome)


def _readmitted(original: Any, self: Readmission, *args: Any) -> Any:
    vote = original(self, *args)
    if vote is not None:
        watch.count("voters re-admitted")
    return vote


# ---- logging


def _silent(self: Logger, *args: Any, **kwargs: Any) -> None:
    """Nobody reads it."""


def _failure(self: Logger, format: str, failure: Any = None, *args: Any, **kwargs: Any) -> None:
    """Something was caught that nobody expected."""
    if self.namespace != "twisted.internet.defer":
        text = (failure or Failure()).getTraceback()
        watch.world.violate(f"{self.namespace}: {format}: {text}")


def _candidates(original: Any, self: Balancer, routine: bool = False, write: bool = False) -> tuple[str, ...]:
    """Where all writes went to one replica, the primary copy would hardly move: every other one goes in turn."""
    return original(self, routine, write and watch.world.random.random() < 0.5)


@contextlib.contextmanager
def simulated() -> Iterator[None]:
    """While this lasts, the product runs under simulation, with shorter times."""
    with contextlib.ExitStack() as stack:
        for owner, name, replacement in (
            (Writes, "on_ack", _on_ack),
            (ViewChange, "_activate", _activate),
            (Log, "append", _append),
            (Log, "truncate", _truncate),
            (Ownership, "repeat", _repeat),
            (Ownership, "give", _give),
            (Sessions, "_lapse", _lapse),
            (Flights, "mark", _mark),
            (Cache, "peek", _peek),
            (Writes, "_propagate", _propagate),
            (Writes, "_answer_chosen", _answer_chosen),
            (RegisterMembership, "_settled", _settled),
            (RegisterMembership, "change", _change),
            (RegisterMembership, "_ended", _ended),
            (Readmission, "receive", _readmitted),
            (Balancer, "candidates", _candidates),
            (Buying, "_go", _go),
            (Checkout, "_go", _checked_out),
        ):
            stack.enter_context(around(owner, name, replacement))
        for target, name, value in (
            (pygmy.reconciler, "INTERVAL", 0.3),
            (pygmy.reconciler, "GRACE_MS", 300),
            (pygmy.reconciler, "PAGE", 5),
            (pygmy.reconciler, "order_of", _order_of),
            (pygmy.order, "PATIENCE", PATIENCE),
            (pygmy.buying, "RECORD_SECONDS", 1.0),
            (pygmy.ledger.driver, "FETCH_BATCHES", 4),
            (pygmy.ledger.driver, "LEAVE_PATIENCE", 1.0),
            (pygmy.balancing.watch, "get_json", get_json),
            (pygmy.logs.Logger, "emit", _silent),
            (Logger, "emit", _silent),
            (Logger, "failure", _failure),
        ):
            stack.enter_context(patch.object(target, name, value))
        yield


__all__ = ["Violation", "around", "simulated", "watch"]
