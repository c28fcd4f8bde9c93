"""Time: what is set by people or by the network must not hold up a node."""

from twisted.internet.pollreactor import PollReactor

from pygmy.clock import boottime, count_steadily, sleep_through_cancelled


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
