"""The simulated disk: what a replica's database keeps, with group commit and a crash at any moment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from twisted.internet.defer import Deferred

from pygmy.database import Boot, Located
from pygmy.database.rows import Undo, key_of
from pygmy.messages.internal import Sale
from pygmy.messages.operations import Book, Change, Mark, Order, Result, Row, Sell, Sold
from pygmy.messages.replication import GENESIS, Batch, Version, View
from tests.simulation.world import NodeClock, Violation, World


class Disk:
    """What survives."""

    def __init__(self) -> None:
        self.incarnation = 0
        self.view: View | None = None
        self.member = False
        self.log: list[Batch] = []
        self.entries: dict[str, Located] = {}
        self.rows: dict[int | str, Row] = {}
        self.undo: tuple[int, dict[int | str, Row | None]] = (0, {})

    @property
    def head(self) -> Version:
        return self.log[-1].version if self.log else GENESIS

    def commit(self, cut: int, batches: Sequence[Batch], changes: Sequence[Change]) -> None:
        """As `pygmy.database.log.commit`."""
        if cut <= len(self.log):
            self._truncate(cut)
        elif cut > len(self.log) + 1:
            raise Violation(f"a cut at {cut}, but the log on disk ends with {self.head}")
        if not batches:
            if changes:
                raise Violation("changed rows without a batch that changed them")
            return
        for batch in batches:
            self._append(batch)
        before: dict[int | str, Row | None] = {}
        for change in changes:
            row = change.after or change.before
            if row is None:
                continue
            key = key_of(row)
            if change.after is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = change.after
            if change.seq == batches[-1].seq:
                before[key] = change.before
        self.undo = (batches[-1].seq, before)

    def _append(self, batch: Batch) -> None:
        if batch.base != self.head:
            raise Violation(f"batch {batch.version} follows {batch.base}, but the log on disk ends with {self.head}")
        self.log.append(batch)
        for place, entry in enumerate(batch.entries):
            if entry.op_id in self.entries:
                raise Violation(f"{entry.op_id} stands twice in the log on disk")
            self.entries[entry.op_id] = Located(entry, batch.epoch, batch.seq, place)

    def _truncate(self, cut: int) -> None:
        seq, before = self.undo
        if cut != len(self.log) or seq != cut:
            raise Violation(
                f"only the last batch can be dropped: asked for {cut}, the log on disk ends with {self.head}"
            )
        for key, row in before.items():
            if row is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = row
        self.undo = (0, {})
        for entry in self.log.pop().entries:
            del self.entries[entry.op_id]

    def boot(self, window: int, tier: str) -> Boot:
        """As `Store.boot`."""
        self.incarnation += 1
        books = sorted((row for row in self.rows.values() if isinstance(row, Book)), key=lambda book: book.item)
        marks = [row for row in self.rows.values() if isinstance(row, Mark)]
        undo = tuple(
            Undo(key, before) for key, before in self.undo[1].items() if tier == "catalog" or isinstance(key, str)
        )
        return Boot(
            self.incarnation,
            self.incarnation - 1,
            self.view,
            self.member,
            tuple(self.log[-window:]),
            (*marks, *books),
            undo,
        )


class _Job:
    __slots__ = ("done", "work", "writes")

    def __init__(self, work: Callable[[], Any], writes: bool) -> None:
        self.work, self.writes = work, writes
        self.done: Deferred[Any] = Deferred()


class Store:
    """What a driver takes for `pygmy.database.Store`: one line, one fsync for all that waits when it begins."""

    def __init__(self, world: World, clock: NodeClock, disk: Disk, name: str, slowness: float = 1.0) -> None:
        self._world, self._clock, self.disk, self._name, self._slowness = world, clock, disk, name, slowness
        self._waiting: list[_Job] = []
        self._under_way: list[_Job] = []
        self._closed: list[Deferred[None]] = []
        self.stuck = False

    @property
    def pending(self) -> int:
        return sum(job.writes for job in self._under_way + self._waiting)

    def _submit(self, work: Callable[[], Any], writes: bool) -> Deferred[Any]:
        job = _Job(work, writes)
        self._waiting.append(job)
        if not self._under_way:
            self._begin()
        return job.done

    def _begin(self) -> None:
        random = self._world.random
        self._under_way, self._waiting = self._waiting, []
        if not any(job.writes for job in self._under_way):
            seconds = random.uniform(0.0001, 0.0005)
        elif self.stuck:
            seconds = 60.0
        else:
            late = random.random() < 0.01
            seconds = random.uniform(0.05, 0.6) if late else self._slowness * random.uniform(0.0005, 0.004)
        # The disk itself goes on while the process is frozen; that its news is heard later is all there is to it.
        self._clock.callLater(seconds, self._end)

    def unstick(self) -> None:
        """The disk works again."""
        self.stuck = False
        if self._under_way:
            self._clock.callLater(0.001, self._end)

    def _end(self) -> None:
        group, self._under_way = self._under_way, []
        try:
            results = [job.work() for job in group]
        except Violation as violation:
            self._world.violate(f"{self._name}: {violation}")
            return
        for job, result in zip(group, results, strict=True):
            job.done.callback(result)
        if self._waiting and not self._under_way:
            self._begin()
        elif not self._under_way:
            closed, self._closed = self._closed, []
            for waiter in closed:
                waiter.callback(None)

    def crash(self) -> None:
        """The power goes: any prefix of what was not confirmed is on disk, unless the disk was stuck."""
        jobs = self._under_way + self._waiting
        kept = 0 if self.stuck else self._world.random.randint(0, len(jobs))
        try:
            for job in jobs[:kept]:
                if job.writes:
                    job.work()
        except Violation as violation:
            self._world.violate(f"{self._name}: {violation}")
        self._under_way, self._waiting = [], []

    # ---- as pygmy.database.Store

    def commit(self, cut: int, batches: Sequence[Batch], changes: Sequence[Change]) -> Deferred[None]:
        return self._submit(lambda: self.disk.commit(cut, batches, changes), writes=True)

    def save_view(self, view: View, member: bool) -> Deferred[None]:
        def save() -> None:
            self.disk.view, self.disk.member = view, member

        return self._submit(save, writes=True)

    def find(self, op_ids: Iterable[str]) -> Deferred[tuple[dict[str, Located], int]]:
        wanted, disk = tuple(op_ids), self.disk
        return self._submit(lambda: ({o: disk.entries[o] for o in wanted if o in disk.entries}, len(disk.log)), False)

    def op_ids(self, after: tuple[int, int], limit: int) -> Deferred[list[tuple[int, int, str]]]:
        def listed() -> list[tuple[int, int, str]]:
            places = [(b.seq, index, e.op_id) for b in self.disk.log for index, e in enumerate(b.entries)]
            return [place for place in places if place[:2] > after][:limit]

        return self._submit(listed, False)

    def batches(self, first_seq: int, limit_batches: int, limit_bytes: int) -> Deferred[tuple[Batch, ...]]:
        return self._submit(lambda: tuple(self.disk.log[first_seq - 1 : first_seq - 1 + limit_batches]), False)

    def sales(self, after_seq: int, until_ms: int, upto_seq: int, limit: int) -> Deferred[Any]:
        return self._submit(lambda: _sales(self.disk, after_seq, until_ms, upto_seq, limit), False)

    def orders(self, order_ids: Iterable[int]) -> Deferred[tuple[Order, ...]]:
        wanted = tuple(order_ids)
        return self._submit(lambda: tuple(self.disk.rows[o] for o in wanted if o in self.disk.rows), False)

    def orders_page(self, after: int, limit: int, upto_order_id: int) -> Deferred[tuple[Order, ...]]:
        def page() -> tuple[Any, ...]:
            last = min(after + limit, upto_order_id)
            return tuple(self.disk.rows[n] for n in range(after + 1, last + 1) if n in self.disk.rows)

        return self._submit(page, False)

    def close(self) -> Deferred[None]:
        waiter: Deferred[None] = Deferred()
        if self._under_way or self._waiting:
            self._closed.append(waiter)
        else:
            waiter.callback(None)
        return waiter


def _sales(disk: Disk, after: int, until: int, upto: int, limit: int) -> tuple[tuple[Sale, ...], int]:
    """As `pygmy.database.log.sales`: whole batches, none with a sale later than `until`."""
    found: list[Sale] = []
    upto = min(upto, len(disk.log))
    for batch in disk.log[after:upto]:
        if len(found) >= limit:
            return tuple(found), batch.seq - 1
        sells = [(place, entry) for place, entry in enumerate(batch.entries) if isinstance(entry.operation, Sell)]
        if any(entry.at > until for _, entry in sells):
            return tuple(found), batch.seq - 1
        for place, entry in sells:
            if isinstance(entry.outcome, Sold) and isinstance(entry.operation, Sell):
                result = Result(entry.outcome, entry.at, batch.epoch, batch.seq, place)
                found.append(Sale(entry.op_id, entry.operation.basket, result))
    return tuple(found), max(after, upto)
