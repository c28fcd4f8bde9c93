"""What every node tells about itself: /health, /cluster, /metrics."""

from collections.abc import Callable

from msgspec import Struct, field
from twisted.web.iweb import IRequest

from pygmy.messages.condition import Head, Recovery
from pygmy.web.metrics import CONTENT_TYPE, Metrics
from pygmy.web.openapi import Route
from pygmy.web.requests import write_bytes, write_json

HEALTHY = "Healthy"


class Health(Struct, frozen=True, omit_defaults=True):
    """The body of /health. 200 iff `message` is "Healthy", else 503 and `message` says why.

    `head` is the seq of the newest batch that a replica holds (None: it keeps no log), `head_epoch` and `head_hash`
    the rest of what names it. `gen`, `leader`, `members` (with their incarnations) and `sources` are the view's.
    `lease`: seconds for which it may answer reads. `recovery`: what it fetches or has fetched last.
    """

    message: str
    role: str
    node: str
    state: str
    epoch: int
    redundancy: int
    head: int | None = None
    head_epoch: int = 0
    head_hash: str = ""
    incarnation: int = 0
    gen: int = 0
    leader: str = ""
    members: dict[str, int] = {}
    sources: tuple[str, ...] = ()
    primary: str = ""
    lease: float | None = None
    recovery: Recovery | None = None


class NodeStatus(Struct, frozen=True):
    """A node as another one sees it.

    `lag`: seqs behind (None: unknown); `heartbeat`: seconds since the last one; `why`: what is known to be wrong.
    `head`: the end of its log; `lease`: seconds left of the lease that the node has granted to the one that tells
    this; `progress`: how much it has fetched of what it lacks, in percent (None: it is not fetching).
    """

    node: str
    role: str
    url: str
    state: str
    epoch: int | None = None
    lag: int | None = None
    heartbeat: float | None = None
    why: str = ""
    head: Head | None = None
    incarnation: int | None = None
    lease: float | None = None
    progress: int | None = None


class ViewStatus(Struct, frozen=True, omit_defaults=True):
    """A view: its number (epoch, gen), who leads it, its members with their incarnations, and its sources.

    `told_by`: the replicas that say that they are in it.
    """

    epoch: int
    gen: int
    leader: str
    members: dict[str, int]
    sources: tuple[str, ...]
    told_by: tuple[str, ...] = ()


class SelfStatus(Struct, frozen=True):
    """All that a replica knows of itself and its tier. Times in seconds; `pending` as in `Head`, without a hash."""

    state: str
    why: str
    incarnation: int
    view: ViewStatus | None
    redundancy: int
    primary: str
    head: Head
    pending: tuple[int, int] | None
    queued: int
    lease: float
    leases: dict[str, float]
    recovery: Recovery | None


class TierStatus(Struct, frozen=True):
    """A tier by the /health of its replicas.

    `view` is the newest that a replica tells of, `other_views` are different ones, with who tells of them (empty
    when all agree). `head` is the newest of those that serve; `diverged` names those whose copies differ.
    """

    tier: str
    view: ViewStatus | None
    other_views: tuple[ViewStatus, ...]
    primary: str
    redundancy: int
    head: Head | None
    heads: dict[str, Head]
    diverged: tuple[str, ...]


class ClusterBody(Struct, frozen=True, omit_defaults=True):
    """The body of /cluster: what this node sees. `self`: of itself, a replica; `tiers`: of those it asks."""

    node: str
    nodes: tuple[NodeStatus, ...]
    own: SelfStatus | None = field(name="self", default=None)
    tiers: tuple[TierStatus, ...] = ()


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
        lenient=True,
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
        lenient=True,
    )
