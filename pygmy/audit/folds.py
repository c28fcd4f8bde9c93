"""What a log folds into, carried out twice, by the tier's state machine and by the checker's rules: both must come to
what is recorded, entry by entry, and to the rows that the tables hold.

Where an outcome is not the recorded one, nothing after it can be judged: that fold ends there.
"""

from collections.abc import Iterable
from typing import Protocol, cast

from pygmy.audit.reports import Figures, Findings
from pygmy.checker.replay import Broken, CatalogRules, OrderRules
from pygmy.messages.operations import Book, Mark, Order, Row
from pygmy.messages.replication import GENESIS, Batch, Entry, Version
from pygmy.state.machine import Machine
from pygmy.state.orders import LAST_ORDER, RECONCILED, OrderBook
from pygmy.state.stock import Stock

LONGEST = 400  # characters of a row or an outcome in a finding


class Fold(Protocol):
    """One tier's fold."""

    def take(self, batch: Batch) -> None:
        """The next batch."""

    def finish(self) -> bool:
        """There are no more: compare the rows, if that has not been done. True if they were compared."""

    def figures(self) -> Figures:
        """What it has come to."""


def said(thing: object) -> str:
    """For a finding: short enough to be read."""
    text = repr(thing)
    return text if len(text) <= LONGEST else text[:LONGEST] + "..."


def _machine_agrees(machine: Machine, entry: Entry, batch: Batch, findings: Findings) -> bool:
    try:
        outcome = machine.apply(entry.op_id, entry.operation, entry.at, batch.version)
    except TypeError:
        findings.add(f"{entry.op_id} is no operation of this tier: {said(entry.operation)}", batch.seq)
        return False
    if outcome != entry.outcome:
        recorded, expected = said(entry.outcome), said(outcome)
        findings.add(f"{entry.op_id} is recorded as {recorded}, but comes to {expected}", batch.seq)
    return outcome == entry.outcome


class CatalogFold:
    """Books and their copies. `rows` are the table's (None: not known), as of the end of the log.

    With `snapshot` they are as of the last batch that changed one of them: a node that runs shows them first, and its
    log after that.
    """

    def __init__(self, findings: Findings, rows: Iterable[Book] | None, snapshot: bool) -> None:
        self._findings = findings
        self._rows = None if rows is None else {row.item: row for row in rows}
        versions = ((row.epoch, row.seq) for row in (self._rows or {}).values())
        self._compare_at: Version | None = max(versions, default=GENESIS) if snapshot else None
        self._compared = self._compare_at == GENESIS  # before the first batch there are none, rightly
        self._lost = False
        self._machine = Stock()
        self._rules = CatalogRules()

    def take(self, batch: Batch) -> None:
        """Carry it out, check that no copy is unaccounted for; compare the rows when it is time."""
        if self._lost:
            return
        self._machine.begin()
        self._lost = not all(self._agree(entry, batch) for entry in batch.entries)
        if self._lost:
            return
        for change in self._machine.changes(batch.seq):
            self._conserved(cast(Book, change.after), batch.seq)
        if batch.version == self._compare_at:
            self._compare(batch.seq)

    def finish(self) -> bool:
        """Compare the rows."""
        if self._compare_at is None and not self._lost:
            self._compare(None)
        return self._compared

    def figures(self) -> Figures:
        """Books for sale, copies of them, copies sold."""
        books = [row for row in self._machine.shelves.all_rows() if not row.removed]
        return Figures(len(books), sum(book.count for book in books), sum(self._rules.sold.values()))

    def _agree(self, entry: Entry, batch: Batch) -> bool:
        if not _machine_agrees(self._machine, entry, batch, self._findings):
            return False
        try:
            self._rules.check(entry, batch.version)
        except Broken as broken:
            self._findings.add(f"by the checker's rules: {broken}", batch.seq)
            return False
        return True

    def _conserved(self, book: Book, seq: int) -> None:
        """The machine's stock against the rules' account of where copies came from and went."""
        if book.count < 0:
            self._findings.add(f"book {book.item}: {book.count} copies are left: expected 0 or more", seq)
        if problem := self._rules.unbalanced(book.item, 0 if book.removed else book.count):
            self._findings.add(problem, seq)

    def _compare(self, seq: int | None) -> None:
        if self._rows is None or self._compared:
            return
        self._compared = True
        expected = {row.item: row for row in self._machine.shelves.all_rows()}
        for item in sorted(self._rows.keys() | expected.keys()):
            row, right = self._rows.get(item), expected.get(item)
            if row != right:
                self._findings.add(f"the row of book {item} is {said(row)}, but by the log it is {said(right)}", seq)
            elif row != (again := self._rules.book(item)) and not (row and row.removed and again is None):
                self._findings.add(
                    f"the row of book {item} is {said(row)}, by the checker's rules {said(again)}", seq
                )


class OrderFold:
    """Orders, numbered 1, 2, 3... in the log's order. `rows` are the table's, by order id (None: not known).

    With `snapshot` the table may end before the log does. `marks` None: not known.
    """

    def __init__(
        self, findings: Findings, rows: Iterable[Order] | None, marks: Iterable[Mark] | None, snapshot: bool
    ) -> None:
        self._findings = findings
        self._rows = None if rows is None else iter(rows)
        self._row = self._next_row()
        self._snapshot = snapshot
        self._marks = None if marks is None else set(marks)
        self._lost = False
        self._machine = OrderBook()
        self._rules = OrderRules()
        self._total = 0

    def take(self, batch: Batch) -> None:
        """Carry it out, and compare each order with its row."""
        if self._lost:
            return
        self._machine.begin()
        self._lost = not all(self._agree(entry, batch) for entry in batch.entries)
        for change in self._machine.changes(batch.seq):
            if isinstance(change.after, Order) and not self._lost:
                self._compare(change.after, batch.seq)

    def finish(self) -> bool:
        """No further row may be there; the marks must be those of the log."""
        if self._rows is None or self._lost:
            return False
        while self._row is not None:
            self._too_many(self._row)
            self._row = self._next_row()
        counted = ((LAST_ORDER, self._machine.last_order_id), (RECONCILED, self._machine.reconciled_upto))
        expected: set[Row] = {Mark(name, value) for name, value in counted if value}
        if self._marks is not None and {mark for mark in self._marks if mark.value} != expected:
            self._findings.add(f"the marks are {said(self._marks)}, but by the log they are {said(expected)}")
        return True

    def figures(self) -> Figures:
        """Orders, and what they come to."""
        return Figures(orders=self._machine.last_order_id, total=self._total)

    def _agree(self, entry: Entry, batch: Batch) -> bool:
        if not _machine_agrees(self._machine, entry, batch, self._findings):
            return False
        try:
            order = self._rules.check(entry)
        except Broken as broken:
            self._findings.add(f"by the checker's rules: {broken}", batch.seq)
            return False
        if order is not None:
            self._check_total(order, batch.seq)
        return True

    def _check_total(self, order: Order, seq: int) -> None:
        self._total += order.total
        if order.total != (right := sum(line.quantity * line.price for line in order.lines)):
            self._findings.add(f"order {order.order_id} comes to {order.total}, but its lines come to {right}", seq)

    def _compare(self, order: Order, seq: int) -> None:
        if self._rows is None:
            return
        while self._row is not None and self._row.order_id < order.order_id:
            self._too_many(self._row)
            self._row = self._next_row()
        if self._row is None and self._snapshot:
            return
        if self._row is None or self._row.order_id > order.order_id:
            self._findings.add(f"order {order.order_id} has no row: expected {said(order)}", seq)
            return
        if self._row != order:
            row, number = said(self._row), order.order_id
            self._findings.add(f"the row of order {number} is {row}, but by the log it is {said(order)}", seq)
        self._row = self._next_row()

    def _too_many(self, row: Order) -> None:
        self._findings.add(f"there is a row of order {row.order_id}, but the log has no such order: {said(row)}")

    def _next_row(self) -> Order | None:
        return next(self._rows, None) if self._rows is not None else None
