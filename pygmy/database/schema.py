"""The tables, as numbered steps: step n of a tier is `schema/000n_log.sql` followed by `schema/000n_<tier>.sql`.

A voter's file has no log, only `schema/000n_voter.sql`.

The number of the last step done is the file's user_version. A step, once released, never changes.
"""

import re
import sqlite3
from collections.abc import Iterator, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Literal

from pygmy.database.errors import StoreBroken, StoreMismatch
from pygmy.database.meta import fetch, put

APPLICATION = 0x5059474D  # "PYGM", so that `file` and we can tell whose database it is
_STEP = re.compile(r"([0-9]{4})_(log|catalog|order|voter)\.sql")
Kind = Literal["catalog", "order", "voter"]
Steps = Sequence[str]
_PARTS = {"catalog": ("log", "catalog"), "order": ("log", "order"), "voter": ("voter",)}
_WHAT = {"catalog": "the catalog tier", "order": "the order tier", "voter": "a node's vote"}


def steps(kind: Kind, directory: Traversable | None = None) -> Steps:
    """The SQL of each step, from 1 on; `directory` defaults to the packaged one."""
    parts: dict[int, dict[str, str]] = {}
    for file in (directory or files("pygmy.database") / "schema").iterdir():
        name = _STEP.fullmatch(file.name)
        if name and name[2] in _PARTS[kind]:
            parts.setdefault(int(name[1]), {})[name[2]] = file.read_text("utf-8")
    if sorted(parts) != list(range(1, len(parts) + 1)):
        raise StoreBroken(f"the schema's steps are not numbered 1 to {len(parts)}: {sorted(parts)}")
    return ["".join(parts[n].get(part, "") for part in _PARTS[kind]) for n in range(1, len(parts) + 1)]


def prepare(connection: sqlite3.Connection, path: str, kind: Kind, node: str, steps: Steps) -> None:
    """Check that the file is this node's to use, switch it to WAL and bring its schema up to date.

    `node` "": whose file it is does not matter. StoreMismatch for a sound file that is not to be used; StoreBroken
    where WAL cannot be used. An upgrade is one transaction.
    """
    version = _check(connection, path, len(steps))
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal" and path != ":memory:":
        raise StoreBroken(f"{path}: this file system does not carry SQLite's write-ahead log")
    if version < len(steps):
        _upgrade(connection, kind, version, steps)
    found = fetch(connection, "tier")
    if found != kind:
        raise StoreMismatch(
            f"{path} is a database of {_WHAT.get(str(found), 'an unknown kind')}, not of {_WHAT[kind]}"
        )
    owner = fetch(connection, "node")
    if owner is None and node:
        put(connection, "node", node)
    elif owner != node and node:
        raise StoreMismatch(f"{path} is the database of {owner}, not of {node}")


def _check(connection: sqlite3.Connection, path: str, newest: int) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION and (application or version or tables):
        raise StoreMismatch(f"{path} is not a database of Pygmy's")
    if version > newest:
        raise StoreMismatch(
            f"{path} has schema version {version}, and this Pygmy knows only {newest}: use a newer Pygmy"
        )
    return int(version)


def _upgrade(connection: sqlite3.Connection, kind: Kind, version: int, steps: Steps) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for sql in steps[version:]:
            for statement in _statements(sql):
                connection.execute(statement)
        if not version:
            put(connection, "tier", kind)
        connection.execute(f"PRAGMA user_version = {len(steps)}")
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _statements(sql: str) -> Iterator[str]:
    """One by one: sqlite3's executescript() would commit the transaction first."""
    statement = ""
    for line in sql.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        raise StoreBroken(f"an unfinished statement in the schema: {statement.strip()[:60]}")
