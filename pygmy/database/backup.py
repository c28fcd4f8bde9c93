"""Backups of a replica's file: how one is copied online, disowned, checked, and put under its name.

A backup holds all that the replica held, except what would let it pose as a member: it has taken part in no view,
and no incarnation is its own. Whoever boots on it is a learner. What its last batch changed can still be undone,
for nobody knows yet whether that batch is chosen.
"""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

from pygmy.database import log
from pygmy.database.errors import BackupFailed
from pygmy.database.longjob import Abandoned, Pause
from pygmy.database.meta import put
from pygmy.database.pool import BUSY_SECONDS
from pygmy.durable import flush_file
from pygmy.messages.replication import Version

PAGES = 256  # in one step: a megabyte, which takes about as long as a commit
RESERVE = 64 * 1024 * 1024  # bytes that a backup leaves on the disk: as many as the write-ahead log may need
MARK = "backup"  # the key in `meta` that only backups have
LEFTOVERS = ("-wal", "-journal")  # beside a SQLite file: what may hold its newest part
COMPANIONS = (*LEFTOVERS, "-shm")  # all that belongs to it as long as they are there


class Note(Struct, frozen=True):
    """What a backup says of itself: whose it is, the version of its last batch, and when it was made (ms UTC)."""

    node: str
    tier: str
    head: Version
    at: int


def copy(connection: sqlite3.Connection, path: str, pause: Pause) -> None:
    """Copy the connection's database to a new file in steps, with a pause after each.

    What the connection writes in a pause is in the copy as well: it shows the moment of its last step.
    """
    with _as_backup_failed(path):
        _make_sure_of_room(connection, path)
        with closing(sqlite3.connect(path, isolation_level=None)) as target:
            # Half a copy is of no use: neither a way back nor fsyncs are needed before the whole is there.
            target.execute("PRAGMA journal_mode = OFF")
            target.execute("PRAGMA synchronous = OFF")
            connection.backup(target, pages=PAGES, progress=lambda status, remaining, total: pause(), sleep=0.01)


def _make_sure_of_room(connection: sqlite3.Connection, path: str) -> None:
    """A disk that a backup has filled would stop the node at its next commit."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    free = shutil.disk_usage(os.path.dirname(path)).free
    if free < pages * size + RESERVE:
        raise BackupFailed(
            f"{path} would take {pages * size:,} bytes, and leave less than {RESERVE:,} of the {free:,} that are free"
        )


def seal(path: Path, node: str, tier: str, at: int) -> Note:
    """Make a finished copy a backup: disowned, in one file, checked, on the disk.

    Raises BackupFailed. Takes seconds for a large file: not for the thread of reactor or database.
    """
    with _as_backup_failed(str(path)):
        with closing(sqlite3.connect(path, isolation_level=None, timeout=BUSY_SECONDS)) as connection:
            note = disown(connection, node, tier, at)
            make_single(connection)
            _check(connection)
        flush_file(path)
        return note


def disown(connection: sqlite3.Connection, node: str, tier: str, at: int) -> Note:
    """Take from the database what would let it pose as a member; what it now says of itself."""
    with closing(connection.cursor()) as cursor:
        note = Note(node, tier, log.head(cursor), at)
        cursor.execute("BEGIN IMMEDIATE")
        cursor.execute("DELETE FROM meta WHERE key IN ('incarnation', 'view')")
        put(cursor, "member", 0)
        put(cursor, MARK, msgspec.json.encode(note).decode())
        cursor.execute("COMMIT")
    return note


def make_single(connection: sqlite3.Connection) -> None:
    """Have the database in one file that can be read without others beside it. (Opening a store undoes that.)"""
    (mode,) = connection.execute("PRAGMA journal_mode = DELETE").fetchone()
    if mode != "delete":
        raise BackupFailed("the write-ahead log cannot be folded into the database")


def _check(connection: sqlite3.Connection) -> None:
    """Whether the log agrees with itself would take Python as long as all the sales: who restores it checks that."""
    (said,) = connection.execute("PRAGMA quick_check (1)").fetchone()
    if said != "ok":
        raise BackupFailed(f"the database is damaged: {' '.join(said.split())}")


def settle(draft: Path, final: Path) -> None:
    """Give the flushed draft its name, in the same directory, so that it survives a power cut."""
    os.replace(draft, final)
    flush_file(final.parent)


def discard(path: Path) -> None:
    """Remove a draft and what SQLite left beside it, if there is any."""
    for name in (str(path), *(f"{path}{end}" for end in COMPANIONS)):
        Path(name).unlink(missing_ok=True)


@contextmanager
def _as_backup_failed(path: str) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError, Abandoned) as error:
        raise BackupFailed(f"{path}: {getattr(error, 'strerror', None) or error}") from error
