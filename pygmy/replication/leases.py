"""Read leases between replicas, and the failure detector that lives on the same heartbeats.

A grant is a promise to a peer's incarnation: no view without it before the lease has passed.  A lease counts from
when its holder sent the heartbeat, less the drift, so the holder's ends before the grantor's does.
"""

from pygmy.replication.timing import Timing

NEVER = float("-inf")


class Leases:
    """What this node has granted, and what it was granted. Times are this node's own clock."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._granted: dict[tuple[str, int], float] = {}
        self._lease: dict[str, float] = {}
        self._heard: dict[str, float] = {}

    def book(self, peer: str, incarnation: int, now: float) -> None:
        """A heartbeat of this peer's incarnation was answered with a grant."""
        self._granted[(peer, incarnation)] = now
        self._heard[peer] = now

    def hear(self, peer: str, now: float) -> None:
        """A sign of life that is not answered."""
        self._heard[peer] = now

    def release(self, peer: str, incarnation: int) -> None:
        """The peer has given up its lease itself."""
        self._granted.pop((peer, incarnation), None)

    def extend(self, peer: str, sent: float, now: float) -> None:
        """The peer granted the heartbeat that was sent at `sent`."""
        self._heard[peer] = now
        until = sent + self._timing.lease * (1 - self._timing.drift)
        self._lease[peer] = max(self._lease.get(peer, NEVER), until)

    def left(self, peers: list[str], now: float) -> float:
        """Seconds for which this node may answer reads; one that is alone needs no grant."""
        full = self._timing.lease
        return min((self._lease.get(peer, NEVER) - now for peer in peers), default=full)

    def left_of(self, peer: str, now: float) -> float:
        """Seconds left of the lease that this peer granted last (not positive: none)."""
        return self._lease.get(peer, NEVER) - now

    def drop(self) -> None:
        """A new epoch: the leases of the old one are void; what was granted to others is kept."""
        self._lease = {}

    def start_listening(self, peers: list[str], now: float) -> None:
        """Give every peer of a new epoch the full time to be heard."""
        self._heard = dict.fromkeys(peers, now)

    def silent(self, now: float) -> frozenset[str]:
        """The peers of which nothing was heard for too long."""
        return frozenset(peer for peer, at in self._heard.items() if now - at > self._timing.silence)

    def last_heard(self, peer: str) -> float | None:
        """When the peer was last heard in this epoch."""
        return self._heard.get(peer)

    def outsiders_until(self, members: dict[str, int]) -> float:
        """V3: when the last lease ends that was granted to an incarnation outside these members."""
        ends = [
            at + self._timing.lease
            for (peer, incarnation), at in self._granted.items()
            if members.get(peer) != incarnation
        ]
        return max(ends, default=NEVER)

    def forget_before(self, now: float) -> None:
        """Drop grants that have long run out."""
        limit = now - 10 * self._timing.lease
        self._granted = {key: at for key, at in self._granted.items() if at > limit}
