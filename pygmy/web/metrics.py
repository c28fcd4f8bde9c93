"""What a node counts and times: one prometheus registry per node, so that several may live in one process."""

from collections.abc import Callable


class Metrics:
    """The node's numbers. Every method costs about a microsecond."""

    def __init__(self, role: str, node: str) -> None:
        raise NotImplementedError

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """A request was answered; `route` is the template (`/books/{item}`)."""
        raise NotImplementedError

    def cache_hits(self, cache: str, hits: int = 1) -> None:
        """Hits of a cache ("books", "lists")."""

    def cache_misses(self, cache: str) -> None:
        """A miss."""

    def cache_evictions(self, cache: str) -> None:
        """An entry made room for another."""

    def heartbeat(self, target: str, result: str) -> None:
        """A heartbeat to `target` (a node's name) ended in `result` ("ok", "refused", "timeout", ...)."""

    def forward(self, target: str, result: str) -> None:
        """A request was passed to `target`."""

    def commit(self, batches: int) -> None:
        """A durable commit of so many batches."""

    def watch(self, queue: str, length: Callable[[], float]) -> None:
        """Show `length()` as the length of this queue whenever the numbers are read."""

    def render(self) -> bytes:
        """Prometheus text."""
        raise NotImplementedError
