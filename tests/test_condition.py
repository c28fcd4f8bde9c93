"""What a replica tells of itself and of the others."""

from pygmy.cluster import parse_cluster
from pygmy.ledger.seam import Condition, Peer
from pygmy.routes.condition import cluster_body, health_body

CLUSTER = parse_cluster("a, b\na\na\n")


def test_a_replica_names_every_node_of_the_cluster_and_what_it_hears_of_its_own_tier() -> None:
    peers = {"catalog-0": Peer("RUNNING", 3, 0, 0.0), "catalog-1": Peer("SYNC", 3, 7, 0.123456789)}
    body = cluster_body(CLUSTER, CLUSTER.catalogs[0], Condition("RUNNING", "", 3, 1), peers)
    seen = {node.node: (node.state, node.lag, node.heartbeat) for node in body.nodes}
    assert seen == {
        "catalog-0": ("RUNNING", 0, 0.0),
        "catalog-1": ("SYNC", 7, 0.123),
        "order-0": ("UNKNOWN", None, None),
        "frontend-0": ("UNKNOWN", None, None),
    }


def test_health_tells_how_far_the_log_is() -> None:
    """Front ends find out by it how far a replica is behind."""
    condition = Condition("SYNC", "Catching up.", 3, 1, head=(2, 41))
    assert health_body(CLUSTER.orders[0], condition).head == 41
