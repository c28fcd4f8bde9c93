"""adbapi with one connection in one thread, which alone ever calls SQLite, from opening to closing."""

import sqlite3
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from twisted.enterprise.adbapi import ConnectionPool
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from pygmy.database.longjob import LongJob, Pause

T = TypeVar("T")

BUSY_SECONDS = 5.0
SETTINGS = (
    # Every member vouches for each ack, so a commit is on the platter before anyone hears of it.
    "PRAGMA synchronous = FULL",
    "PRAGMA cache_size = -8192",  # KiB; what does not fit is in the cache of the system
    "PRAGMA wal_autocheckpoint = 4000",
    "PRAGMA journal_size_limit = 67108864",
    "PRAGMA temp_store = MEMORY",
)


def configure(connection: sqlite3.Connection) -> None:
    """What each connection is set to, whatever the file says."""
    try:
        for setting in SETTINGS:
            connection.execute(setting)
    except BaseException:
        connection.close()
        raise


class OneConnection(ConnectionPool):
    """A pool of exactly one connection: older SQLite can damage a WAL that two connections reset.

    `threads` None: a thread of its own; tests pass one that runs everything at once. Statements run outside any
    transaction until they begin one (`isolation_level=None`), so adbapi's own commit after each interaction
    finds nothing to commit.
    """

    def __init__(self, path: str, reactor: Any, threads: ThreadPool | None = None) -> None:
        self._threads = threads
        self._long: LongJob | None = None
        super().__init__(
            "sqlite3",
            path,
            cp_reactor=reactor,
            cp_min=1,
            cp_max=1,
            cp_openfun=configure,
            check_same_thread=False,
            isolation_level=None,
            timeout=BUSY_SECONDS,
        )
        self._choose_threads()

    def start(self) -> None:
        """Start the thread; a reactor that runs already gets here before __init__ has ended."""
        self._choose_threads()
        super().start()

    def _choose_threads(self) -> None:
        if self._threads is not None:
            self.threadpool = self._threads

    def run(self, work: Callable[[sqlite3.Connection], T]) -> Deferred[T]:
        """Run work(connection) in the connection's thread: in its turn, or in a pause of a long job's."""
        if self._long is not None:
            return self._long.enter(work)
        done: Deferred[T] = self.runWithConnection(work)
        return done

    def run_long(self, work: Callable[[sqlite3.Connection, Pause], T]) -> Deferred[T]:
        """Run work(connection, pause) there, one at a time: other work is done whenever it calls pause()."""
        assert self._long is None
        job = self._long = LongJob(self._reactor)
        done: Deferred[T] = self.runWithConnection(
            lambda connection: work(connection, partial(job.pause, connection))
        )
        return done.addBoth(self._long_ended, job)

    def _long_ended(self, result: T, job: LongJob) -> T:
        self._long = None
        job.left_over(self.runWithConnection)
        return result

    def end_long(self, why: str) -> None:
        """Make a long job that is under way fail with Abandoned at its next pause."""
        if self._long is not None:
            self._long.end(why)

    def in_thread(self, function: Callable[[], T]) -> Deferred[T]:
        """Run the function in the connection's thread, without a connection."""
        done: Deferred[T] = deferToThreadPool(self._reactor, self.threadpool, function)
        return done

    def hang_up(self) -> None:
        """Close the connection, if there is one. To be called in its thread."""
        for connection in list(self.connections.values()):
            self.disconnect(connection)

    def finalClose(self) -> None:
        """Stop the thread; adbapi's own would close the connection from the reactor's."""
        self.shutdownID = None
        self.end_long("the reactor has stopped")
        self.threadpool.callInThread(self.hang_up)
        self.threadpool.stop()
        self.running = False
