"""A node's turn of the reactor does what Twisted's does, but for a log context that nobody reads."""

import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.pollreactor import PollReactor
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from pygmy.tap.polling import poll_plainly

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="epoll is Linux's")


@pytest.fixture(params=["plain", "Twisted's"])
def reactor(request: pytest.FixtureRequest) -> Iterator[Any]:
    from twisted.internet.epollreactor import EPollReactor

    made = EPollReactor()
    if request.param == "plain":
        poll_plainly(made)
        assert made.doIteration.__module__ == "pygmy.tap.polling"
    made.pipes = []
    yield made
    made.removeAll()
    made._poller.close()
    for pipe in made.pipes:
        pipe.close()


class Pipe:
    """Something to read is in it."""

    def __init__(self, reactor: Any, read: Any) -> None:
        self.source, self.sink = os.pipe()
        os.write(self.sink, b"x")
        self.read = read
        self.reads = 0
        self.lost: list[Any] = []
        reactor.pipes.append(self)
        reactor.addReader(self)

    def fileno(self) -> int:
        return self.source

    def logPrefix(self) -> str:
        return "a pipe"

    def doRead(self) -> Any:
        self.reads += 1
        return self.read(self)

    def connectionLost(self, reason: Failure) -> None:
        self.lost.append(reason.value)

    def close(self) -> None:
        os.close(self.source)
        os.close(self.sink)


def test_who_has_something_to_read_reads_it(reactor: Any) -> None:
    pipes = [Pipe(reactor, lambda pipe: os.read(pipe.source, 1) and None) for _ in range(3)]
    reactor.doIteration(1)
    reactor.doIteration(0)
    assert [pipe.reads for pipe in pipes] == [1, 1, 1]


def test_a_reader_that_fails_is_lost_and_logged_and_keeps_nobody_from_reading(reactor: Any) -> None:
    def fail(pipe: Pipe) -> None:
        raise RuntimeError("swordfish")

    pipes = [Pipe(reactor, read) for read in (fail, lambda _: CONNECTION_DONE, lambda pipe: None, fail)]
    with capturedLogs() as logged:
        reactor.doIteration(1)
    assert [pipe.reads for pipe in pipes] == [1, 1, 1, 1]
    assert [type(lost) for pipe in pipes for lost in pipe.lost] == [RuntimeError, ConnectionDone, RuntimeError]
    assert ["swordfish" in str(event["failure"]) for event in logged if event.get("isError")] == [True, True]


def test_a_reader_that_fails_as_it_is_lost_keeps_nobody_from_reading_either(reactor: Any) -> None:
    def lose(reason: Failure) -> None:
        raise RuntimeError("swordfish")

    pipes = [Pipe(reactor, lambda _: CONNECTION_DONE) for _ in range(3)]
    for pipe in pipes:
        pipe.connectionLost = lose  # type: ignore[method-assign]
    with capturedLogs() as logged:
        reactor.doIteration(1)
    assert [pipe.reads for pipe in pipes] == [1, 1, 1]
    assert ["swordfish" in str(event["failure"]) for event in logged if event.get("isError")] == [True] * 3


def test_who_was_taken_out_in_this_very_turn_is_not_called(reactor: Any) -> None:
    def alone(pipe: Pipe) -> None:
        for other in pipes:
            reactor.removeReader(other)

    pipes = [Pipe(reactor, alone) for _ in range(3)]
    reactor.doIteration(1)
    assert sum(pipe.reads for pipe in pipes) == 1


def test_only_twisted_s_epoll_reactor_that_does_not_run_yet_is_changed() -> None:
    from twisted.internet.epollreactor import EPollReactor

    for reactor, running in ((PollReactor(), False), (EPollReactor(), True)):
        reactor.running = running
        before = reactor.doIteration
        poll_plainly(reactor)
        assert reactor.doIteration == before
