"""What a node counts and times: one prometheus registry per node, so that several may live in one process."""

from collections.abc import Callable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from pygmy.ledger.seam import Condition, Peer
from pygmy.web.tier_metrics import TierCollector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_TOGETHER = 256  # requests, at most, that are not counted yet
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class _Family:
    """A counter or histogram whose labelled children are found with one dict lookup."""

    def __init__(self, metric: Any) -> None:
        self._metric = metric
        self._children: dict[tuple[str, ...], Any] = {}

    def __call__(self, *labels: str) -> Any:
        child = self._children.get(labels)
        if child is None:
            child = self._children[labels] = self._metric.labels(*labels)
        return child


class Metrics:
    """The node's numbers. Every method costs about a microsecond.

    Requests are counted some hundred at a time, which costs less than one by one, and whenever the numbers are read.
    """

    def __init__(self, role: str, node: str) -> None:
        self.registry = CollectorRegistry()
        counter = self._counter
        Gauge("pygmy_node", "Always 1.", ["role", "node"], registry=self.registry).labels(role, node).set(1)
        self._answered: list[tuple[str, str, int, float]] = []  # requests that are not counted yet
        self._requests = counter("requests", "Requests answered.", "route", "method", "status")
        self._seconds = self._histogram("request_seconds", "Time to answer.", _SECONDS, "route")
        self._hits = counter("cache_hits", "Answers from the cache.", "cache")
        self._misses = counter("cache_misses", "Answers not in the cache.", "cache")
        self._evictions = counter("cache_evictions", "Entries that made room.", "cache")
        self._heartbeats = counter("heartbeats", "Heartbeats sent.", "target", "result")
        self._forwards = counter("forwards", "Requests passed on.", "target", "result")
        self._batches = self._histogram("commit_batches", "Batches in one durable commit.", _BATCHES)
        self._queues = Gauge("pygmy_queue_length", "What waits.", ["queue"], registry=self.registry)
        self._tier = TierCollector(node)
        self.registry.register(self._tier)
        ProcessCollector(registry=self.registry)  # memory, processor time, open files: where there is a /proc

    def _counter(self, name: str, what: str, *labels: str) -> _Family:
        return _Family(Counter(f"pygmy_{name}", what, labels, registry=self.registry))

    def _histogram(self, name: str, what: str, buckets: tuple[float, ...], *labels: str) -> Any:
        metric = Histogram(f"pygmy_{name}", what, labels, buckets=buckets, registry=self.registry)
        return _Family(metric) if labels else metric

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """A request was answered; `route` is the template (`/books/{item}`)."""
        self._answered.append((route, method, status, seconds))
        if len(self._answered) >= _TOGETHER:
            self._count_answered()

    def _count_answered(self) -> None:
        answered, self._answered = self._answered, []
        for route, method, status, seconds in answered:
            self._requests(route, method, str(status)).inc()
            self._seconds(route).observe(seconds)

    def cache_hits(self, cache: str, hits: int = 1) -> None:
        """Hits of a cache ("books", "lists")."""
        self._hits(cache).inc(hits)

    def cache_misses(self, cache: str) -> None:
        """A miss."""
        self._misses(cache).inc()

    def cache_evictions(self, cache: str) -> None:
        """An entry made room for another."""
        self._evictions(cache).inc()

    def heartbeat(self, target: str, result: str) -> None:
        """A heartbeat to `target` (a node's name) ended in `result` ("ok", "refused", "timeout", ...)."""
        self._heartbeats(target, result).inc()

    def forward(self, target: str, result: str, count: int = 1) -> None:
        """Requests were passed to `target`, together."""
        self._forwards(target, result).inc(count)

    def commit(self, batches: int) -> None:
        """A durable commit of so many batches."""
        self._batches.observe(batches)

    def watch(self, queue: str, length: Callable[[], float]) -> None:
        """Show `length()` as the length of this queue whenever the numbers are read."""
        self._queues.labels(queue).set_function(length)

    def watch_tier(self, condition: Callable[[], Condition], peers: Callable[[], Mapping[str, Peer]] = dict) -> None:
        """Show how this replica is, and the others as it hears them, whenever the numbers are read."""
        self._tier.condition, self._tier.peers = condition, peers

    def render(self) -> bytes:
        """Prometheus text."""
        self._count_answered()
        return generate_latest(self.registry)
