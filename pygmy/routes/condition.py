"""How a replica is, in the words of /health and /cluster."""

from collections.abc import Mapping

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
    )


def cluster_body(cluster: Cluster, node: Node, peers: Mapping[str, Peer]) -> ClusterBody:
    """The body of /cluster: the nodes of this node's tier, itself included."""

    def status(other: Node) -> NodeStatus:
        peer = peers.get(other.name, Peer("UNKNOWN"))
        return NodeStatus(other.name, str(other.role), other.url, peer.state, peer.epoch, peer.lag, peer.heard)

    return ClusterBody(node.name, tuple(map(status, cluster.tier(node.role))))
