"""One coroutine under `task.react`, and its result back."""

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import click
from twisted.internet import task
from twisted.internet.defer import CancelledError, Deferred

from pygmy.cli.failures import INTERRUPTED

T = TypeVar("T")


def react(main: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
    """Run `main(reactor)`: its result, or its exception. Ctrl-C and SIGTERM cancel it, so that it can clean up.

    A coroutine that lets the cancellation through ends the command with exit code 130.
    """
    results: list[T] = []
    failures: list[Exception] = []

    async def recorded(reactor: Any) -> None:
        try:
            results.append(await main(reactor))
        except CancelledError:
            pass
        except Exception as error:
            failures.append(error)

    def cancellable(reactor: Any) -> "Deferred[None]":
        done = Deferred.fromCoroutine(recorded(reactor))
        reactor.addSystemEventTrigger("before", "shutdown", done.cancel)
        return done

    try:
        task.react(cancellable)
    except SystemExit as end:
        if end.code:
            raise
    if failures:
        raise failures[0]
    if not results:
        raise click.exceptions.Exit(INTERRUPTED)
    return results[0]
