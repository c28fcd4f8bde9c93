"""What the two tiers' state machines share: rows that remember how they were before the batch at hand.

A machine is a deterministic fold of its tier's log: the same operations at the same times give the same rows and
the same outcomes on every replica.  It does no I/O and reads no clock.
"""

from collections.abc import Hashable, Iterable
from typing import Protocol

from pygmy.messages.operations import Change, Operation, Outcome, Row
from pygmy.messages.replication import Version


class Machine(Protocol):
    """A tier's state machine, one batch at a time."""

    def begin(self) -> None:
        """Start a batch: what `rollback` returns to from now on."""

    def apply(self, op_id: str, operation: Operation, at: int, version: Version) -> Outcome:
        """Carry out one operation of the batch `version`, decided at `at` (ms). A refusal changes nothing."""

    def changes(self, seq: int) -> list[Change]:
        """What the batch `seq`, begun last, has done to the rows."""

    def touched(self) -> frozenset[str]:
        """The cache keys of everything that the batch begun last has changed."""

    def rollback(self) -> None:
        """Undo the batch begun last."""


class Journal:
    """Rows by key, with the before-images of what the batch at hand has touched."""

    def __init__(self) -> None:
        self._rows: dict[Hashable, Row] = {}
        self._before: dict[Hashable, Row | None] = {}

    def load(self, rows: Iterable[tuple[Hashable, Row]], undo: Iterable[tuple[Hashable, Row | None]]) -> None:
        """Take over rows as stored, and the before-images of the last batch among them."""
        for key, row in rows:
            self.place(key, row)
        self._before = dict(undo)

    def get(self, key: Hashable) -> Row | None:
        """The row as it is now."""
        return self._rows.get(key)

    def put(self, key: Hashable, row: Row) -> None:
        """Set the row, remembering how it was before this batch."""
        self._before.setdefault(key, self._rows.get(key))
        self.place(key, row)

    def place(self, key: Hashable, row: Row | None) -> None:
        """Set (None: delete) the row without remembering. Subclasses keep their indexes here."""
        if row is None:
            self._rows.pop(key, None)
        else:
            self._rows[key] = row

    def begin(self) -> None:
        """Forget the before-images: a new batch starts."""
        self._before = {}

    def before(self) -> dict[Hashable, Row | None]:
        """The before-images of the batch at hand."""
        return self._before

    def changes(self, seq: int) -> list[Change]:
        """Before and after of every row that the batch at hand has touched."""
        return [Change(seq, before, self._rows.get(key)) for key, before in self._before.items()]

    def rollback(self) -> None:
        """Put every touched row back as it was."""
        for key, row in reversed(self._before.items()):
            self.place(key, row)
        self._before = {}
