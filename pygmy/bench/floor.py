"""What nothing on Twisted is expected to be faster than: a protocol that writes a fixed answer to whatever comes.

`python -m pygmy.bench.floor PORT FILE [PORT FILE]...`: on each port what is in its file.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.internet.task import react

from pygmy.bench.wire import answer_to
from pygmy.private import environment, free_ports, private_directory, spawn, until


@contextmanager
def floors(answers: Sequence[bytes]) -> Iterator[list[tuple[str, int]]]:
    """A process that writes these answers: where it does, one by one."""
    with private_directory("floor") as directory:
        ports = free_ports(len(answers))
        line = [sys.executable, "-m", "pygmy.bench.floor"]
        for port, answer in zip(ports, answers, strict=True):
            file = directory / str(port)
            file.write_bytes(answer)
            line += [str(port), str(file)]
        process = spawn(line, directory, directory / "errors", environment())
        try:
            servers = [("127.0.0.1", port) for port in ports]
            until(lambda: all(answer_to(host, port, "GET", "/") for host, port in servers), "fixed answers")
            yield servers
        finally:
            process.kill()
            process.wait()


class Fixed(Protocol):
    """A connection that gets this answer to whatever comes."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def dataReceived(self, data: bytes) -> None:
        """Write it."""
        assert self.transport is not None
        self.transport.write(self._answer)


class Writing(ServerFactory):
    """All connections of a port."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def buildProtocol(self, addr: object) -> Fixed:
        """See `ServerFactory`."""
        return Fixed(self._answer)


def serve(reactor: Any, *arguments: str) -> Deferred[None]:
    """Listen, and go on until the process is killed."""
    for port, file in zip(arguments[::2], arguments[1::2], strict=True):
        reactor.listenTCP(int(port), Writing(Path(file).read_bytes()), interface="127.0.0.1")
    return Deferred()


if __name__ == "__main__":
    react(serve, sys.argv[1:])
