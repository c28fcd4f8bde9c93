"""The hosts of a cluster file, and how they are reached."""

from collections.abc import Callable

from msgspec import Struct

from pygmy.cluster import Cluster, Node, Role
from pygmy.tls.names import tls_name

PREFIX = "/opt/pygmy"


class Way(Struct, frozen=True):
    """How ssh gets to a host, and what it finds there. What is not said here is up to the user's ~/.ssh/config.

    `options` are ssh's own (`StrictHostKeyChecking=accept-new`); `sudo`: become root by it; `python`: which one, else
    the first that is new enough; `prefix`: where everything is put.
    """

    user: str | None = None
    port: int | None = None
    key: str | None = None
    options: tuple[str, ...] = ()
    sudo: bool = False
    python: str | None = None
    prefix: str = PREFIX


class Host(Struct, frozen=True):
    """A machine and its nodes, in the order of the cluster file. `here`: it is this one, and needs no ssh."""

    name: str
    nodes: tuple[Node, ...]
    here: bool

    @property
    def node_names(self) -> list[str]:
        """`["catalog-0", "order-1"]`"""
        return [node.name for node in self.nodes]


def hosts_of(cluster: Cluster, is_here: Callable[[Node], bool]) -> list[Host]:
    """Every host of the cluster once. ValueError: some are `localhost` and some are not, which no store can be."""
    nodes: dict[str, list[Node]] = {}
    for node in cluster.nodes:
        nodes.setdefault("localhost" if node.local else node.host.lower(), []).append(node)
    if "localhost" in nodes and len(nodes) > 1:
        (away, *_) = [name for name in nodes if name != "localhost"]
        raise ValueError(
            f"The cluster file has both localhost and {away}, to which localhost is another machine: expected names"
            " or addresses by which the hosts reach each other."
        )
    return [Host(name, tuple(those), is_here(those[0])) for name, those in nodes.items()]


def reach(node: Node) -> dict[str, object]:
    """Where a node is asked on its own host: by loopback, for a host need not reach itself by its public name."""
    address = node.host if node.local else "::1" if ":" in node.host else "127.0.0.1"
    return {"address": address, "port": node.port, "netloc": node.netloc, "tls_name": tls_name(node.name)}


def copies(cluster: Cluster, role: Role) -> int:
    """The redundancy that a node of this role tells of when nothing is missing."""
    if role is Role.FRONTEND:
        return min(len(cluster.catalogs), len(cluster.orders))
    return len(cluster.tier(role))
