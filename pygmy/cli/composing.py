"""A store in containers, as Docker's Compose is told it: the same as compose.yaml in the checkout, for any cluster."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pygmy.cluster import Cluster, Node, parse_cluster

IMAGE = "pygmy"
BUILD_ARGUMENTS = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST")
STOP_GRACE = "30s"


def in_containers(cluster: Cluster) -> Cluster:
    """As many nodes of each kind, each at a host of its own name, at the port that goes with it."""
    tiers = (cluster.catalogs, cluster.orders, cluster.frontends)
    return parse_cluster("\n".join(", ".join(node.name for node in tier) for tier in tiers))


def composition(
    name: str, cluster: Cluster, image: str = IMAGE, source: Path | None = None, words: Sequence[str] = ()
) -> dict[str, Any]:
    """The Compose file of this cluster's containers: front ends are published at the cluster's own ports.

    `source`: the checkout that the image is built from (None: it is there). `words`: further ones for `pygmy run`.
    """
    inside = in_containers(cluster)
    return {
        "name": name,
        "services": {
            "setup": _setup(inside, image, source),
            **{
                node.name: _node(node, outside, image, words)
                for node, outside in zip(inside.nodes, cluster.nodes, strict=True)
            },
        },
        "configs": {"cluster": {"content": _lines(inside)}},
        "networks": {"store": {}},
        "volumes": {volume: {} for volume in ("setup", *(node.name for node in inside.nodes))},
    }


def _lines(inside: Cluster) -> str:
    tiers = (inside.catalogs, inside.orders, inside.frontends)
    return "".join(", ".join(node.name for node in tier) + "\n" for tier in tiers)
