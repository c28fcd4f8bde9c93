"""What a replica serves while its database is being opened."""

from collections.abc import Sequence

from msgspec import Struct
from twisted.internet.defer import fail
from twisted.internet.interfaces import IReactorTime
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource, Resource

from pygmy.cluster import Cluster, Node
from pygmy.errors import unavailable
from pygmy.ledger.seam import Condition, Peer
from pygmy.routes.condition import cluster_body, health_body
from pygmy.routes.table import table_route
from pygmy.web.app import INTERNAL_PATH, make_app, root_resource
from pygmy.web.auth import Secrets
from pygmy.web.internal import Internal, Receive
from pygmy.web.metrics import Metrics
from pygmy.web.problems import answer_problem
from pygmy.web.status import ClusterBody, Health, common_routes

WHY = "The node is opening its database."


def starting_resource(
    cluster: Cluster, node: Node, receive: Receive, secrets: Secrets, metrics: Metrics, clock: IReactorTime
) -> IResource:
    """What it tells of itself; messages go to `receive`, calls and all other requests are refused for now."""

    condition = Condition("INIT", WHY, 0, 0)
    metrics.watch_tier(lambda: condition)

    def health() -> Health:
        return health_body(node, condition)

    def seen() -> ClusterBody:
        return cluster_body(cluster, node, condition, {node.name: Peer("INIT", why=WHY)})

    async def rows() -> Sequence[Struct]:
        return ()

    routes = (
        table_route("Every row", lambda: "INIT", rows),
        *common_routes(health=health, cluster=seen, metrics=metrics),
    )
    internal = Internal(secrets, clock, receive, lambda sender, call: fail(unavailable(WHY)))
    app = make_app(routes, secrets=secrets, metrics=metrics)
    paths = {route.path.encode("ascii") for route in routes} | {INTERNAL_PATH, b"/openapi.json"}
    return _ForNow(root_resource(app, internal=internal), internal, frozenset(paths))


class _ForNow(Resource):
    """These paths; of any other nobody knows yet what is there: a 404 would say that there is no such book."""

    isLeaf = True

    def __init__(self, resource: IResource, internal: Internal, paths: frozenset[bytes]) -> None:
        super().__init__()
        self.internal = internal
        self._resource = resource
        self._paths = paths

    def render(self, request: IRequest) -> object:
        if request.path in self._paths:
            return self._resource.render(request)
        return answer_problem(request, unavailable(WHY))
