"""The audit of one copy of a tier's data: its batches pass through one by one, and nothing of them is kept."""

from collections.abc import Iterable

import msgspec
from msgspec import Struct

from pygmy.audit.chain import Chain
from pygmy.audit.folds import CatalogFold, Fold, OrderFold
from pygmy.audit.reports import Findings, Report
from pygmy.audit.scratch import Notes
from pygmy.messages.operations import Book, Mark, Order, RecordOrder, Sell, Sold, Tier
from pygmy.messages.replication import Batch, Entry

_encode = msgspec.json.Encoder().encode


class Rows(Struct):
    """What a copy's tables hold, as far as it is known (None: it is not).

    `snapshot`: they were read before the log, which may have grown since.
    """

    books: Iterable[Book] | None = None
    orders: Iterable[Order] | None = None
    marks: Iterable[Mark] | None = None
    snapshot: bool = False


class CopyAudit:
    """One copy: `expect` its rows, `take` its batches in order, `compare` the rest of the rows, then `finish`."""

    def __init__(self, name: str, tier: Tier, notes: Notes) -> None:
        self.name = name
        self.tier: Tier = tier
        self.notes = notes
        self.findings = Findings()
        self.remarks: list[str] = []
        self.uncompared = "the rows were not compared with the log"
        self._chain = Chain(self.findings)
        self._fold: Fold
        self.expect(Rows())
        self._compared = False
        self._batches = 0
        self._entries = 0

    @property
    def seq(self) -> int:
        """The last batch taken."""
        return self._chain.head[1]

    @property
    def trail(self) -> bytearray:
        """The hashes of the chain; see `Chain`."""
        return self._chain.trail

    def expect(self, rows: Rows) -> None:
        """What the tables hold; to be told before the first batch."""
        if self.tier == "catalog":
            self._fold = CatalogFold(self.findings, rows.books, rows.snapshot)
        else:
            self._fold = OrderFold(self.findings, rows.orders, rows.marks, rows.snapshot)

    def take(self, batch: Batch) -> None:
        """The next batch."""
        self._batches += 1
        self._entries += len(batch.entries)
        self._chain.take(batch)
        self._fold.take(batch)
        for entry in batch.entries:
            self._note(entry, batch.seq)

    def compare(self) -> None:
        """That was the whole log: now for the rest of the rows. (Where not all could be read, nothing is missed.)"""
        self._compared = self._fold.finish()

    def finish(self) -> Report:
        """What there is to say."""
        self.notes.finish()
        for again in self.notes.repeated():
            places = f"in batch {again.first}" if again.first == again.last else f"in {again.first} and {again.last}"
            self.findings.add(f"{again.op_id} stands {again.times} times, {places}: expected once", again.last)
        found = self.findings
        if not self._compared and not found.count:
            self.remarks.append(self.uncompared)
        return Report(
            self.name,
            self.tier,
            self._batches,
            self._entries,
            self._chain.head,
            self._chain.hash,
            self._fold.figures(),
            self._compared,
            found.count,
            tuple(found.kept),
            tuple(self.remarks),
        )

    def _note(self, entry: Entry, seq: int) -> None:
        """An order is what was sold if it says the same: who asked for what, at which price, when."""
        operation, outcome = entry.operation, entry.outcome
        if isinstance(operation, Sell) and isinstance(outcome, Sold):
            lines = [(line.item, line.quantity, line.price) for line in outcome.lines]
            self.notes.add(entry.op_id, seq, _encode((lines, outcome.total, entry.at, operation.basket)))
        elif isinstance(operation, RecordOrder):
            lines = [(line.item, line.quantity, line.price) for line in operation.lines]
            what = _encode((lines, operation.total, operation.at, operation.basket))
            number = self._fold.figures().orders
            self.notes.add(entry.op_id, seq, what, number, operation.sale_seq)
        else:
            self.notes.add(entry.op_id, seq)
