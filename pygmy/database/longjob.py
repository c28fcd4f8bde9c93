"""A long job in a connection's thread that lets others go first: at each of its pauses, whatever waits is done."""

import sqlite3
from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")
Pause = Callable[[], None]


class Abandoned(Exception):
    """The job was told to end at its next pause; str() says why."""


class LongJob:
    """What goes on beside one long job. `pause` belongs to the connection's thread, the rest to the reactor's."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._waiting: SimpleQueue[tuple[Deferred[Any], Callable[[sqlite3.Connection], Any]]] = SimpleQueue()
        self._end = ""

    def enter(self, work: Callable[[sqlite3.Connection], T]) -> Deferred[T]:
        """Have work(connection) done at the next pause; fires with what it returns or raises."""
        done: Deferred[T] = Deferred()
        self._waiting.put((done, work))
        return done

    def end(self, why: str) -> None:
        """Make the next pause raise Abandoned, once all that waits there is done."""
        self._end = self._end or why

    def pause(self, connection: sqlite3.Connection) -> None:
        """Do what waits."""
        while (first := self._next()) is not None:
            done, work = first
            try:
                tell = partial(done.callback, work(connection))
            except Exception:
                tell = partial(done.errback, Failure())
            self._reactor.callFromThread(tell)
        if self._end:
            raise Abandoned(self._end)

    def left_over(self, run: Callable[[Callable[[sqlite3.Connection], Any]], Deferred[Any]]) -> None:
        """The job is over: `run` gets what has come since its last pause."""
        while (first := self._next()) is not None:
            done, work = first
            run(work).chainDeferred(done)

    def _next(self) -> tuple[Deferred[Any], Callable[[sqlite3.Connection], Any]] | None:
        try:
            return self._waiting.get_nowait()
        except Empty:
            return None
