"""How a replica is, in the words of /health and /cluster."""

from collections.abc import Mapping

from pygmy.balancing.watch import Heartbeats
from pygmy.cluster import Cluster, Node
from pygmy.ledger.seam import Condition, Peer
from pygmy.messages.condition import Head
from pygmy.web.status import HEALTHY, ClusterBody, Health, NodeStatus, SelfStatus, ViewStatus


def health_body(node: Node, condition: Condition) -> Health:
    """The body of /health: healthy unless the condition says why not."""
    return Health(
        message=condition.why or HEALTHY,
        role=str(node.role),
        node=node.name,
        state=condition.state,
        epoch=condition.epoch,
        redundancy=condition.redundancy,
        head=condition.head[1],
        head_epoch=condition.head[0],
        head_hash=condition.head_hash,
        incarnation=condition.incarnation,
        gen=condition.gen,
        leader=condition.leader,
        members=condition.members,
        sources=condition.sources,
        primary=condition.primary,
        lease=round(condition.lease, 3),
        recovery=condition.recovery,
    )


def cluster_body(
    cluster: Cluster,
    node: Node,
    condition: Condition,
    peers: Mapping[str, Peer],
    heartbeats: Heartbeats | None = None,
) -> ClusterBody:
    """The body of /cluster: this node's tier as its replicas hear each other, and the nodes it sends heartbeats to.

    The others are UNKNOWN here: a front end sees them all.
    """

    def status(other: Node) -> NodeStatus:
        if heartbeats is not None and other in heartbeats.nodes:
            return heartbeats.status(other)
        peer = peers.get(other.name, Peer("UNKNOWN"))
        fetching = other == node and condition.recovery is not None and not condition.recovery.done
        return NodeStatus(
            node=other.name,
            role=str(other.role),
            url=other.url,
            state=peer.state,
            epoch=peer.epoch,
            lag=peer.lag,
            heartbeat=_seconds(peer.heard),
            why=peer.why,
            head=peer.head,
            incarnation=peer.incarnation,
            lease=_seconds(peer.lease),
            progress=condition.recovery.percent if fetching and condition.recovery else None,
        )

    tiers = () if heartbeats is None else heartbeats.tier_statuses()
    return ClusterBody(node.name, tuple(map(status, cluster.nodes)), _own(condition, peers), tiers)


def _own(condition: Condition, peers: Mapping[str, Peer]) -> SelfStatus:
    view = ViewStatus(condition.epoch, condition.gen, condition.leader, condition.members, condition.sources)
    return SelfStatus(
        state=condition.state,
        why=condition.why,
        incarnation=condition.incarnation,
        view=view if condition.members else None,
        redundancy=condition.redundancy,
        primary=condition.primary,
        head=Head(*condition.head, condition.head_hash),
        pending=condition.pending,
        queued=condition.queued,
        lease=round(condition.lease, 3),
        leases={name: round(peer.lease, 3) for name, peer in peers.items() if peer.lease is not None},
        recovery=condition.recovery,
    )


def _seconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
