"""A replica's database, read for an audit: every line of the log as it stands there, nothing taken for granted."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from pygmy.audit.copy import Rows
from pygmy.audit.reports import Findings
from pygmy.database import rows
from pygmy.messages.operations import Book, Mark, Operation, Order, Outcome, Tier
from pygmy.messages.replication import Batch, Entry

_decode_operation = msgspec.json.Decoder(Operation).decode
_decode_outcome = msgspec.json.Decoder(Outcome).decode
_PAGE = 1000
_NO_END = 2**63 - 1
_MOST_FLAWS = 10

_BATCHES = """
    SELECT b.seq, b.epoch, b.base_epoch, b.hash, e.idx, e.op_id, e.digest, e.at, e.kind,
           CAST(e.operation AS BLOB), CAST(e.outcome AS BLOB)
    FROM batches AS b LEFT JOIN entries AS e ON e.seq = b.seq ORDER BY b.seq, e.idx
"""
_STRAY = "SELECT seq, count(*) FROM entries WHERE seq NOT IN (SELECT seq FROM batches) GROUP BY seq LIMIT ?"


class Damaged(Exception):
    """The file, or something in it, cannot be read; str() says what. `seq`: the batch that it is in, if in one."""

    def __init__(self, what: str, seq: int | None = None) -> None:
        super().__init__(what)
        self.seq = seq


class LogFile:
    """One database of a tier, opened for reading. Everything may raise `Damaged`."""

    def __init__(self, connection: sqlite3.Connection, tier: Tier) -> None:
        self.tier: Tier = tier
        self._connection = connection

    @property
    def newest(self) -> int:
        """The seq of the last batch (0: there is none)."""
        with _readable():
            (seq,) = self._connection.execute("SELECT max(seq) FROM batches").fetchone()
        return seq or 0

    def rows(self) -> Rows:
        """What the tables hold. Orders are read while they are gone through."""
        with _readable():
            loaded = rows.load(self._connection.cursor(), self.tier)
        books = tuple(row for row in loaded if isinstance(row, Book))
        marks = tuple(row for row in loaded if isinstance(row, Mark))
        return Rows(books) if self.tier == "catalog" else Rows(None, self._orders(), marks)

    def batches(self, findings: Findings) -> Iterator[Batch]:
        """The log from its beginning. What is wrong with its lines, but does not hinder reading, is added there."""
        entries: list[Entry] = []
        last: tuple[int, int, int, str] | None = None
        with _readable():
            for seq, epoch, base_epoch, digest, place, *columns in self._connection.execute(_BATCHES):
                batch = _checked((seq, epoch, base_epoch, digest), seq)
                if last is not None and last[0] != seq:
                    yield _batch(last, entries)
                    entries = []
                last = batch
                if place is not None:
                    if place != len(entries):
                        findings.add(f"its entry {place} stands where entry {len(entries)} is expected", seq)
                    entries.append(_entry(seq, place, columns, findings))
            if last is not None:
                yield _batch(last, entries)

    def flaws(self) -> Iterator[str]:
        """What SQLite's own check of the file says, and entries that are in no batch."""
        with _readable():
            for (flaw,) in self._connection.execute(f"PRAGMA integrity_check({_MOST_FLAWS})"):
                if flaw != "ok":
                    yield f"SQLite says: {flaw}"
            for seq, count in self._connection.execute(_STRAY, (_MOST_FLAWS,)):
                yield f"{count} entries name batch {seq}, which is not there"

    def _orders(self) -> Iterator[Order]:
        cursor, after = self._connection.cursor(), -_NO_END
        with _readable():
            while page := rows.orders_page(cursor, after, _PAGE, _NO_END):
                yield from page
                after = page[-1].order_id


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise Damaged(f"SQLite cannot read it: {error}") from error
    except msgspec.MsgspecError as error:
        raise Damaged(f"its rows cannot be read: {error}") from error


def _checked(columns: tuple[object, ...], seq: int) -> tuple[int, int, int, str]:
    try:
        return msgspec.convert(columns, tuple[int, int, int, str])
    except msgspec.ValidationError as error:
        raise Damaged(f"its line cannot be read: {error}", seq) from error


def _batch(line: tuple[int, int, int, str], entries: list[Entry]) -> Batch:
    seq, epoch, base_epoch, digest = line
    return Batch(epoch, seq, base_epoch, tuple(entries), digest)


def _entry(seq: int, place: int, columns: list[object], findings: Findings) -> Entry:
    try:
        op_id, digest, at, kind, asked, told = msgspec.convert(columns, tuple[str, str, int, str, bytes, bytes])
        operation, outcome = _decode_operation(asked), _decode_outcome(told)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Damaged(f"its entry {place} cannot be read: {error}", seq) from error
    if kind != operation.__struct_config__.tag:
        findings.add(f"{op_id} is called {kind}, but is {operation.__struct_config__.tag}", seq)
    return Entry(op_id, digest, operation, at, outcome)
