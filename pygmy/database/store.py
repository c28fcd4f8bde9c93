"""A replica's database, as its driver sees it: Deferreds that fire once what they stand for is on disk."""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.python.threadpool import ThreadPool

from pygmy.clock import boottime
from pygmy.database import log, rows, schema
from pygmy.database.errors import StoreBroken, StoreError
from pygmy.database.groups import GroupCommit, Observer
from pygmy.database.lock import FileLock
from pygmy.database.log import Located
from pygmy.database.pool import OneConnection
from pygmy.database.rows import Undo
from pygmy.messages.internal import Sale
from pygmy.messages.operations import Change, Order, Row, Tier
from pygmy.messages.replication import Batch, View

__all__ = ["Boot", "Located", "Store", "Undo"]

T = TypeVar("T")
_decode_view = msgspec.json.Decoder(View).decode


class Boot(Struct, frozen=True):
    """What a replica starts from.

    `incarnation` grows from start to start. `member`: this disk has taken part in a view; it is not a new one.
    `last` are the newest batches, in order. `rows` and `undo` hold marks and, in the catalog, all books (removed
    ones too); orders stay on disk.
    """

    incarnation: int
    view: View | None
    member: bool
    last: tuple[Batch, ...]
    rows: tuple[Row, ...]
    undo: tuple[Undo, ...]


class Store:
    """One SQLite file: everything asked of it is done in the order asked, by one thread (see `GroupCommit`).

    The first failure is final: it and all later calls fail with StoreBroken, and what was not confirmed may or
    may not be on disk; the owner should end the process.
    """

    def __init__(self, tier: Tier, pool: OneConnection, lock: FileLock | None, line: GroupCommit) -> None:
        """For `open` only."""
        self._tier = tier
        self._pool = pool
        self._lock = lock
        self._line = line
        self._closed: Deferred[None] | None = None

    @classmethod
    def open(
        cls,
        path: str,
        tier: Tier,
        reactor: Any,
        *,
        now: Callable[[], float] = boottime,
        observe: Observer = lambda writes, seconds: None,
        threads: ThreadPool | None = None,
        steps: schema.Steps | None = None,
    ) -> "Deferred[Store]":
        """Open or create the file, alone, and bring its schema up to date.

        `observe` hears of each transaction how many writes shared it and how many seconds (of `now`) it took.
        Fails with StoreLocked, StoreMismatch or StoreBroken, having let go of everything.
        `threads` and `steps` take the place of the pool's thread and of the packaged schema in tests.
        """
        pool = OneConnection(path, reactor, threads)
        lock = None if path == ":memory:" else FileLock(path)
        store = cls(tier, pool, lock, GroupCommit(pool, path, now, observe))
        return Deferred.fromCoroutine(store._open(path, schema.steps(tier) if steps is None else steps))

    @property
    def pending(self) -> int:
        """How many writes are not durable yet."""
        return self._line.pending

    @property
    def oldest(self) -> float | None:
        """Since when (by `now`) the oldest of them waits; None: there is none."""
        return self._line.oldest

    def boot(self, window: int = 2, least: int = 1) -> Deferred[Boot]:
        """Count this start, durably, and load what a replica starts from, with the last `window` batches.

        The incarnation is at least `least`: a disk that was lost cannot tell which ones there have been.
        """
        return self._line.submit(lambda cursor: _boot(cursor, self._tier, window, least), writes=True)

    def commit(self, cut: int, batches: Sequence[Batch], changes: Sequence[Change]) -> Deferred[None]:
        """Drop what has seq >= cut (head + 1: nothing), append the batches, write the changed rows.

        Fires once it is on disk. Only the last batch can be dropped. `changes`: per batch each touched row once,
        in order. Without batches it is a barrier: it fires when all that was asked before is on disk.
        """
        return self._line.submit(lambda cursor: log.commit(cursor, self._tier, cut, batches, changes), writes=True)

    def save_view(self, view: View, member: bool) -> Deferred[None]:
        """Keep the newest view that this replica knows, and whether it has taken part in one, for its next boot."""
        text = msgspec.json.encode(view).decode()

        def save(cursor: sqlite3.Cursor) -> None:
            _set(cursor, "view", text)
            _set(cursor, "member", int(member))

        return self._line.submit(save, writes=True)

    def find(self, op_ids: Iterable[str]) -> Deferred[tuple[dict[str, Located], int]]:
        """The entries under these op_ids, and the seq of the last batch that was looked at."""
        wanted = tuple(op_ids)
        return self._read(lambda cursor: log.find(cursor, wanted))

    def batches(self, first_seq: int, limit_batches: int, limit_bytes: int) -> Deferred[tuple[Batch, ...]]:
        """Batches from `first_seq` on, in order, within the limits; of bytes always three batches (`log.LEAST`)."""
        return self._read(lambda cursor: log.read(cursor, first_seq, limit_batches, limit_bytes))

    def sales(
        self, after_seq: int, until_ms: int, upto_seq: int, limit: int
    ) -> Deferred[tuple[tuple[Sale, ...], int]]:
        """What was sold after `after_seq`, by whole batches, and the seq up to which that is all of it.

        It stops at `upto_seq`, before the first batch deciding on one later than `until_ms`, or once it has `limit`.
        """
        return self._read(lambda cursor: log.sales(cursor, after_seq, until_ms, upto_seq, limit))

    def orders(self, order_ids: Iterable[int]) -> Deferred[tuple[Order, ...]]:
        """Those of these orders that there are, in the order asked for."""
        wanted = tuple(order_ids)
        return self._read(lambda cursor: rows.orders(cursor, wanted))

    def orders_page(self, after: int, limit: int, upto_order_id: int) -> Deferred[tuple[Order, ...]]:
        """Up to `limit` orders with after < id <= upto_order_id, by id."""
        return self._read(lambda cursor: rows.orders_page(cursor, after, limit, upto_order_id))

    def close(self) -> Deferred[None]:
        """Finish what stands in line, close the file and let another process have it. May be called again."""
        if self._closed is None:
            self._closed = Deferred()
            Deferred.fromCoroutine(self._close()).chainDeferred(self._closed)
        return self._closed_too(self._closed)

    @staticmethod
    def _closed_too(closed: Deferred[None]) -> Deferred[None]:
        """One more Deferred that ends as this one does."""
        waiter: Deferred[None] = Deferred()

        def tell(result: Any) -> Any:
            waiter.callback(result)
            return result

        closed.addBoth(tell)
        return waiter

    def _read(self, work: Callable[[sqlite3.Cursor], T]) -> Deferred[T]:
        return self._line.submit(work, writes=False)

    async def _open(self, path: str, steps: schema.Steps) -> "Store":
        try:
            if self._lock is not None:
                await self._pool.in_thread(self._lock.acquire)
            await self._pool.runWithConnection(schema.prepare, path, self._tier, steps)
        except Exception as error:
            await self.close()
            if isinstance(error, StoreError):
                raise
            raise StoreBroken(f"{path} cannot be opened: {error}") from error
        return self

    async def _close(self) -> None:
        await self._line.shut("the store is closed")
        await self._pool.in_thread(self._pool.hang_up)
        if self._lock is not None:
            await self._pool.in_thread(self._lock.release)
        self._pool.close()


def _boot(cursor: sqlite3.Cursor, tier: Tier, window: int, least: int) -> Boot:
    incarnation = max((_get(cursor, "incarnation") or 0) + 1, least)
    _set(cursor, "incarnation", incarnation)
    view = _get(cursor, "view")
    return Boot(
        incarnation,
        None if view is None else _decode_view(view),
        bool(_get(cursor, "member")),
        log.newest(cursor, window),
        rows.load(cursor, tier),
        rows.load_undo(cursor, tier),
    )


def _get(cursor: sqlite3.Cursor, key: str) -> Any:
    found = cursor.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if found is None else found[0]


def _set(cursor: sqlite3.Cursor, key: str, value: int | str) -> None:
    cursor.execute("INSERT OR REPLACE INTO meta VALUES (?,?)", (key, value))
