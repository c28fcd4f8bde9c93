"""A store in containers, as Compose is told it: what compose.yaml in the checkout says, for any cluster."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pygmy.cluster import Cluster, Node, Role, parse_cluster

IMAGE = "pygmy"
BUILD_ARGUMENTS = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST")
SETUP = "setup"  # the service that prepares the nodes' volumes, and its own volume
CLUSTER_FILE = "/cluster.txt"


def composition(
    name: str,
    cluster: Cluster,
    *,
    image: str = IMAGE,
    source: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The Compose file of the project `name`: each node in a container, front ends published at the cluster's ports.

    `source`: the checkout that the image is built from; None: it is there. `environment`: of every node.
    """
    text = _inside(cluster)
    inside = parse_cluster(text)
    nodes = zip(inside.nodes, cluster.nodes, strict=True)
    return {
        "name": name,
        "services": {
            SETUP: _setup(inside, image, source),
            **{node.name: _node(node, outside, image, environment or {}) for node, outside in nodes},
        },
        "configs": {"cluster": {"content": text}},
        "networks": {"store": {}},
        "volumes": {volume: {} for volume in (SETUP, *(node.name for node in inside.nodes))},
    }


def _inside(cluster: Cluster) -> str:
    """The cluster file of the containers: as many nodes, each at a host of its own name, at the usual ports."""
    tiers = (cluster.catalogs, cluster.orders, cluster.frontends)
    return "".join(", ".join(node.name for node in tier) + "\n" for tier in tiers)


def _common(image: str) -> dict[str, Any]:
    """Of every container. Nobody's registry is asked for the image."""
    return {"image": image, "pull_policy": "never", "security_opt": ["no-new-privileges:true"]}


def _setup(inside: Cluster, image: str, source: Path | None) -> dict[str, Any]:
    """Root, as only root can give files away; without a network."""
    service = {
        **_common(image),
        "user": "0:0",
        "network_mode": "none",
        "entrypoint": ["pygmy", "prepare", "/nodes", "--cluster", CLUSTER_FILE],
        "configs": [{"source": "cluster", "target": CLUSTER_FILE}],
        "volumes": [f"{SETUP}:/data", *(f"{node.name}:/nodes/{node.name}" for node in inside.nodes)],
    }
    if source is not None:
        service["build"] = {"context": str(source), "args": list(BUILD_ARGUMENTS)}
    return service


def _node(node: Node, outside: Node, image: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """One node; a front end is `outside` for people on this machine."""
    service = {
        **_common(image),
        "command": [node.name],
        "depends_on": {SETUP: {"condition": "service_completed_successfully"}},
        "networks": ["store"],
        "environment": {"PYGMY_LOG_FILE": "-", **environment},
        "restart": "unless-stopped",
        "stop_grace_period": "30s",
        "read_only": True,
        "tmpfs": ["/tmp"],
        "cap_drop": ["ALL"],
        "volumes": [f"{node.name}:/data"],
    }
    if node.role is Role.FRONTEND:
        service["ports"] = [f"127.0.0.1:{outside.port}:{node.port}"]
    return service
