"""Group commit: whatever waits while a transaction runs goes into the next one, and all of it shares one fsync."""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import chain
from typing import Any, Generic, TypeVar

from msgspec import MsgspecError
from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from pygmy.database.errors import StoreBroken
from pygmy.database.longjob import Pause
from pygmy.database.pool import OneConnection
from pygmy.logs import Logger

log = Logger()
T = TypeVar("T")
Work = Callable[[sqlite3.Cursor], T]
Observer = Callable[[int, float], None]


class Job(Generic[T]):
    """One piece of work on the file."""

    __slots__ = ("done", "work", "writes")

    def __init__(self, work: Work[T], writes: bool) -> None:
        self.work = work
        self.writes = writes
        self.done: Deferred[T] = Deferred()


class GroupCommit:
    """A single line of reads and writes, first in, first out.

    A read sees every write that stood in line before it and none after it, and is answered only when those are
    durable.  The first error of SQLite's, or of a write, breaks the line for good: its whole transaction is
    rolled back, and all that waits and all that comes fails with StoreBroken.
    """

    def __init__(self, pool: OneConnection, path: str, now: Callable[[], float], observe: Observer) -> None:
        self._pool = pool
        self._path = path
        self._now = now
        self._observe = observe
        self._waiting: list[Job[Any]] = []
        self._under_way: list[Job[Any]] = []
        self._idle: list[Deferred[None]] = []
        self._busy = False
        self._refusal = ""

    @property
    def pending(self) -> int:
        """How many writes are not durable yet."""
        return sum(job.writes for job in chain(self._under_way, self._waiting))

    def submit(self, work: Work[T], *, writes: bool) -> Deferred[T]:
        """Put work in line; fires with what it returns, after COMMIT."""
        if self._refusal:
            return fail(StoreBroken(self._refusal))
        job = Job(work, writes)
        self._waiting.append(job)
        if not self._busy:
            self._busy = True
            Deferred.fromCoroutine(self._drain()).addErrback(
                lambda failure: log.failure("the line of {path} stopped", failure, path=self._path)
            )
        return job.done

    def beside(self, work: Callable[[sqlite3.Connection, Pause], T]) -> Deferred[T]:
        """Run work(connection, pause) beside the line, which moves on at each pause(). One at a time.

        Its failure breaks nothing. When the line breaks or is shut, the next pause raises Abandoned.
        """
        return fail(StoreBroken(self._refusal)) if self._refusal else self._pool.run_long(work)

    def shut(self, why: str) -> Deferred[None]:
        """Take no more work; fires when what stands in line is done."""
        self._refusal = self._refusal or f"{self._path}: {why}"
        self._pool.end_long(self._refusal)
        done: Deferred[None] = Deferred()
        self._idle.append(done)
        self._tell_idle()
        return done

    async def _drain(self) -> None:
        try:
            while self._waiting:
                await self._run_next()
        finally:
            self._busy = False
            self._tell_idle()

    async def _run_next(self) -> None:
        group, self._waiting = self._waiting, []
        self._under_way = group
        started = self._now()
        try:
            outcomes = await self._pool.run(lambda connection: run_group(connection, group))
        except Exception as error:
            self._break(error)
            return
        self._under_way = []
        self._report(group, self._now() - started)
        for job, outcome in zip(group, outcomes, strict=True):
            job.done.callback(outcome)

    def _report(self, group: Sequence[Job[Any]], seconds: float) -> None:
        writes = sum(job.writes for job in group)
        if writes:
            try:
                self._observe(writes, seconds)
            except Exception:
                log.failure("a commit could not be counted")

    def _break(self, error: Exception) -> None:
        self._refusal = f"{self._path}: {error}"
        log.critical("the store is broken: {why}", why=self._refusal)
        self._pool.end_long(self._refusal)
        lost, self._under_way, self._waiting = self._under_way + self._waiting, [], []
        for job in lost:
            broken = StoreBroken(self._refusal)
            broken.__cause__ = error
            job.done.errback(broken)

    def _tell_idle(self) -> None:
        if not self._busy:
            told, self._idle = self._idle, []
            for done in told:
                done.callback(None)


def run_group(connection: sqlite3.Connection, group: Sequence[Job[Any]]) -> list[Any]:
    """Do all the work of the group, in order, in one transaction if any of it writes; what each returned.

    A read that fails by itself yields a Failure in its place. Runs in the connection's thread.
    """
    with closing(connection.cursor()) as cursor:
        if not any(job.writes for job in group):
            return [_attempt(job, cursor) for job in group]
        cursor.execute("BEGIN IMMEDIATE")
        try:
            outcomes = [_attempt(job, cursor) for job in group]
            cursor.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                cursor.execute("ROLLBACK")
            raise
        return outcomes


def _attempt(job: Job[Any], cursor: sqlite3.Cursor) -> Any:
    try:
        return job.work(cursor)
    except (sqlite3.Error, MsgspecError, StoreBroken):
        raise
    except Exception:
        if job.writes:
            raise
        return Failure()
