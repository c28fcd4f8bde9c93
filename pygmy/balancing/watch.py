"""What a server hears of the nodes behind it: a heartbeat to each, whose answer decides where requests go."""

import math
from collections.abc import Callable, Mapping

from msgspec import Struct
from msgspec.structs import replace
from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from pygmy.balancing.balancer import Balancer
from pygmy.balancing.tiers import head_of, tier_status
from pygmy.cluster import Node, Role
from pygmy.logs import Logger
from pygmy.peers import LinkDown, get_json
from pygmy.ticking import Ticking
from pygmy.web.metrics import Metrics
from pygmy.web.status import Health, NodeStatus, TierStatus

log = Logger()
RUNNING = "RUNNING"
CALM_AFTER, CALM_INTERVAL = 30.0, 5.0  # seconds


class Heard(Struct, frozen=True):
    """The last word of a node, and when it came (seconds of the front end's clock)."""

    health: Health
    at: float


class Heartbeats(Ticking):
    """Asks every one of `nodes` for its /health each `interval` seconds; the answer decides where requests go.

    Once all of them serve, and for `CALM_AFTER` seconds no request has gone to any of them and nobody has wanted to
    know how they are, it asks each `CALM_INTERVAL` seconds only.
    """

    def __init__(
        self,
        nodes: tuple[Node, ...],
        tiers: Mapping[Role, Balancer],
        client: HTTPClient,
        metrics: Metrics,
        clock: IReactorTime,
        now: Callable[[], float],
        interval: float,
    ) -> None:
        super().__init__(self._tick, clock, interval)
        self.heard: dict[str, Heard] = {}
        self.nodes = nodes
        self._tiers = tiers
        self._client = client
        self._metrics = metrics
        self._clock = clock
        self._now = now
        self._timeout = max(2 * interval, 1.0)
        self._asking: set[str] = set()
        self._asked: set[str] = set()
        self._wanted_at = now()
        self._requests = 0
        self._last = -math.inf

    @property
    def settled(self) -> bool:
        """Every node has been asked once, with or without an answer."""
        return len(self._asked) == len(self.nodes)

    def want(self) -> None:
        """Somebody wants to know how the nodes are, and may ask again soon."""
        self._wanted_at = self._now()

    def status(self, node: Node) -> NodeStatus:
        """The node by its last answer; DOWN, and why, while it gives none."""
        tier, heard = self._tiers[node.role], self.heard.get(node.name)
        status = NodeStatus(node.name, str(node.role), node.url, "UNKNOWN", why=tier.why(node.name))
        if heard is not None:
            status = replace(
                status,
                state=heard.health.state,
                epoch=heard.health.epoch,
                lag=self._lag(tier, heard.health),
                heartbeat=round(self._now() - heard.at, 3),
                head=head_of(heard.health),
                incarnation=heard.health.incarnation or None,
                progress=_progress(heard.health),
            )
        return replace(status, state="DOWN", progress=None) if tier.is_down(node.name) else status

    def tier_statuses(self) -> tuple[TierStatus, ...]:
        """Each tier of which this server asks replicas, by the last words of those that it reaches."""
        told: dict[Role, dict[str, Health]] = {role: {} for role in self._tiers}
        for node in self.nodes:
            if node.name in self.heard and not self._tiers[node.role].is_down(node.name):
                told[node.role][node.name] = self.heard[node.name].health
        return tuple(tier_status(str(role), healths) for role, healths in told.items())

    def _lag(self, tier: Balancer, health: Health) -> int | None:
        """How many seqs it is behind the first of those that serve; all are asked at the same time."""
        serving = [self.heard[name].health.head for name in tier.running() if name in self.heard]
        heads = [head for head in serving if head is not None]
        return None if health.head is None or not heads else max(0, max(heads) - health.head)

    def _tick(self) -> None:
        self._look_at_requests()
        calm = self._now() > self._wanted_at + CALM_AFTER
        if calm and self._now() < self._last + CALM_INTERVAL - self._interval / 2:
            return
        self._last = self._now()
        for node in self.nodes:
            if node.name not in self._asking:
                self._asking.add(node.name)
                asking = Deferred.fromCoroutine(self._ask(node))
                asking.addErrback(lambda failure: log.failure("a heartbeat failed", failure))

    def _look_at_requests(self) -> None:
        """Whoever has a request, or would have it go to a node that does not serve, wants to know, too."""
        requests = sum(tier.requests for tier in self._tiers.values())
        if requests != self._requests or not all(self._tiers[node.role].is_running(node.name) for node in self.nodes):
            self._requests = requests
            self.want()

    async def _ask(self, node: Node) -> None:
        tier = self._tiers[node.role]
        try:
            status, health = await get_json(self._client, f"{node.url}/health", Health, self._timeout, self._clock)
        except LinkDown as down:
            tier.down(node.name, down.reason)
            self._log(node, f"{down.reason}: {down.detail}" if down.detail else down.reason, down.reason)
            return
        finally:
            self._asked.add(node.name)
            self._asking.discard(node.name)
        if health.node != node.name:
            tier.down(node.name, f"{health.node} answers there")
            self._log(node, f"{status} from {health.node}, not {node.name}", "stranger")
            return
        self.heard[node.name] = Heard(health, self._now())
        if status == 200 and health.state == RUNNING:
            tier.serves(node.name)
        else:
            tier.syncing(node.name, health.message)
        self._log(node, f"{status} {health.state}", "ok" if status == 200 else str(status))

    def _log(self, node: Node, word: str, result: str) -> None:
        self._metrics.heartbeat(node.name, result)
        log.info("heartbeat {url} {word}", url=node.url, word=word)


def _progress(health: Health) -> int | None:
    """How much a node that does not serve has fetched of what it lacks (None: nothing that one knows of)."""
    recovery = health.recovery
    return None if recovery is None or recovery.done or health.state == RUNNING else recovery.percent
