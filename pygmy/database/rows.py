"""The fold of the log as tables: `Book`, `Order` and `Mark` to columns and back, and the undo of the last batch.

Everything here is a plain function of a cursor, inside whoever's transaction.
"""

import sqlite3
from collections.abc import Iterable, Sequence

import msgspec
from msgspec import Struct

from pygmy.messages.operations import Book, Change, Mark, Order, OrderLine, Row, Tier

Key = int | str

PUT_BOOK = "INSERT OR REPLACE INTO books VALUES (?,?,?,?,?,?,?,?)"
PUT_ORDER = "INSERT OR REPLACE INTO orders VALUES (?,?,?,?,?,?)"
PUT_MARK = "INSERT OR REPLACE INTO marks VALUES (?,?)"
DROP_MARK = "DELETE FROM marks WHERE name = ?"
DROP_NUMBERED = {
    "catalog": "DELETE FROM books WHERE item = ?",
    "order": "DELETE FROM orders WHERE order_id = ?",
}
ORDER_COLUMNS = "SELECT order_id, op_id, lines, total, at, basket FROM orders "


class Undo(Struct, frozen=True):
    """A row that the last batch has touched, as it was before it (None: not there).

    `key` is the book's item, the order's id or the mark's name.
    """

    key: Key
    before: Row | None


class _Before(Struct, frozen=True):
    """The form of undo on disk: rows by type, and the keys of those that were not there."""

    books: list[Book]
    orders: list[Order]
    marks: list[Mark]
    absent: list[Key]


_encode = msgspec.json.Encoder().encode
_decode_before = msgspec.json.Decoder(_Before).decode
_decode_lines = msgspec.json.Decoder(tuple[OrderLine, ...]).decode


def key_of(row: Row) -> Key:
    """What tells the row from the others of its tier: item, order id, or a mark's name."""
    if isinstance(row, Book):
        return row.item
    if isinstance(row, Order):
        return row.order_id
    return row.name


def write(cursor: sqlite3.Cursor, tier: Tier, changes: Iterable[Change]) -> None:
    """Bring each row to its last `after`."""
    final: dict[Key, Row | None] = {}
    for change in changes:
        row = change.after or change.before
        if row is not None:
            final[key_of(row)] = change.after
    _put(cursor, [row for row in final.values() if row is not None])
    _drop(cursor, tier, [key for key, row in final.items() if row is None])


def keep_undo(cursor: sqlite3.Cursor, seq: int, changes: Iterable[Change]) -> None:
    """Make `undo` that of batch `seq`: what these changes say was there before it."""
    before = _Before([], [], [], [])
    for change in changes:
        if change.before is not None:
            _sort_in(before, change.before)
        elif change.after is not None:
            before.absent.append(key_of(change.after))
    forget_undo(cursor)
    cursor.execute("INSERT INTO undo VALUES (?,?)", (seq, _encode(before).decode()))


def forget_undo(cursor: sqlite3.Cursor) -> None:
    """There is no way back from the last batch."""
    cursor.execute("DELETE FROM undo")


def has_undo(cursor: sqlite3.Cursor, seq: int) -> bool:
    """True if batch `seq` can be undone."""
    return cursor.execute("SELECT 1 FROM undo WHERE seq = ?", (seq,)).fetchone() is not None


def undo(cursor: sqlite3.Cursor, tier: Tier) -> None:
    """Put every row that the last batch touched back as it was, and forget the way."""
    for before in _stored_undo(cursor):
        _put(cursor, [*before.books, *before.orders, *before.marks])
        _drop(cursor, tier, before.absent)
    forget_undo(cursor)


def load_undo(cursor: sqlite3.Cursor, tier: Tier) -> tuple[Undo, ...]:
    """The before-images of the last batch, of the rows that `load` loads."""
    found: list[Undo] = []
    for before in _stored_undo(cursor):
        rows: list[Row] = [*before.books, *before.marks]
        found += [Undo(key_of(row), row) for row in rows]
        found += [Undo(key, None) for key in before.absent if tier == "catalog" or isinstance(key, str)]
    return tuple(found)


def load(cursor: sqlite3.Cursor, tier: Tier) -> tuple[Row, ...]:
    """All that a tier keeps in memory: marks, and in the catalog every book, removed ones too."""
    rows: list[Row] = [Mark(*columns) for columns in cursor.execute("SELECT name, value FROM marks")]
    if tier == "catalog":
        topics: dict[str, str] = {}  # there are few: let equal ones be one object
        one = topics.setdefault
        books = cursor.execute("SELECT item, title, topic, cost, count, epoch, seq, removed FROM books")
        rows += [
            Book(item, title, one(topic, topic), cost, count, epoch, seq, bool(removed))
            for item, title, topic, cost, count, epoch, seq, removed in books
        ]
    return tuple(rows)


def orders(cursor: sqlite3.Cursor, order_ids: Sequence[int]) -> tuple[Order, ...]:
    """Those of these orders that there are, in the order asked for."""
    found = []
    for order_id in order_ids:
        columns = cursor.execute(ORDER_COLUMNS + "WHERE order_id = ?", (order_id,)).fetchone()
        if columns is not None:
            found.append(_order(columns))
    return tuple(found)


def orders_page(cursor: sqlite3.Cursor, after: int, limit: int, upto: int) -> tuple[Order, ...]:
    """Up to `limit` orders with after < id <= upto, by id."""
    page = cursor.execute(
        ORDER_COLUMNS + "WHERE order_id > ? AND order_id <= ? ORDER BY order_id LIMIT ?", (after, upto, limit)
    )
    return tuple(map(_order, page))


def _order(columns: tuple[int, str, str, int, int, int]) -> Order:
    order_id, op_id, lines, total, at, basket = columns
    return Order(order_id, op_id, _decode_lines(lines), total, at, bool(basket))


def _stored_undo(cursor: sqlite3.Cursor) -> list[_Before]:
    return [_decode_before(rows) for (rows,) in cursor.execute("SELECT rows FROM undo").fetchall()]


def _sort_in(before: _Before, row: Row) -> None:
    if isinstance(row, Book):
        before.books.append(row)
    elif isinstance(row, Order):
        before.orders.append(row)
    else:
        before.marks.append(row)


def _put(cursor: sqlite3.Cursor, rows: Sequence[Row]) -> None:
    books, orders, marks = [], [], []
    for row in rows:
        if isinstance(row, Book):
            books.append((row.item, row.title, row.topic, row.cost, row.count, row.epoch, row.seq, row.removed))
        elif isinstance(row, Order):
            lines = _encode(row.lines).decode()
            orders.append((row.order_id, row.op_id, row.at, row.total, row.basket, lines))
        else:
            marks.append((row.name, row.value))
    for statement, columns in ((PUT_BOOK, books), (PUT_ORDER, orders), (PUT_MARK, marks)):
        if columns:
            cursor.executemany(statement, columns)


def _drop(cursor: sqlite3.Cursor, tier: Tier, keys: Iterable[Key]) -> None:
    for key in keys:
        cursor.execute(DROP_MARK if isinstance(key, str) else DROP_NUMBERED[tier], (key,))
