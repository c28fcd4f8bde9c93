"""What a replica's database is asked to do, at random from a seed, and what it must hold after each step."""

from random import Random
from typing import NamedTuple

from pygmy.database.rows import Key, key_of
from pygmy.messages.operations import (
    AddBook,
    Change,
    ChangeBook,
    Line,
    MarkReconciled,
    NewBook,
    NoSuchBook,
    Operation,
    OrderLine,
    OutOfRange,
    RecordOrder,
    RemoveBook,
    Row,
    Sell,
    Tier,
)
from pygmy.messages.replication import Batch, Entry, View
from pygmy.state.machine import Machine
from pygmy.state.orders import OrderBook
from pygmy.state.stock import Stock
from tests.support.log_samples import batch

Rows = dict[Key, Row]


class State(NamedTuple):
    """All that a replica has durably; `undo` is how the rows that the last batch touched were before it."""

    batches: tuple[Batch, ...]
    rows: Rows
    undo: dict[Key, Row | None]
    view: View | None
    member: bool

    def before_last(self) -> Rows:
        """The rows as they were before the last batch."""
        return _with(self.rows, self.undo)


NOTHING = State((), {}, {}, None, False)


class Commit(NamedTuple):
    """As `Store.commit`."""

    cut: int
    batches: list[Batch]
    changes: list[Change]


class SaveView(NamedTuple):
    """As `Store.save_view`."""

    view: View
    member: bool


class Start(NamedTuple):
    """Close the database, open it and boot."""


Step = Commit | SaveView | Start


class Plan:
    """An endless list of steps, each with the state that it leads to."""

    def __init__(self, tier: Tier, seed: int) -> None:
        self._tier = tier
        self._random = Random(seed)
        self._machine: Machine = Stock() if tier == "catalog" else OrderBook()
        self._used: list[str] = []  # op_ids of batches that were dropped: clients ask again
        self._count = 0
        self.state = NOTHING

    def next(self) -> Step:
        """The next step; `state` is as after it."""
        self._count += 1
        kind = self._random.random()
        if kind < 0.04:
            return Start()
        if kind < 0.14:
            return self._save_view()
        return self._commit(drop=kind < 0.34 and bool(self.state.undo), append=kind > 0.20)

    def _epoch(self) -> int:
        return self.state.view.epoch if self.state.view else 1

    def _save_view(self) -> SaveView:
        members = {f"{self._tier}-{number}": self._random.randrange(1, 9) for number in range(2)}
        view = View(self._epoch() + 1, 0, members, frozenset(members), min(members))
        self.state = self.state._replace(view=view, member=True)
        return SaveView(view, True)

    def _commit(self, drop: bool, append: bool) -> Commit:
        """Drop the last batch or not, append some or none."""
        state = self.state
        cut = len(state.batches) + (0 if drop else 1)
        if drop:
            self._machine.rollback()
            self._used += [entry.op_id for entry in state.batches[-1].entries]
            state = state._replace(batches=state.batches[:-1], rows=state.before_last(), undo={})
        batches: list[Batch] = []
        changes: list[Change] = []
        for _ in range(self._random.choice((1, 1, 2, 3)) if append else 0):
            one, changed = self._batch(state.batches)
            batches.append(one)
            changes += changed
            after = {_key(change): change.after for change in changed}
            before = {_key(change): change.before for change in changed}
            state = state._replace(batches=(*state.batches, one), rows=_with(state.rows, after), undo=before)
        self.state = state
        return Commit(cut, batches, changes)

    def _batch(self, log: tuple[Batch, ...]) -> tuple[Batch, list[Change]]:
        version = (self._epoch(), len(log) + 1)
        self._machine.begin()
        entries: list[Entry] = []
        while not entries or self._random.random() < 0.6:
            op_id = self._used.pop(0) if self._used else f"op {self._count}.{len(log)}.{len(entries)}"
            operation = self._operation(len(log))
            outcome = self._machine.apply(op_id, operation, self._count, version)
            if not isinstance(outcome, NoSuchBook | OutOfRange):  # these are not recorded
                entries.append(Entry(op_id, f"digest of {op_id}", operation, self._count, outcome))
        base = log[-1].epoch if log else 0
        return batch(version[1], *entries, epoch=version[0], base_epoch=base), self._machine.changes(version[1])

    def _operation(self, seq: int) -> Operation:
        random = self._random
        if self._tier == "order":
            if random.random() < 0.2:
                return MarkReconciled(seq)
            lines = tuple(OrderLine(random.randrange(99), 1, 1000) for _ in range(random.choice((1, 2, 20))))
            return RecordOrder(lines, 1000 * len(lines), self._count, seq)
        item = random.randrange(1, 60)
        match random.randrange(8):
            case 0 | 1:
                title = f"A title {'of some length ' * random.randrange(40)}"
                return AddBook(NewBook(title, "a topic", 1000, random.randrange(9)))
            case 2:
                return RemoveBook(item)
            case 3:
                return ChangeBook(item, increment=random.randrange(9))
            case _:
                return Sell((Line(item, 1),))


def _key(change: Change) -> Key:
    row = change.after or change.before
    assert row is not None
    return key_of(row)


def _with(rows: Rows, changed: dict[Key, Row | None]) -> Rows:
    """The rows after some were changed (None: are gone)."""
    return {key: row for key, row in {**rows, **changed}.items() if row is not None}
