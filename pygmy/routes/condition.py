"""How a replica is, in the words of /health and /cluster."""

from collections.abc import Mapping

from pygmy.balancing.watch import Heartbeats
from pygmy.cluster import Cluster, Node
from pygmy.ledger.seam import Condition, Peer
from pygmy.web.status import HEALTHY, ClusterBody, Health, NodeStatus


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
    )


def cluster_body(
    cluster: Cluster, node: Node, peers: Mapping[str, Peer], heartbeats: Heartbeats | None = None
) -> ClusterBody:
    """The body of /cluster: this node's tier as its replicas hear each other, and the nodes it sends heartbeats to.

    The others are UNKNOWN here: a front end sees them all.
    """

    def status(other: Node) -> NodeStatus:
        if heartbeats is not None and other in heartbeats.nodes:
            return heartbeats.status(other)
        peer = peers.get(other.name, Peer("UNKNOWN"))
        heard = None if peer.heard is None else round(peer.heard, 3)
        return NodeStatus(other.name, str(other.role), other.url, peer.state, peer.epoch, peer.lag, heard)

    return ClusterBody(node.name, tuple(map(status, cluster.nodes)))
