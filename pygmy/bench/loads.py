"""What is to be asked of a store, and what came of it."""

from msgspec import Struct

from pygmy.bench.statistics import PERCENTILES, percentiles
from pygmy.bench.wire import Headers

BUSY = 0.9  # of one core's time: a generator that is busier may be what limits


class Load(Struct, frozen=True):
    """Requests (method, path), each with all `headers`, in turn and again from the beginning, at one server.

    Closed loop (`rate` None): each of `clients` asks as soon as it has been answered. Open loop: `rate` requests a
    second are due at even distances whatever becomes of the earlier ones, on up to `clients` connections; latency
    counts from when a request was due. It ends after `seconds`, or after `count` successes. `ca`: over TLS, believing
    the CA in this file ("": those that this machine believes; None: no TLS).
    """

    host: str
    port: int
    requests: tuple[tuple[str, str], ...]
    clients: int = 1
    seconds: float = 1.0
    rate: float | None = None
    count: int | None = None
    warmup: float = 0.0
    ca: str | None = None
    headers: Headers = ()


class Outcome(Struct, frozen=True):
    """What came of a load. Seconds throughout.

    `answered`: successes within `seconds`; `latency`: by percentile, of all successes; `busy`: the share of its
    time that the busiest generator process (or thread) computed; `late`: how much after it was due a request was
    sent although a connection was free (99th percentile; open loop of our own generator only).
    """

    answered: int
    errors: int
    seconds: float
    latency: dict[float, float]
    busy: float
    late: float = 0.0
    by: str = ""

    @property
    def throughput(self) -> float:
        """Successes a second."""
        return self.answered / self.seconds if self.seconds else 0.0

    @property
    def doubt(self) -> str:
        """Why the numbers may be the generator's, or are of failures; "": they are the store's."""
        said = []
        if self.busy > BUSY:
            said.append(
                f"the generator ({self.by}) computed for {self.busy:.0%} of the time: it may be the bottleneck"
            )
        if self.late > max(0.001, 0.25 * self.latency.get(50.0, 0.0)):
            said.append(f"the generator was up to {1000 * self.late:.1f} ms late in sending (99 %)")
        if self.errors:
            said.append(f"{self.errors:,} of {self.answered + self.errors:,} requests failed")
        return "; ".join(said)


def crowd(what: str, clients: int) -> str:
    """How figures and people call so many clients who do this."""
    return f"{what}, {clients} clients" if clients > 1 else f"{what}, 1 client"


class Taken(Struct, frozen=True):
    """What one process of our own generator saw.

    `latencies`: of every success, in the order of the answers; `answered`: how many of them came within `seconds`.
    """

    latencies: list[float]
    answered: int
    errors: int
    seconds: float
    busy: float
    late: float


def summed(parts: list[Taken]) -> Outcome:
    """One outcome of several processes that worked at the same time."""
    latencies = [latency for part in parts for latency in part.latencies]
    errors = sum(part.errors for part in parts)
    return Outcome(
        answered=sum(part.answered for part in parts),
        errors=errors,
        seconds=max(part.seconds for part in parts),
        latency=percentiles(latencies) if latencies else dict.fromkeys(PERCENTILES, float("nan")),
        busy=max(part.busy for part in parts),
        late=max(part.late for part in parts),
        by="own processes",
    )
