"""A process that is given all its input at once, and answers in lines."""

import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from pygmy.deploy.onhost.place import LAST_LINES, MARK, Json

MOST_KEPT = 20_000
Say = Callable[[str], None]


class Child(ProcessProtocol):
    """A process that is given its input at once. `code`: its exit code, negative: it was killed."""

    def __init__(self, stdin: bytes, say: Say) -> None:
        self.code = 0
        self.done: Json | None = None
        self.failed: Json | None = None
        self.ended: Deferred[None] = Deferred()
        self._stdin = stdin
        self._say = say
        self._rest = b""
        self._other = b""

    def connectionMade(self) -> None:
        """Give it what it is to read."""
        if self.transport is not None:
            self.transport.write(self._stdin)
            self.transport.closeStdin()

    def outReceived(self, data: bytes) -> None:
        """Lines with MARK are answers; what else a login shell may have to say is kept."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.startswith(MARK.encode()):
                self._take(json.loads(line[len(MARK) :]))
            else:
                self.errReceived(line + b"\n")

    def _take(self, answer: Json) -> None:
        if "said" in answer:
            self._say(answer["said"])
        elif "done" in answer:
            self.done = answer["done"]
        else:
            self.failed = answer

    def errReceived(self, data: bytes) -> None:
        """Keep the end of it."""
        self._other = (self._other + data)[-MOST_KEPT:]

    def last_lines(self) -> list[str]:
        """Of what it said besides answers."""
        return (self._other + self._rest).decode("utf-8", "replace").strip().splitlines()[-LAST_LINES:]

    def trouble(self, seconds: float) -> str:
        """Why there is no answer."""
        if self.code < 0:
            return f"no answer within {seconds:g} s"
        return "the connection was lost" if self.code == 255 else f"it ended with exit code {self.code}"

    def processEnded(self, reason: Failure) -> None:
        """Tell."""
        status: Any = reason.value
        self.code = -1 if status.signal else status.exitCode or 0
        self.ended.callback(None)


async def run(
    reactor: Any,
    argv: Sequence[str],
    stdin: bytes,
    seconds: float,
    say: Say = lambda text: None,
    errors: Path | None = None,
) -> Child:
    """Run a process to its end, or for so many seconds. Its messages go to the file `errors`, if one is named."""
    child = Child(stdin, say)
    files: dict[int, Any] = {0: "w", 1: "r", 2: "r"}
    if errors is not None:
        files[1] = files[2] = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        process = reactor.spawnProcess(child, argv[0], argv, env=dict(os.environ), childFDs=files)
    finally:
        if errors is not None:
            os.close(files[1])
    limit = reactor.callLater(seconds, process.signalProcess, "KILL")
    try:
        await child.ended
    finally:
        if limit.active():
            limit.cancel()
        with suppress(ProcessExitedAlready):  # it is still there if we were told to stop waiting
            process.signalProcess("KILL")
    return child
