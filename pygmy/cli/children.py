"""The nodes that `pygmy up` runs as its child processes."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from pygmy.cli.nodes import Store
from pygmy.cluster import Node

MOST_ERRORS = 10_000
STOPS = (signal.SIGTERM, signal.SIGINT)  # which a node that has stopped passes on to itself


class Child(ProcessProtocol):
    """One node as a child process.

    `ended`: how it ended, in words; None while it runs. `stopped`: it was told to end, and did.
    """

    def __init__(self, node: Node, on_end: "Callable[[Child], None]") -> None:
        self.node = node
        self.ended: str | None = None
        self.stopped = False
        self.errors = b""
        self.gone: Deferred[None] = Deferred()
        self._on_end = on_end

    def errReceived(self, data: bytes) -> None:
        """Keep what it says before it has a log."""
        self.errors = (self.errors + data)[-MOST_ERRORS:]

    def processEnded(self, reason: Failure) -> None:
        """Tell."""
        status: Any = reason.value
        self.stopped = status.signal in STOPS or status.exitCode == 0
        self.ended = f"killed by signal {status.signal}" if status.signal else f"exit code {status.exitCode}"
        self._on_end(self)
        self.gone.callback(None)

    def signal(self, name: str) -> None:
        """Send TERM or KILL, unless it has ended."""
        if self.ended is None and self.transport is not None:
            self.transport.signalProcess(name)


def spawn(reactor: Any, store: Store, nodes: Sequence[Node], on_end: Callable[[Child], None]) -> Iterator[Child]:
    """Start one node after the other; `on_end` is called as each one ends.

    Their stdout goes to /dev/null, for their logs are followed: a pipe would stop the store with whoever reads it.
    """
    null = os.open(os.devnull, os.O_RDWR)
    try:
        for node in nodes:
            yield _spawn(reactor, store, node, on_end, null)
    finally:
        os.close(null)


def _spawn(reactor: Any, store: Store, node: Node, on_end: Callable[[Child], None], null: int) -> Child:
    child = Child(node, on_end)
    command = store.command(node, daemon=False)
    reactor.spawnProcess(child, command[0], command, env=dict(os.environ), childFDs={0: null, 1: null, 2: "r"})
    return child


def stop(reactor: Any, children: Sequence[Child], seconds: float) -> "Deferred[Any]":
    """SIGTERM to all; SIGKILL to those that have not ended after so many seconds. Fires when all have ended."""
    for child in children:
        child.signal("TERM")
    last_resort = reactor.callLater(seconds, kill, children)
    ended = DeferredList([child.gone for child in children])
    ended.addBoth(lambda _: last_resort.cancel() if last_resort.active() else None)
    return ended


def kill(children: Sequence[Child]) -> None:
    """SIGKILL, to our own children only."""
    for child in children:
        child.signal("KILL")
