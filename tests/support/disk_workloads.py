"""The workloads by name, each made from a seed and a number of steps."""

from collections.abc import Callable

from tests.support.disk_notes import Workload
from tests.support.disk_replica import ReplicaWorkload
from tests.support.disk_voter import VoterWorkload

WORKLOADS: dict[str, Callable[[int, int], Workload]] = {
    "catalog": lambda seed, count: ReplicaWorkload("catalog", seed, count),
    "order": lambda seed, count: ReplicaWorkload("order", seed, count),
    "voter": VoterWorkload,
}
