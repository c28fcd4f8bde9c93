"""A store whose Deferreds have fired by the time its methods return: no thread, no reactor."""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from pygmy.clock import boottime
from pygmy.database import Store
from pygmy.database.schema import Steps
from pygmy.messages.operations import Tier


class InlineReactor:
    """As much of a reactor as adbapi needs: what it is asked to call, it calls at once."""

    def callWhenRunning(self, function: Callable[..., object], *args: Any) -> None:
        function(*args)

    def callFromThread(self, function: Callable[..., object], *args: Any) -> None:
        function(*args)

    def addSystemEventTrigger(self, *args: Any) -> int:
        return 1

    def removeSystemEventTrigger(self, trigger: int) -> None:
        pass


class InlineThreads:
    """A thread pool that runs everything in the caller's thread, at once."""

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass

    def callInThread(self, function: Callable[..., object], *args: Any) -> None:
        function(*args)

    def callInThreadWithCallback(
        self, on_result: Any, function: Callable[..., object], *args: Any, **kwargs: Any
    ) -> None:
        try:
            result, success = function(*args, **kwargs), True
        except Exception:
            result, success = Failure(), False
        on_result(success, result)


def opening_inline_store(
    path: object, tier: Tier, *, now: Callable[[], float] = boottime, steps: Steps | None = None
) -> Deferred[Store]:
    """As `inline_store`, but the Deferred itself, for those that expect it to fail."""
    threads: Any = InlineThreads()
    return Store.open(str(path), tier, InlineReactor(), now=now, threads=threads, steps=steps)


def inline_store(path: object, tier: Tier, **options: Any) -> Store:
    """The store in the file at `path` (":memory:" for none), opened; raises what opening it raised."""
    return now_of(opening_inline_store(path, tier, **options))


def now_of(deferred: Deferred[Any]) -> Any:
    """What a Deferred has fired with: raises its failure, or AssertionError if it has not fired."""
    results: list[Any] = []
    deferred.addBoth(results.append)
    assert results, "the Deferred has not fired"
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]
