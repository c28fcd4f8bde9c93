"""The front end: the one address that people use. It keeps no books; it caches, forwards and balances."""

from collections.abc import Callable

from msgspec import Struct
from treq.client import HTTPClient
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import IResource

from pygmy.balancing.balancer import Balancer
from pygmy.balancing.forwarding import Forwarder, Gate, Patience
from pygmy.balancing.watch import RUNNING, Heartbeats
from pygmy.caching.cache import Cache
from pygmy.caching.lookups import Asked, Lookups
from pygmy.caching.renewals import Renewals
from pygmy.clock import boottime
from pygmy.cluster import Cluster, Node, Role
from pygmy.errors import Problem
from pygmy.logs import Logger
from pygmy.messages.internal import AnswerBody, Call, Invalidate, Invalidated, OneWay
from pygmy.peers import Links
from pygmy.routes.reading import Reading
from pygmy.routes.shortcut import Shortcuts
from pygmy.routes.starting import WHY
from pygmy.routes.writing import Writing
from pygmy.ticking import Ticking
from pygmy.web.app import make_app, root_resource
from pygmy.web.auth import Secrets
from pygmy.web.internal import Internal, Receive
from pygmy.web.metrics import Metrics
from pygmy.web.site import Shortcut
from pygmy.web.status import HEALTHY, ClusterBody, Health, NodeStatus, common_routes

log = Logger()


class Settings(Struct, frozen=True):
    """Seconds between heartbeats and between renewals; bounds on cache entries and on requests under way."""

    heartbeat: float = 1.0
    renewal: float = 0.25
    patience: Patience = Patience()
    in_flight: int = 1_000
    books: int = 10_000
    lists: int = 500


class _Tally:
    """Counts into the node's metrics; hits, of which there are too many for that, are handed over now and then."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._hits = {"books": 0, "lists": 0}
        self._before = 0

    @property
    def lookups(self) -> int:
        """How many there have been so far."""
        return self._before + sum(self._hits.values())

    def hit(self, cache: str) -> None:
        self._hits[cache] += 1

    def miss(self, cache: str) -> None:
        self._before += 1
        self._metrics.cache_misses(cache)

    def evicted(self, cache: str) -> None:
        self._metrics.cache_evictions(cache)

    def hand_over(self) -> None:
        for cache, hits in self._hits.items():
            if hits:
                self._metrics.cache_hits(cache, hits)
            self._before += hits
            self._hits[cache] = 0


class FrontEnd(MultiService):
    """One front end: `resource()` is what it serves; as a service it beats, renews and, at its end, drains.

    `shortcut` answers cached lookups from the bytes of their requests (None without caches); see `pygmy.web.site`.
    `others` receives the one-way messages that are not for a front end as such (every node is a voter). `opening`,
    which its node sets: its vote is being opened, and it may yet turn out that this node must not run.
    """

    def __init__(
        self,
        cluster: Cluster,
        node: Node,
        links: Links,
        client: HTTPClient,
        clock: IReactorTime,
        secrets: Secrets,
        metrics: Metrics,
        *,
        caching: bool = True,
        settings: Settings = Settings(),  # noqa: B008
        now: Callable[[], float] = boottime,
        others: Receive | None = None,
    ) -> None:
        super().__init__()
        self.opening = False
        self._cluster = cluster
        self._node = node
        self._links = links
        self._clock = clock
        self._secrets = secrets
        self._metrics = metrics
        self._now = now
        self._others = others
        self._catalogs = frozenset(catalog.name for catalog in cluster.catalogs)
        self._gate = Gate(settings.in_flight)
        self._tally = _Tally(metrics)
        self.cache: Cache[Asked] | None = (
            Cache(self._tally, books=settings.books, lists=settings.lists) if caching else None
        )
        self.tiers = {role: _balancer(cluster, role) for role in (Role.CATALOG, Role.ORDER)}
        forwarders = {role: self._forwarder(tier, role, settings) for role, tier in self.tiers.items()}
        self._lookups = Lookups(forwarders[Role.CATALOG], node.name, self.cache, now)
        self._writing = Writing(forwarders[Role.CATALOG], forwarders[Role.ORDER], clock)
        self.shortcut: Shortcut | None = Shortcuts(self.cache.peek, now) if self.cache is not None else None
        self._start_with(client, settings)
        metrics.watch("forwarded requests", lambda: self._gate.inside)

    def _forwarder(self, tier: Balancer, role: Role, settings: Settings) -> Forwarder:
        urls = {node.name: node.url for node in self._cluster.tier(role)}
        behind = self.tiers[Role.CATALOG] if role is Role.ORDER else None
        return Forwarder(
            tier, urls, self._links, self._gate, self._metrics, self._clock, self._now, settings.patience, behind
        )

    def _start_with(self, client: HTTPClient, settings: Settings) -> None:
        """The loops that run while this service does."""
        nodes = (*self._cluster.catalogs, *self._cluster.orders)
        beat = (client, self._metrics, self._clock, self._now, settings.heartbeat)
        self.heartbeats = Heartbeats(nodes, self.tiers, *beat)
        self.heartbeats.setServiceParent(self)
        # Nothing is sent to other front ends; people who look here want to know of them all the same.
        neighbours = tuple(node for node in self._cluster.frontends if node != self._node)
        self._neighbours = Heartbeats(neighbours, {Role.FRONTEND: _balancer(self._cluster, Role.FRONTEND)}, *beat)
        self._neighbours.setServiceParent(self)
        Ticking(self._tally.hand_over, self._clock, settings.renewal).setServiceParent(self)
        if self.cache is not None:
            catalogs = tuple(node.name for node in self._cluster.catalogs)
            Renewals(
                self._node.name,
                catalogs,
                self.cache.leases,
                self._links,
                self._clock,
                self._now,
                settings.renewal,
                lambda: self._tally.lookups,
            ).setServiceParent(self)

    def stopService(self) -> "Deferred[None]":
        """Stop the loops once every request under way is answered (patience bounds how long that takes)."""
        drained = self._gate.drained()
        drained.addCallback(lambda _: maybeDeferred(super(FrontEnd, self).stopService))
        return drained.addCallback(lambda _: None)

    def resource(self) -> IResource:
        """Everything that this front end serves, the internal path included."""
        routes = (
            *Reading(self._lookups, self.cache).routes(),
            *self._writing.routes(),
            *common_routes(health=self.health, cluster=self.condition, metrics=self._metrics),
        )
        app = make_app(routes, secrets=self._secrets, metrics=self._metrics, title="Pygmy, the bookstore's front end")
        return root_resource(app, internal=Internal(self._secrets, self._clock, self.receive, self.answer))

    def receive(self, sender: str, message: OneWay) -> None:
        """A one-way message: an invalidation is obeyed and acknowledged by its number, even if nothing was held."""
        if isinstance(message, Invalidate) and sender in self._catalogs:
            if self.cache is not None:
                self.cache.invalidate(sender, message.keys)
            for key in (f"all that {sender} let",) if message.keys is None else message.keys:
                log.info("invalidated {key}", key=key)
            self._links.tell((sender,), Invalidated(message.number))
        elif self._others is not None:
            self._others(sender, message)

    def answer(self, sender: str, call: Call) -> "Deferred[AnswerBody]":
        """A call: nobody has anything to ask of a front end."""
        return fail(Problem(404, "Not found", "A front end answers no calls."))

    def health(self) -> Health:
        """Healthy while each tier has a replica that serves; epoch and redundancy are the tiers' least."""
        self.heartbeats.want()
        state = RUNNING if self.heartbeats.settled else "INIT"
        missing = [tier.unreachable().detail for tier in self.tiers.values() if not tier.running()]
        serving = [name for tier in self.tiers.values() for name in tier.running()]
        heard = [self.heartbeats.heard[name].health for name in serving if name in self.heartbeats.heard]
        return Health(
            message=WHY if self.opening else " ".join(missing) or HEALTHY,
            role=str(Role.FRONTEND),
            node=self._node.name,
            state=state,
            epoch=min((health.epoch for health in heard), default=0),
            redundancy=0 if missing else min((health.redundancy for health in heard), default=0),
        )

    def condition(self) -> ClusterBody:
        """What this front end sees of every node."""
        self._neighbours.want()
        nodes = tuple(map(self._status, self._cluster.nodes))
        return ClusterBody(self._node.name, nodes, tiers=self.heartbeats.tier_statuses())

    def _status(self, node: Node) -> NodeStatus:
        if node == self._node:
            own = self.health()
            return NodeStatus(node.name, str(node.role), node.url, own.state, own.epoch, heartbeat=0.0)
        return (self._neighbours if node.role is Role.FRONTEND else self.heartbeats).status(node)


def _balancer(cluster: Cluster, role: Role) -> Balancer:
    return Balancer(str(role), tuple(node.name for node in cluster.tier(role)))
