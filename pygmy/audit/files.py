"""Databases on disk, found and opened without touching them: not a byte, not a time, not a file beside them.

What SQLite has not carried into the file yet (a `-wal` that a killed node left behind) counts: then a copy of both is
read, in a temporary directory.  While a node runs, its files change under any reader that does not join in their
locking, which would write beside them: those are refused, and the node itself can be asked.
"""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, cast

from pygmy.audit.reading import Damaged, LogFile
from pygmy.audit.reports import Report, Unreadable
from pygmy.audit.store import StoreAudit
from pygmy.database import StoreError, schema
from pygmy.database.backup import LEFTOVERS
from pygmy.database.lock import holder
from pygmy.database.meta import fetch
from pygmy.messages.operations import Tier

FILES = {"catalog.sqlite": "catalog", "order.sqlite": "order"}
HEADER = b"SQLite format 3\x00"

Progress = Callable[[str, int, int], None]
"""Told of each batch: the copy's name, its seq, and the seq of the last one."""


class Place(NamedTuple):
    """One database, and what it is called."""

    name: str
    path: Path


def places(given: Path) -> list[Place]:
    """The databases of a node's directory, of a data directory, or the one file. `Unreadable` if there is none."""
    try:
        if given.is_dir():
            return _in_directory(given)
        if given.exists():
            return [Place(_name(given), given)]
    except OSError as error:
        raise Unreadable(f"{given} cannot be read: {error.strerror}.") from None
    raise Unreadable(f"There is no {given}.")


def audit_place(place: Place, audit: StoreAudit, progress: Progress) -> Report:
    """The audit of one database. `Unreadable` if it is none of Pygmy's, or in use."""
    with _opened(place.path) as file:
        copy = audit.begin(place.name, file.tier)
        try:
            if flaw := _cut_short(place.path):
                copy.findings.add(flaw)
            for flaw in file.flaws():
                copy.findings.add(flaw)
            copy.expect(file.rows())
            newest = file.newest
            for batch in file.batches(copy.findings):
                copy.take(batch)
                progress(place.name, batch.seq, newest)
            copy.compare()
        except Damaged as damage:
            copy.findings.add(str(damage), damage.seq)
    return audit.done(copy)


def _in_directory(directory: Path) -> list[Place]:
    found = [directory / file for file in FILES if (directory / file).exists()]
    if not found:
        inside = sorted(path for path in directory.iterdir() if path.is_dir())
        found = [path / file for path in inside for file in FILES if (path / file).exists()]
    if found:
        return [Place(_name(path), path) for path in found]
    if directory.resolve().name.startswith("frontend-"):
        raise Unreadable(f"{directory} is a front end's: it keeps no log.")
    raise Unreadable(
        f"{directory} holds no data of a catalog or order server: expected a node's directory with"
        f" {' or '.join(FILES)} in it, or one that holds such directories."
    )


def _name(path: Path) -> str:
    """`catalog-0` for a node's own database, else the file's path."""
    node = path.resolve().parent.name
    own = path.name in FILES and node.startswith(f"{FILES[path.name]}-")
    return node if own else str(path)


@contextmanager
def _opened(path: Path) -> Iterator[LogFile]:
    _refuse_running(path)
    try:
        before = _stamps(path)
        _check_header(path)
        with _connection(path) as connection, closing(connection):
            yield LogFile(connection, _tier(connection, path))
        after = _stamps(path)
    except OSError as error:
        raise Unreadable(f"{path} cannot be read: {error.strerror}.") from None
    _refuse_running(path)
    if before != after:
        raise Unreadable(f"{path} was changed while it was read: try again once nobody uses it.")


def _refuse_running(path: Path) -> None:
    try:
        process = holder(str(path))
    except OSError as error:
        raise Unreadable(f"{path}.lock cannot be read: {error.strerror}.") from None
    if process is not None:
        raise Unreadable(
            f"{path} is in use by process {process}, which changes it while it is read: stop the node,"
            " or audit it as it runs, by its URL (such as pygmy audit http://localhost:5000)."
        )


def _stamps(path: Path) -> list[tuple[int, int, int] | None]:
    return [_stamp(Path(f"{path}{suffix}")) for suffix in ("", *LEFTOVERS)]


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _check_header(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(100)
    if not start:
        raise Unreadable(f"{path} is empty.")
    if len(start) < 100 or not start.startswith(HEADER):
        raise Unreadable(f"{path} is no SQLite database, or not even the beginning of one is left.")


def _application(path: Path) -> int:
    """Whose database this is, by its header."""
    with path.open("rb") as file:
        return int.from_bytes(file.read(100)[68:72])


def _cut_short(path: Path) -> str | None:
    """What its header says of the file's length, where that can be relied on (SQLite's file format, 1.3)."""
    with path.open("rb") as file:
        header = file.read(100)
    page = int.from_bytes(header[16:18])
    expected = (65536 if page == 1 else page) * int.from_bytes(header[28:32])
    size = path.stat().st_size
    if _has_leftovers(path) or header[24:28] != header[92:96] or size >= expected:
        return None
    return f"the file is cut short: {size:,} bytes, expected {expected:,}"


@contextmanager
def _connection(path: Path) -> Iterator[sqlite3.Connection]:
    """The file itself, where it is all there is and of this version; else a copy, brought up to date."""
    if not _has_leftovers(path):
        # immutable: SQLite takes no lock, looks for no -wal and makes no -shm.
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
        if not _is_outdated(connection):
            yield connection
            return
        connection.close()
    with TemporaryDirectory(prefix="pygmy-audit-") as directory:
        copy = Path(directory) / "copy.sqlite"
        for suffix in ("", *LEFTOVERS):
            if suffix == "" or os.path.exists(f"{path}{suffix}"):
                shutil.copyfile(f"{path}{suffix}", f"{copy}{suffix}")
        connection = sqlite3.connect(copy, isolation_level=None)
        try:
            if _is_outdated(connection):
                tier = _tier(connection, path)
                schema.prepare(connection, str(path), tier, "", schema.steps(tier))
            yield connection
        except StoreError as error:
            raise Unreadable(f"{error}.") from None
        finally:
            connection.close()


def _has_leftovers(path: Path) -> bool:
    stamps = [_stamp(Path(f"{path}{suffix}")) for suffix in LEFTOVERS]
    return any(stamp is not None and stamp[1] > 0 for stamp in stamps)


def _is_outdated(connection: sqlite3.Connection) -> bool:
    """True for a database of ours that an older Pygmy wrote."""
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.Error:
        return False  # whoever reads on will see
    return bool(application == schema.APPLICATION and 0 < version < len(schema.steps("catalog")))


def _tier(connection: sqlite3.Connection, path: Path) -> Tier:
    """Whose database this is; `Unreadable` if not ours, too new, or of another tier than its name says."""
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        found = fetch(connection, "tier")
    except sqlite3.Error as error:
        if _application(path) == schema.APPLICATION and path.name in FILES:
            return cast(Tier, FILES[path.name])  # ours, and damaged: let that be found
        raise Unreadable(f"{path} is not a database of Pygmy's, or damaged: {error}.") from None
    if application != schema.APPLICATION or found not in FILES.values():
        raise Unreadable(f"{path} is not a database of Pygmy's.")
    if version > (newest := len(schema.steps("catalog"))):
        raise Unreadable(
            f"{path} has schema version {version}, and this Pygmy knows only {newest}: use a newer Pygmy."
        )
    expected = FILES.get(path.name, found)
    if found != expected:
        raise Unreadable(f"{path} is a database of the {found} tier: expected one of the {expected} tier.")
    return cast(Tier, found)
