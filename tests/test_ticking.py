"""Ticks of one process share their wake-ups where that is asked for."""

from itertools import pairwise

from twisted.internet.task import Clock

from pygmy.ticking import Ticking


def moments(clock: Clock, intervals: list[float]) -> list[list[float]]:
    """When each of some loops, which start one after the other, ticks."""
    ticked: list[list[float]] = [[] for _ in intervals]
    for interval, times in zip(intervals, ticked, strict=True):
        Ticking(lambda times=times: times.append(round(clock.seconds(), 3)), clock, interval).startService()  # type: ignore[misc]
        clock.advance(0.07)
    clock.pump([0.01] * 400)
    return ticked


def test_ticks_come_together_and_none_is_left_out() -> None:
    clock = Clock()
    clock.wake_ups_are_shared = True  # type: ignore[attr-defined]
    quick, slow, other = moments(clock, [0.25, 1.0, 1.0])
    assert slow[2:] == other[2:]
    assert set(slow[2:]) <= set(quick)
    for times, interval in ((quick, 0.25), (slow, 1.0)):
        gaps = [after - before for before, after in pairwise(times)]
        assert max(gaps) <= interval + 0.011


def test_elsewhere_each_keeps_the_moment_at_which_it_was_started() -> None:
    _, slow, other = moments(Clock(), [0.25, 1.0, 1.0])
    assert not set(slow) & set(other)
