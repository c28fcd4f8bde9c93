"""How a replica is, as Prometheus series. They are made when somebody reads them; in between they cost nothing."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pygmy.ledger.seam import Condition, Peer

STATES = ("INIT", "SYNC", "RUNNING")


class TierCollector(Collector):
    """The series of the replica named `node`, whatever it is that looks at its condition at the moment."""

    def __init__(self, node: str) -> None:
        self._node = node
        self.condition: Callable[[], Condition] | None = None
        self.peers: Callable[[], Mapping[str, Peer]] = dict

    def collect(self) -> Iterator[Metric]:
        """All of them, as of one moment."""
        if self.condition is not None:
            condition = self.condition()
            yield from self._view(condition)
            yield from self._peers()
            yield from _recovery(condition)
            yield from _counts(condition)

    def describe(self) -> Iterator[Metric]:
        """Nothing is read for being registered."""
        return iter(())

    def _view(self, condition: Condition) -> Iterator[Metric]:
        state = GaugeMetricFamily("pygmy_state", "1 for the state that the replica is in.", labels=["state"])
        for name in STATES:
            state.add_metric([name], float(condition.state == name))
        yield state
        yield _gauge("serving", "1 while the replica serves.", not condition.why)
        yield _gauge("epoch", "Epoch of the view (0: in none).", condition.epoch)
        yield _gauge("gen", "Changes of sources within the epoch.", condition.gen)
        yield _gauge("members", "Members of the view.", len(condition.members))
        yield _gauge("sources", "Members known to hold every acknowledged write.", len(condition.sources))
        yield _gauge("redundancy", "Copies of every acknowledged write.", condition.redundancy)
        yield _gauge("leader", "1 if the replica leads the view.", condition.leader == self._node)
        yield _gauge("primary", "1 if the replica holds the primary copy.", condition.primary == self._node)
        yield _gauge("incarnation", "Incarnation of the replica.", condition.incarnation)
        yield _gauge("log_head", "Seq of the last batch of the log.", condition.head[1])
        yield _gauge("lease_seconds", "Seconds for which the replica may answer reads.", condition.lease)

    def _peers(self) -> Iterator[Metric]:
        lag = GaugeMetricFamily("pygmy_lag", "Batches that another replica is behind.", labels=["node"])
        heard = GaugeMetricFamily("pygmy_heard_seconds", "Since another replica was heard.", labels=["node"])
        for name, peer in self.peers().items():
            if name != self._node and peer.lag is not None:
                lag.add_metric([name], peer.lag)
            if name != self._node and peer.heard is not None:
                heard.add_metric([name], peer.heard)
        yield lag
        yield heard


def _recovery(condition: Condition) -> Iterator[Metric]:
    """Where the replica stands with what it fetches, or what it has fetched last."""
    recovery = condition.recovery
    yield _gauge("recovering", "1 while the replica fetches what it lacks.", bool(recovery and not recovery.done))
    if recovery is not None:
        yield _gauge("recovery_upto", "Seq that the last recovery has come to.", recovery.upto)
        yield _gauge("recovery_of", "Seq that the last recovery has to come to.", recovery.of)


def _counts(condition: Condition) -> Iterator[Metric]:
    counts = condition.counts
    yield _counter("view_changes", "Views that the replica has heard of, one an epoch.", counts.view_changes)
    yield _counter("primary_moves", "Times that the primary copy came here or left.", counts.primary_moves)
    yield _counter("invalidations", "Invalidations sent to front ends.", counts.invalidations)
    yield _counter("invalidations_lapsed", "Front ends given up on.", counts.invalidations_lapsed)
    yield _counter("recoveries", "Recoveries that are through.", counts.recoveries)
    yield _counter("recovery_batches", "Batches fetched in recoveries.", counts.recovery_batches)
    yield _counter("recovery_rows", "Rows changed by recoveries.", counts.recovery_rows)
    yield _counter("recovery_bytes", "Bytes fetched in recoveries.", counts.recovery_bytes)
    yield _counter("recovery_seconds", "Time that recoveries took.", counts.recovery_seconds)


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(f"pygmy_{name}", what, value=float(value))


def _counter(name: str, what: str, value: float) -> Metric:
    return CounterMetricFamily(f"pygmy_{name}", what, value=float(value))
