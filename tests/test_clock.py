"""Time: what is set by people or by the network must not hold up a node."""

from twisted.internet.pollreactor import PollReactor

from pygmy.clock import boottime, count_steadily


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
