"""Putting a backup in the place of a stopped replica's database: all of it is checked before anything is moved.

Whatever the file was, what takes its place has taken part in no view: the replica boots on it as a learner.
"""

import fcntl
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from pygmy.audit.files import HEADER, Place, audit_place
from pygmy.audit.reports import Unreadable
from pygmy.audit.store import StoreAudit
from pygmy.cluster import Node
from pygmy.database import StoreError, schema
from pygmy.database import log as stored_log
from pygmy.database.backup import COMPANIONS, LEFTOVERS, MARK, Note, discard, disown, make_single, settle
from pygmy.database.meta import fetch, put
from pygmy.datadir import database_path, pid_path, voter_path
from pygmy.durable import flush_file, make_durable
from pygmy.messages.operations import TIERS, Tier
from pygmy.messages.register import VoterState
from pygmy.pidfile import PidFile

DRAFT = "restoring.sqlite"


class CannotRestore(Exception):
    """The file has not been put in place; str() is for a person, and says why."""


class Restored(Struct, frozen=True):
    """What was put in place, and where that is which was there before (None: there was nothing)."""

    note: Note
    aside: Path | None


def restore(data: Path, node: Node, file: Path, now: int) -> Restored:
    """Put what `file` holds in the place of the database of `node`, a replica that is not running. `now` in ms UTC.

    Raises CannotRestore, or OSError (AlreadyRunning: the node runs). Nothing is moved unless the file is sound.
    """
    tier = TIERS[node.role]
    _look_at(file)
    database = database_path(data, node.name)
    make_durable(database.parent)
    lock = PidFile(pid_path(data, node.name))  # no node starts meanwhile
    draft = database.with_name(DRAFT)
    try:
        discard(draft)
        _copy(file, draft)
        with _as_cannot_restore(file):
            note = _prepared(draft, file, tier, node.name, _cluster_here(voter_path(data, node.name), database))
        return Restored(note, _swap(draft, database, now))
    finally:
        discard(draft)
        lock.release()


# ---- reading the file


def _look_at(file: Path) -> None:
    """At its first bytes: not to copy a film before saying that it is none of Pygmy's databases."""
    with file.open("rb") as opened:
        if opened.read(len(HEADER)) not in (HEADER, b""):
            raise CannotRestore(f"{file} is not a database of Pygmy's.")


def _copy(file: Path, draft: Path) -> None:
    """The file and its write-ahead log or journal, which may hold its newest part."""
    with _unused(file):
        shutil.copyfile(file, draft)
        for end in LEFTOVERS:
            companion = Path(f"{file}{end}")
            if companion.exists():
                shutil.copyfile(companion, f"{draft}{end}")


@contextmanager
def _unused(file: Path) -> Iterator[None]:
    """Keep nodes from opening the file; CannotRestore if one has it open: a copy may be neither old nor new then."""
    try:
        descriptor = os.open(f"{file}.lock", os.O_RDONLY)
    except FileNotFoundError:
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise CannotRestore(
            f"{file} is the database of a running node: have it make a backup with `pygmy backup`, and restore that."
        ) from None
    finally:
        os.close(descriptor)


@contextmanager
def _as_cannot_restore(file: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, msgspec.MsgspecError) as error:
        raise CannotRestore(f"{file} is damaged: {error}.") from error
    except StoreError as error:
        said = str(error)
        raise CannotRestore(f"{said}." if said.startswith(str(file)) else f"{file}: {said}.") from error


# ---- checking it, and making it the node's own


def _prepared(draft: Path, file: Path, tier: Tier, name: str, cluster: Any) -> Note:
    """Check the draft, a copy of `file`, disown it and give it to the node of this name; where it comes from."""
    with closing(sqlite3.connect(draft, isolation_level=None)) as connection:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        if application != schema.APPLICATION:
            raise CannotRestore(f"{file} is not a database of Pygmy's.")
        schema.prepare(connection, str(file), tier, "", schema.steps(tier))
        theirs = fetch(connection, "cluster_id")
        if cluster is not None and theirs != cluster:
            raise CannotRestore(f"{file} belongs to {_named(theirs)}; this node belongs to {_named(cluster)}.")
        note = _origin(connection, file)
        disown(connection, note.node, tier, note.at)
        put(connection, "node", name)
        make_single(connection)
    prove(draft, str(file))
    flush_file(draft)
    return note


def prove(path: Path, name: str) -> None:
    """CannotRestore unless log, hashes, outcomes and rows agree to the last one. `name`: what the file is called."""
    with closing(StoreAudit()) as audit:
        try:
            report = audit_place(Place(name, path), audit, lambda name, seq, newest: None)
        except Unreadable as error:
            raise CannotRestore(str(error)) from error
    if not report.sound:
        raise CannotRestore(f"{name} is damaged: {' '.join(str(report.findings[0]).split())}.")


def _origin(connection: sqlite3.Connection, file: Path) -> Note:
    """A backup's own word; of a node's database that was copied by hand, what can be known."""
    said = fetch(connection, MARK)
    if said is not None and fetch(connection, "incarnation") is None:
        return msgspec.json.decode(said, type=Note)
    with closing(connection.cursor()) as cursor:
        head = stored_log.head(cursor)
    return Note(fetch(connection, "node") or "a node", "", head, round(file.stat().st_mtime * 1000))


def _cluster_here(voter: Path, database: Path) -> Any:
    """The id of the cluster that the node belongs to, by its vote or its present database; None: nobody knows."""
    for path in (voter, database):
        # Where there is no write-ahead log to be read, nothing need be written beside the file.
        how = "mode=ro" if Path(f"{path}-wal").exists() else "mode=ro&immutable=1"
        try:
            with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True)) as connection:
                found = _charter_id(connection) if path == voter else fetch(connection, "cluster_id")
        except (sqlite3.Error, msgspec.MsgspecError):
            continue
        if found is not None:
            return found
    return None


def _charter_id(connection: sqlite3.Connection) -> str | None:
    """The id of the cluster that a voter is of, by its file; None: of none yet."""
    kept = fetch(connection, "state")
    charter = None if kept is None else msgspec.json.decode(kept, type=VoterState).charter
    return charter.cluster_id if charter is not None and charter.complete else None


def _named(cluster: Any) -> str:
    return "no cluster" if cluster is None else f"cluster {cluster}"


# ---- putting it in place


def _swap(draft: Path, database: Path, now: int) -> Path | None:
    """Move what is there aside, whole, and the draft in its place. After a crash on the way there is no database.

    A database whose write-ahead log has gone would have forgotten what it acknowledged: so it goes first, and a log
    that stayed would be taken for the new one's: so the new one comes last.
    """
    there = [path for path in (database, *(Path(f"{database}{end}") for end in COMPANIONS)) if path.exists()]
    aside = _kept(there, database.with_name(f"replaced-{datetime.fromtimestamp(now // 1000, UTC):%Y%m%dT%H%M%SZ}"))
    try:
        for path in there:
            path.unlink()
            flush_file(database.parent)
        settle(draft, database)
    except OSError as error:
        raise CannotRestore(f"{database}: {error.strerror}. Try again. What was there is in {aside}.") from error
    return aside


def _kept(there: list[Path], aside: Path) -> Path | None:
    """A new directory with a second name for each of these files, on the disk; None: there are none."""
    if not there:
        return None
    try:
        aside.mkdir()
    except FileExistsError:
        raise CannotRestore(f"{aside} is there already: try again in a second.") from None
    for path in there:
        os.link(path, aside / path.name)
    flush_file(aside)
    flush_file(aside.parent)
    return aside
