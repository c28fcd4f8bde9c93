"""The eleven measurements, in the order in which they are taken."""

from pygmy.bench.measurements import (
    balance,
    cache,
    consistency,
    memory,
    miss,
    recovery,
    replicas,
    sizes,
    throughput,
    turns,
    zipf,
)
from pygmy.bench.measuring import Measurement

ALL: tuple[Measurement, ...] = (
    cache.MEASUREMENT,
    consistency.MEASUREMENT,
    miss.MEASUREMENT,
    throughput.MEASUREMENT,
    turns.MEASUREMENT,
    zipf.MEASUREMENT,
    balance.MEASUREMENT,
    recovery.MEASUREMENT,
    replicas.MEASUREMENT,
    sizes.MEASUREMENT,
    memory.MEASUREMENT,
)


def named(name: str) -> Measurement:
    """The measurement of that name; KeyError if there is none."""
    return {one.name: one for one in ALL}[name]
