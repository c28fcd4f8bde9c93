"""The reactor of a node: what is set by people or by the network does not hold it up, nor wake it for nothing."""

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

from pygmy.clock import boottime
from pygmy.reactors import at_turn_end, count_steadily, prepare, sleep_through_cancelled, turn_plainly

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="epoll is Linux's")


@pytest.fixture(params=[pytest.param("plain", marks=on_linux), pytest.param("Twisted's", marks=on_linux)])
def reactor(request: pytest.FixtureRequest) -> Iterator[Any]:
    from twisted.internet.epollreactor import EPollReactor

    made = EPollReactor()
    if request.param == "plain":
        turn_plainly(made)
        assert made.doIteration.__module__ == "pygmy.reactors"
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


# ---- turns


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


@on_linux
def test_only_twisted_s_epoll_reactor_that_does_not_run_yet_is_changed() -> None:
    from twisted.internet.epollreactor import EPollReactor

    for reactor, running in ((PollReactor(), False), (EPollReactor(), True)):
        reactor.running = running
        before = reactor.doIteration
        turn_plainly(reactor)
        assert reactor.doIteration == before


def test_what_waits_for_the_end_of_a_turn_comes_after_all_that_the_turn_brings(reactor: Any) -> None:
    order: list[str] = []

    def read(pipe: Pipe) -> None:
        os.read(pipe.source, 1)
        order.append("read")
        at_turn_end(reactor, lambda: order.append("end"))

    for _ in range(3):
        Pipe(reactor, read)
    reactor.iterate(1)
    reactor.iterate(0)  # Twisted's own turns have no end: there it is the next one
    assert order == ["read"] * 3 + ["end"] * 3


def test_what_the_end_of_a_turn_asks_for_belongs_to_it(reactor: Any) -> None:
    order: list[int] = []

    def after(number: int) -> None:
        order.append(number)
        if number < 3:
            at_turn_end(reactor, lambda: after(number + 1))

    reactor.callLater(0, after, 0)
    for _ in range(4):
        reactor.iterate(0)
    assert order == [0, 1, 2, 3]


class Poller:
    """In place of epoll: for how long each turn would have slept."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def poll(self, timeout: float, most: int) -> list[tuple[int, int]]:
        self.slept.append(timeout)
        return []


@on_linux
def test_nobody_sleeps_while_something_waits_for_the_end_of_a_turn() -> None:
    """A timer or a thread has asked for it, and what it does may set timers, and take the time of whoever reads."""
    from twisted.internet.epollreactor import EPollReactor

    made: Any = EPollReactor()
    made._poller = Poller()
    turn_plainly(made)
    called: list[str] = []
    at_turn_end(made, lambda: made.callLater(0, called.append, "timer"))
    made.doIteration(60)
    made.doIteration(60)
    assert made._poller.slept == [0, 60]
    made.runUntilCurrent()
    assert called == ["timer"]


@on_linux
def test_one_that_fails_at_the_end_of_a_turn_keeps_nobody_from_being_called() -> None:
    from twisted.internet.epollreactor import EPollReactor

    made = EPollReactor()
    turn_plainly(made)
    called: list[int] = []
    at_turn_end(made, lambda: called.append(1 // 0))
    at_turn_end(made, lambda: called.append(1))
    with capturedLogs() as logged:
        made.doIteration(0)
    assert called == [1]
    assert ["ZeroDivisionError" in str(event["failure"]) for event in logged if event.get("isError")] == [True]


# ---- time


def test_a_node_does_not_wait_for_a_wall_clock_that_was_set_back() -> None:
    reactor = PollReactor()
    count_steadily(reactor)
    called: list[float] = []
    call = reactor.callLater(0.01, lambda: called.append(boottime()))
    assert abs(call.getTime() - boottime()) < 1, "counted on another clock"
    end = boottime() + 5
    while not called and boottime() < end:
        reactor.iterate(0.01)
    assert called


def test_a_reactor_that_runs_keeps_its_clock() -> None:
    """What it has put off is due by that clock."""
    reactor = PollReactor()
    reactor.running = True
    before = reactor.seconds
    count_steadily(reactor)
    assert reactor.seconds is before


def test_a_reactor_does_not_wake_up_for_what_was_cancelled_or_put_off() -> None:
    reactor = PollReactor()
    sleep_through_cancelled(reactor)
    cancelled = [reactor.callLater(delay, print) for delay in (1, 3, 2)]
    put_off = reactor.callLater(4, print)
    reactor.callLater(100, print)
    assert 0 < reactor.timeout() <= 1
    for call in cancelled:
        call.cancel()
    assert 3 < reactor.timeout() <= 4
    put_off.delay(50)
    assert 53 < reactor.timeout() <= 54
    put_off.cancel()
    assert 99 < reactor.timeout() <= 100
    assert [call.getTime() - reactor.seconds() > 99 for call in reactor.getDelayedCalls()] == [True]


def test_calls_are_made_in_order_all_the_same() -> None:
    reactor = PollReactor()
    sleep_through_cancelled(reactor)
    made: list[int] = []
    calls = [reactor.callLater(0.001 * number, made.append, number) for number in range(200)]
    for call in calls[::2]:
        call.cancel()
    calls[1].reset(0.3)
    end = reactor.seconds() + 5
    while len(made) < 100 and reactor.seconds() < end:
        reactor.iterate(reactor.timeout())
    assert made == [*range(3, 200, 2), 1]


@on_linux
def test_a_prepared_reactor_is_all_of_this() -> None:
    from twisted.internet.epollreactor import EPollReactor

    made = EPollReactor()
    prepare(made)
    assert made.seconds is boottime
    assert made.doIteration.__module__ == made.timeout.__module__ == "pygmy.reactors"
    assert made.wake_ups_are_shared
