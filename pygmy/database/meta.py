"""The facts that a file keeps about itself: the table `meta`, by key. Plain functions of a cursor or connection."""

import sqlite3
from typing import Any


def fetch(cursor: sqlite3.Cursor | sqlite3.Connection, key: str) -> Any:
    """The value under this key; None if there is none."""
    found = cursor.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if found is None else found[0]


def put(cursor: sqlite3.Cursor | sqlite3.Connection, key: str, value: int | str) -> None:
    """Set the value under this key."""
    cursor.execute("INSERT OR REPLACE INTO meta VALUES (?,?)", (key, value))
