"""What every node tells about itself: /health, /cluster, /metrics."""

from collections.abc import Callable

from msgspec import Struct

from pygmy.web.metrics import Metrics
from pygmy.web.openapi import Route


class Health(Struct, frozen=True):
    """The body of /health. 200 iff `message` is "Healthy", else 503 and `message` says why."""

    message: str
    role: str
    node: str
    state: str
    epoch: int
    redundancy: int


class NodeStatus(Struct, frozen=True):
    """A node as another one sees it. `lag`: seqs behind (None: unknown); `heartbeat`: seconds since the last one."""

    node: str
    role: str
    url: str
    state: str
    epoch: int | None = None
    lag: int | None = None
    heartbeat: float | None = None


class ClusterBody(Struct, frozen=True):
    """The body of /cluster: what this node sees."""

    node: str
    nodes: tuple[NodeStatus, ...]


def common_routes(
    *, health: Callable[[], Health], cluster: Callable[[], ClusterBody], metrics: Metrics
) -> tuple[Route, ...]:
    """GET /health, /cluster and /metrics, for every role's table (`make_app` adds /openapi.json)."""
    raise NotImplementedError
