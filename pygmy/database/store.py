"""A replica's database, as its driver sees it: Deferreds that fire once what they stand for is on disk."""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.python.threadpool import ThreadPool

from pygmy.clock import boottime
from pygmy.database import backup, log, rows, schema
from pygmy.database.file import DatabaseFile
from pygmy.database.groups import Observer
from pygmy.database.log import Located, Place
from pygmy.database.meta import fetch, put
from pygmy.database.rows import Undo
from pygmy.messages.internal import Sale
from pygmy.messages.operations import Change, Order, Row, Tier
from pygmy.messages.replication import Batch, View

__all__ = ["Boot", "Identity", "Located", "Store", "Undo"]

T = TypeVar("T")
_decode_view = msgspec.json.Decoder(View).decode


class Identity(Struct, frozen=True):
    """Whose file it is. `incarnation`: of its node's last start with it (0: none); `hash`: see `Store.identity`."""

    cluster_id: str | None
    incarnation: int
    hash: str | None


class Boot(Struct, frozen=True):
    """What a replica starts from.

    `incarnation` grows from start to start; `previous` is that of this disk's last start (0: there was none).
    `member`: this disk has taken part in a view; it is not a new one. `last` are the newest batches, in order.
    `rows` and `undo` hold marks and, in the catalog, all books (removed ones too); orders stay on disk.
    """

    incarnation: int
    previous: int
    view: View | None
    member: bool
    last: tuple[Batch, ...]
    rows: tuple[Row, ...]
    undo: tuple[Undo, ...]


class Store:
    """A replica's database: everything asked of it is done in the order asked (see `DatabaseFile`)."""

    def __init__(self, tier: Tier, file: DatabaseFile) -> None:
        """For `open` only."""
        self._tier = tier
        self._file = file

    @classmethod
    def open(
        cls,
        path: str,
        tier: Tier,
        reactor: Any,
        *,
        node: str = "",
        now: Callable[[], float] = boottime,
        observe: Observer = lambda writes, seconds: None,
        threads: ThreadPool | None = None,
        steps: schema.Steps | None = None,
    ) -> "Deferred[Store]":
        """Open or create the file, alone, and bring its schema up to date.

        `node` is whose it must be ("": anyone's). `observe` hears of each transaction how many writes shared it and
        how many seconds (of `now`) it took. Fails with StoreLocked, StoreMismatch or StoreBroken, having let go of
        everything. `threads` and `steps` take the place of the pool's thread and of the packaged schema in tests.
        """
        file = DatabaseFile(path, reactor, now, observe, threads)

        async def opened() -> Store:
            await file.open(tier, node, steps)
            return cls(tier, file)

        return Deferred.fromCoroutine(opened())

    @property
    def pending(self) -> int:
        """How many writes are not durable yet."""
        return self._file.pending

    def identity(self, seq: int = 0) -> Deferred[Identity]:
        """Whose file it is, with the hash of the batch `seq` (None: there is no such batch)."""
        return self._file.read(lambda cursor: _identity(cursor, seq))

    def settled(self) -> Deferred[tuple[int, str] | None]:
        """Seq and hash of the last batch but one, which will not be dropped any more; None: there is none."""
        return self._file.read(log.settled)

    def boot(self, window: int = 2, *, incarnation: int = 0, trusted: bool = True) -> Deferred[Boot]:
        """Count this start, durably, and load what a replica starts from, with the last `window` batches.

        The incarnation is at least the one given: a disk that was lost cannot tell which ones there have been.
        `trusted` False: this is not the file that its node last ran with; it has taken part in nothing from now on.
        """
        return self._file.write(lambda cursor: _boot(cursor, self._tier, window, incarnation, trusted))

    def commit(self, cut: int, batches: Sequence[Batch], changes: Sequence[Change]) -> Deferred[None]:
        """Drop what has seq >= cut (head + 1: nothing), append the batches, write the changed rows.

        Fires once it is on disk. Only the last batch can be dropped. `changes`: per batch each touched row once,
        in order. Without batches it is a barrier: it fires when all that was asked before is on disk.
        """
        return self._file.write(lambda cursor: log.commit(cursor, self._tier, cut, batches, changes))

    def save_view(self, view: View, member: bool) -> Deferred[None]:
        """Keep the newest view that this replica knows, and whether it has taken part in one, for its next boot."""
        text = msgspec.json.encode(view).decode()

        def save(cursor: sqlite3.Cursor) -> None:
            put(cursor, "view", text)
            put(cursor, "member", int(member))

        return self._file.write(save)

    def save_cluster(self, cluster_id: str) -> Deferred[None]:
        """This file belongs to that cluster, for ever."""
        return self._file.write(lambda cursor: put(cursor, "cluster_id", cluster_id))

    def find(self, op_ids: Iterable[str]) -> Deferred[tuple[dict[str, Located], int]]:
        """The entries under these op_ids, and the seq of the last batch that was looked at."""
        wanted = tuple(op_ids)
        return self._file.read(lambda cursor: log.find(cursor, wanted))

    def op_ids(self, after: Place, limit: int) -> Deferred[list[tuple[int, int, str]]]:
        """Place and op_id of up to `limit` entries after that place, in order: fewer are the last ones."""
        return self._file.read(lambda cursor: log.op_ids(cursor, after, limit))

    def batches(self, first_seq: int, limit_batches: int, limit_bytes: int) -> Deferred[tuple[Batch, ...]]:
        """Batches from `first_seq` on, in order, within the limits; of bytes always three batches (`log.LEAST`)."""
        return self._file.read(lambda cursor: log.read(cursor, first_seq, limit_batches, limit_bytes))

    def sales(
        self, after_seq: int, until_ms: int, upto_seq: int, limit: int
    ) -> Deferred[tuple[tuple[Sale, ...], int]]:
        """What was sold after `after_seq`, by whole batches, and the seq up to which that is all of it.

        It stops at `upto_seq`, before the first batch deciding on one later than `until_ms`, or once it has `limit`.
        """
        return self._file.read(lambda cursor: log.sales(cursor, after_seq, until_ms, upto_seq, limit))

    def orders(self, order_ids: Iterable[int]) -> Deferred[tuple[Order, ...]]:
        """Those of these orders that there are, in the order asked for."""
        wanted = tuple(order_ids)
        return self._file.read(lambda cursor: rows.orders(cursor, wanted))

    def orders_page(self, after: int, limit: int, upto_order_id: int) -> Deferred[tuple[Order, ...]]:
        """Up to `limit` orders with after < id <= upto_order_id, by id."""
        return self._file.read(lambda cursor: rows.orders_page(cursor, after, limit, upto_order_id))

    def copy_to(self, path: str) -> Deferred[None]:
        """Write the database as of one moment to this new file, while work goes on. One copy at a time.

        Not flushed. Fails with BackupFailed, which harms nothing; half a copy may be there then.
        """
        return self._file.beside(lambda connection, pause: backup.copy(connection, path, pause))

    def close(self) -> Deferred[None]:
        """Finish what stands in line, close the file and let another process have it. May be called again."""
        return self._file.close()


def _identity(cursor: sqlite3.Cursor, seq: int) -> Identity:
    batch = cursor.execute("SELECT hash FROM batches WHERE seq = ?", (seq,)).fetchone()
    return Identity(fetch(cursor, "cluster_id"), fetch(cursor, "incarnation") or 0, batch[0] if batch else None)


def _boot(cursor: sqlite3.Cursor, tier: Tier, window: int, least: int, trusted: bool) -> Boot:
    previous = fetch(cursor, "incarnation") or 0
    incarnation = max(previous + 1, least)
    put(cursor, "incarnation", incarnation)
    if not trusted:
        put(cursor, "member", 0)
    view = fetch(cursor, "view")
    return Boot(
        incarnation,
        previous if trusted else 0,
        None if view is None else _decode_view(view),
        bool(fetch(cursor, "member")),
        log.newest(cursor, window),
        rows.load(cursor, tier),
        rows.load_undo(cursor, tier),
    )
