"""What a node tells of how its tier is: for people and for monitoring. No decision is taken by any of it."""

from msgspec import Struct, field


class Head(Struct, frozen=True):
    """The end of a log: the version of its last batch, and the hash that vouches for all of it (hex)."""

    epoch: int
    seq: int
    hash: str


class Recovery(Struct, frozen=True):
    """How a log is brought up to date from another node's, or was when that happened last.

    `batches`, `rows` and `bytes` (on the wire) have been taken over so far, in `seconds`.  This log ended with the
    seq `first` before, ends with `upto` now, and has to get to `of`, the end of the other one when it was last heard.
    """

    source: str = field(name="from")
    state: str
    batches: int
    rows: int
    size: int = field(name="bytes")
    seconds: float
    first: int
    upto: int
    of: int
    done: bool

    @property
    def percent(self) -> int:
        """How much of the way is done, rounded down: 100 only once all of it is."""
        if self.done:
            return 100
        way = self.of - self.first
        return min(99, 100 * (self.upto - self.first) // way) if way > 0 else 0


class Counts(Struct):
    """What has happened since the node started."""

    view_changes: int = 0
    primary_moves: int = 0
    invalidations: int = 0
    invalidations_lapsed: int = 0
    recoveries: int = 0
    recovery_batches: int = 0
    recovery_rows: int = 0
    recovery_bytes: int = 0
    recovery_seconds: float = 0.0
