"""Linearizability against a witness: the order of a log.

The log names the order of all writes.  What is left to find is a gap between two writes for each read, such that
everything agrees with real time: whatever was answered before something else was asked stands before it.  Taking
for each read, in the order of asking, the earliest gap that is left open to it finds such gaps if there are any:
every constraint only ever says "not earlier than".  One sort and one sweep: O(n log n).
"""

from collections.abc import Callable, Iterable

INFINITY = float("inf")

Earliest = Callable[[int], int | None]
"""The first gap, from this one on, in which a read saw the truth (None: there is none). Gap g follows write g."""


class Event:
    """Something with a place in the log's order: `place` for a write, `earliest` for a read. str(what) names it."""

    __slots__ = ("answered", "earliest", "invoked", "place", "what")

    def __init__(
        self, what: object, invoked: float, answered: float | None, place: int = 0, earliest: Earliest | None = None
    ) -> None:
        self.what = what
        self.invoked = invoked
        self.answered = INFINITY if answered is None else answered
        self.place = place
        self.earliest = earliest


def sweep(events: Iterable[Event]) -> str | None:
    """What contradicts real time, in one sentence; None if nothing does."""
    moments: list[tuple[float, int, int, Event]] = []
    for number, event in enumerate(events):
        moments.append((event.invoked, 0, number, event))
        if event.answered < INFINITY:
            moments.append((event.answered, 1, number, event))
    moments.sort()  # by time; of what happens at one moment, asking comes first
    reached: int = 0
    by: object = "the beginning"  # every answer so far stands at or before this place
    for _, answered, _, event in moments:
        if answered:
            if event.place > reached:
                reached, by = event.place, event.what
        elif event.earliest is None:
            if event.place <= reached:
                return f"{event.what} was asked for after the answer of {by}, but stands before it"
        else:
            gap = event.earliest(reached)
            if gap is None:
                return f"{event.what} is older than {by}, which was answered before it was asked for"
            event.place = gap
    return None
