"""What every node tells about itself: /health, /cluster, /metrics."""

from collections.abc import Callable

from msgspec import Struct
from twisted.web.iweb import IRequest

from pygmy.web.metrics import CONTENT_TYPE, Metrics
from pygmy.web.openapi import Route
from pygmy.web.requests import write_bytes, write_json

HEALTHY = "Healthy"


class Health(Struct, frozen=True, omit_defaults=True):
    """The body of /health. 200 iff `message` is "Healthy", else 503 and `message` says why.

    `head` is the seq of the newest batch that a replica holds (None: it keeps no log).
    """

    message: str
    role: str
    node: str
    state: str
    epoch: int
    redundancy: int
    head: int | None = None


class NodeStatus(Struct, frozen=True):
    """A node as another one sees it.

    `lag`: seqs behind (None: unknown); `heartbeat`: seconds since the last one; `why`: what is known to be wrong.
    """

    node: str
    role: str
    url: str
    state: str
    epoch: int | None = None
    lag: int | None = None
    heartbeat: float | None = None
    why: str = ""


class ClusterBody(Struct, frozen=True):
    """The body of /cluster: what this node sees."""

    node: str
    nodes: tuple[NodeStatus, ...]


def common_routes(
    *, health: Callable[[], Health], cluster: Callable[[], ClusterBody], metrics: Metrics
) -> tuple[Route, ...]:
    """GET /health, /cluster and /metrics, for every role's table (`make_app` adds /openapi.json)."""
    return (_health_route(health), _cluster_route(cluster), _metrics_route(metrics))


def _health_route(health: Callable[[], Health]) -> Route:
    def show(request: IRequest) -> bytes:
        body = health()
        status = 200 if body.message == HEALTHY else 503
        return write_json(request, status, body, {"Cache-Control": "no-store"})

    return Route(
        method="GET",
        path="/health",
        handler=show,
        summary="Whether this process can do its work",
        answers={200: Health, 503: Health},
    )


def _cluster_route(cluster: Callable[[], ClusterBody]) -> Route:
    def show(request: IRequest) -> bytes:
        return write_json(request, 200, cluster(), {"Cache-Control": "no-store"})

    return Route(
        method="GET", path="/cluster", handler=show, summary="What this node sees", answers={200: ClusterBody}
    )


def _metrics_route(metrics: Metrics) -> Route:
    def show(request: IRequest) -> bytes:
        return write_bytes(request, 200, metrics.render(), media=CONTENT_TYPE)

    return Route(
        method="GET",
        path="/metrics",
        handler=show,
        summary="Prometheus text",
        answers={200: str},
        media="text/plain",
    )
