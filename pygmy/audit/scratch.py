"""What an audit must remember of every entry, in a private SQLite file that is gone with it: memory stays bounded.

Whether an op_id stands twice, and whether each order has its sale, are questions about all entries at once.  SQLite
sorts on disk what does not fit into memory.
"""

import sqlite3
from collections.abc import Iterator
from itertools import count
from typing import NamedTuple

from pygmy.audit.reports import MOST_FINDINGS

_MANY = 2000
_HIGHEST = 2**63 - 1  # what SQLite can hold; a higher number is none that a log gives out
_SETTINGS = ("journal_mode = OFF", "synchronous = OFF", "temp_store = FILE", "cache_size = -16384")
_BY_OP_ID = "CREATE INDEX {0}_by_op_id ON {0} (op_id, seq)"
_REPEATED = """
    SELECT op_id, count(*), min(seq), max(seq) FROM {0}
    GROUP BY op_id HAVING count(*) > 1 ORDER BY max(seq) LIMIT ?
"""
_UNSOLD = """
    SELECT o.number, o.seq, o.op_id, o.sale_seq, o.what, s.seq, s.what
    FROM {0} AS o LEFT JOIN {1} AS s ON s.op_id = o.op_id AND s.what IS NOT NULL
    WHERE o.what IS NOT NULL AND (s.what IS NULL OR s.what <> o.what OR s.seq <> o.sale_seq)
    ORDER BY o.number LIMIT ?
"""
_WAITING = """
    SELECT count(*) FROM {1} AS s WHERE s.what IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM {0} AS o WHERE o.op_id = s.op_id AND o.what IS NOT NULL)
"""


class Repeated(NamedTuple):
    """An op_id that stands in a log more than once."""

    op_id: str
    times: int
    first: int
    last: int


class Unsold(NamedTuple):
    """An order, number `number` in batch `seq`, that no sale is behind, or another one than it says."""

    number: int
    seq: int
    op_id: str
    sale_seq: int
    ordered: bytes
    sold_seq: int | None
    sold: bytes | None


class Scratch:
    """The private file. `close` it."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None)  # an empty name: a file of this connection's own
        for setting in _SETTINGS:
            self._db.execute(f"PRAGMA {setting}")
        self._db.execute("BEGIN")
        self._numbers = count()

    def notes(self) -> "Notes":
        """A new place for the entries of one copy."""
        return Notes(self._db, f"copy_{next(self._numbers)}")

    def close(self) -> None:
        """It is gone."""
        self._db.close()


class Notes:
    """The op_ids of one copy's entries; with each sale, what was sold, and with each order, what was ordered."""

    def __init__(self, db: sqlite3.Connection, table: str) -> None:
        self._db = db
        self._table = table
        self._waiting: list[tuple[str, int, bytes | None, int, int]] = []
        db.execute(f"CREATE TABLE {table} (op_id TEXT, seq INTEGER, what BLOB, number INTEGER, sale_seq INTEGER)")

    def add(self, op_id: str, seq: int, what: bytes | None = None, number: int = 0, sale_seq: int = 0) -> None:
        """One entry of batch `seq`."""
        self._waiting.append((op_id, min(seq, _HIGHEST), what, number, min(sale_seq, _HIGHEST)))
        if len(self._waiting) >= _MANY:
            self._write()

    def finish(self) -> None:
        """There are no more: sort them."""
        self._write()
        self._db.execute(_BY_OP_ID.format(self._table))

    def repeated(self) -> Iterator[Repeated]:
        """The op_ids that stand more than once: the first ones."""
        return map(Repeated._make, self._db.execute(_REPEATED.format(self._table), (MOST_FINDINGS,)))

    def unsold(self, sales: "Notes") -> Iterator[Unsold]:
        """Of these orders those that are not what was sold: the first ones."""
        question = _UNSOLD.format(self._table, sales._table)
        return map(Unsold._make, self._db.execute(question, (MOST_FINDINGS,)))

    def waiting(self, sales: "Notes") -> int:
        """How many of the sales have none of these orders."""
        (number,) = self._db.execute(_WAITING.format(self._table, sales._table)).fetchone()
        return int(number)

    def drop(self) -> None:
        """Forget them."""
        self._db.execute(f"DROP TABLE {self._table}")

    def _write(self) -> None:
        self._db.executemany(f"INSERT INTO {self._table} VALUES (?,?,?,?,?)", self._waiting)
        self._waiting.clear()
