"""One SQLite file that one process has to itself: opened, written in one line by one thread, closed."""

import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.threadpool import ThreadPool

from pygmy.database import schema
from pygmy.database.errors import StoreBroken, StoreError
from pygmy.database.flush import flush_database
from pygmy.database.groups import GroupCommit, Observer
from pygmy.database.lock import FileLock
from pygmy.database.longjob import Pause
from pygmy.database.pool import OneConnection

T = TypeVar("T")


class DatabaseFile:
    """Everything asked of it is done in the order asked, by one thread (see `GroupCommit`).

    The first failure is final: it and all later calls fail with StoreBroken, and what was not confirmed may or
    may not be on disk; the owner should end the process. `threads` takes the place of the pool's thread in tests.
    """

    def __init__(
        self, path: str, reactor: Any, now: Callable[[], float], observe: Observer, threads: ThreadPool | None
    ) -> None:
        self.path = path
        self._pool = OneConnection(path, reactor, threads)
        self._lock = None if path == ":memory:" else FileLock(path)
        self._line = GroupCommit(self._pool, path, now, observe)
        self._closed: Deferred[None] | None = None

    @property
    def pending(self) -> int:
        """How many writes are not durable yet."""
        return self._line.pending

    def read(self, work: Callable[[sqlite3.Cursor], T]) -> Deferred[T]:
        """What `work` returns, once all that was asked before is durable."""
        return self._line.submit(work, writes=False)

    def write(self, work: Callable[[sqlite3.Cursor], T]) -> Deferred[T]:
        """What `work` returns, once it is durable itself."""
        return self._line.submit(work, writes=True)

    def beside(self, work: Callable[[sqlite3.Connection, Pause], T]) -> Deferred[T]:
        """What `work` returns, run beside the line (see `GroupCommit.beside`): its failure is its own."""
        return self._line.beside(work)

    async def open(self, kind: schema.Kind, node: str, steps: schema.Steps | None = None) -> None:
        """Open or create the file, alone, as this kind of database of this node, and bring its schema up to date.

        Raises StoreLocked, StoreMismatch or StoreBroken, having let go of everything.
        """
        try:
            if self._lock is not None:
                await self._pool.in_thread(self._lock.acquire)
                await self._pool.in_thread(lambda: flush_database(self.path))
            known = schema.steps(kind) if steps is None else steps
            await self._pool.runWithConnection(schema.prepare, self.path, kind, node, known)
        except Exception as error:
            await self.close()
            if isinstance(error, StoreError | CancelledError):
                raise
            raise StoreBroken(f"{self.path} cannot be opened: {error}") from error

    def close(self) -> Deferred[None]:
        """Finish what stands in line, close the file and let another process have it. May be called again."""
        if self._closed is None:
            self._closed = Deferred()
            Deferred.fromCoroutine(self._close()).chainDeferred(self._closed)
        return _too(self._closed)

    async def _close(self) -> None:
        await self._line.shut("the store is closed")
        await self._pool.in_thread(self._pool.hang_up)
        if self._lock is not None:
            await self._pool.in_thread(self._lock.release)
        self._pool.close()


def _too(closed: Deferred[None]) -> Deferred[None]:
    """One more Deferred that ends as this one does."""
    waiter: Deferred[None] = Deferred()

    def tell(result: Any) -> Any:
        waiter.callback(result)
        return result

    closed.addBoth(tell)
    return waiter
