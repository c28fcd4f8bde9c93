"""One SQLite file: a connection for each thread, write-ahead log, flushed to the disk at every commit."""

import os
import sqlite3
import threading

_local = threading.local()


def connection() -> sqlite3.Connection:
    """This thread's connection to the database that PEER_DATABASE names. Transactions are begun by hand."""
    found = getattr(_local, "connection", None)
    if found is None:
        found = _local.connection = connect(os.environ["PEER_DATABASE"])
    return found


def connect(path: str) -> sqlite3.Connection:
    found = sqlite3.connect(path, timeout=30, isolation_level=None)
    found.execute("PRAGMA journal_mode = WAL")
    found.execute("PRAGMA synchronous = FULL")  # in WAL mode: an fsync for every commit
    found.row_factory = sqlite3.Row
    return found


def create_catalog(path: str, books: list[dict]) -> None:
    """An empty catalog with these books (cost in whole units of money)."""
    database = connect(path)
    database.execute(
        "CREATE TABLE books (id INTEGER PRIMARY KEY, title TEXT, topic TEXT, cents INTEGER, count INTEGER)"
    )
    database.execute("CREATE INDEX books_by_topic ON books (topic, id)")
    rows = [
        (book.get("id", number), book["title"], book["topic"], round(100 * book["cost"]), book["count"])
        for number, book in enumerate(books, 1)
    ]
    database.execute("BEGIN")
    database.executemany("INSERT INTO books VALUES (?, ?, ?, ?, ?)", rows)
    database.execute("COMMIT")
    database.close()


def create_orders(path: str) -> None:
    database = connect(path)
    database.execute(
        "CREATE TABLE orders (id INTEGER PRIMARY KEY AUTOINCREMENT, item INTEGER, quantity INTEGER, cents INTEGER,"
        " date TEXT)"
    )
    database.close()


def sell(database: sqlite3.Connection, item: int, quantity: int) -> sqlite3.Row | int | None:
    """Take copies out of the stock: the row (cents, count) after it; the count if too small; None: no such book."""
    database.execute("BEGIN IMMEDIATE")
    try:
        sold = database.execute(
            "UPDATE books SET count = count - ? WHERE id = ? AND count >= ? RETURNING cents, count",
            (quantity, item, quantity),
        ).fetchone()
        if sold is None:
            row = database.execute("SELECT count FROM books WHERE id = ?", (item,)).fetchone()
            sold = None if row is None else int(row["count"])
    except BaseException:
        database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")
    return sold


def order(database: sqlite3.Connection, item: int, quantity: int, cents: int, date: str) -> int:
    """Write the order down; its number."""
    found = database.execute(
        "INSERT INTO orders (item, quantity, cents, date) VALUES (?, ?, ?, ?)", (item, quantity, cents, date)
    )
    return int(found.lastrowid)
