"""The protocol's times and bounds, in seconds and counts. All nodes of a cluster must agree on them."""

from msgspec import Struct


class Timing(Struct, frozen=True):
    """See docs/protocol.md for what each is for."""

    lease: float = 1.0  # L
    heartbeat: float = 0.25
    silence: float = 1.25  # TS: this long unheard, a member is removed
    drift: float = 0.02  # how far clock rates may differ
    recovery_wait: float = 5.0  # V7: how long a source waits for the other sources
    register_poll: float = 1.0
    calm_poll: float = 15.0  # the same, while every member hears every other one in the view that it knows
    recheck: float = 0.5  # a change whose answer is lost is read again after this
    round_life: float = 0.5  # a round of the register that takes longer is given up
    status_fresh: float = 1.0  # how long the answer to a probe counts
    batch: int = 256  # operations in a batch
    queue: int = 4096  # operations waiting at a replica
    chunk: int = 2048  # books or operations in one answer of a sync
    window: int = 8192  # entries of the log kept in memory


DEFAULT = Timing()
