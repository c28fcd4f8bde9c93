"""After a deployment: how its nodes are, what they log; stopping them, and taking everything away."""

from collections.abc import Sequence

from msgspec import Struct

from pygmy.cluster import Cluster, Node, Role
from pygmy.deploy.hosts import reach
from pygmy.deploy.onhost.place import Json
from pygmy.deploy.rollout import look
from pygmy.deploy.sites import Site, Sites
from pygmy.deploy.units import units

REMOVE_SECONDS = 300.0


class Condition(Struct, frozen=True):
    """How a node is: `pid` None: it does not run; `health` None: no answer; `known` False: its host was not reached.

    `version` is what it was started with last.
    """

    node: Node
    known: bool
    version: str | None = None
    pid: int | None = None
    health: Json | None = None

    @property
    def serves(self) -> bool:
        """True if it does its work."""
        return self.health is not None and self.health["message"] == "Healthy"


async def conditions(cluster: Cluster, sites: Sites) -> list[Condition]:
    """How all nodes are, in the order of the cluster file. Hosts that cannot be asked have failed."""
    found: Json = {}

    async def ask(site: Site) -> None:
        await site.open()
        found.update(await site.step("state", nodes={node.name: reach(node) for node in site.host.nodes}))

    await sites.each(ask)
    return [_condition(node, found.get(node.name)) for node in cluster.nodes]


def _condition(node: Node, state: Json | None) -> Condition:
    if state is None:
        return Condition(node, False)
    return Condition(node, True, state["version"], state["pid"], state["health"])


async def last_lines(nodes: Sequence[Node], sites: Sites, count: int) -> dict[str, list[str]]:
    """The ends of these nodes' logs."""
    found: dict[str, list[str]] = {}

    async def ask(site: Site) -> None:
        await site.open()
        found.update(
            await site.step("logs", nodes=[node.name for node in site.host.nodes if node in nodes], lines=count)
        )

    await sites.each(ask, [site for site in sites.all if set(nodes) & set(site.host.nodes)])
    return found


async def stop(sites: Sites) -> None:
    """Stop all nodes that can be reached: who asks goes before who answers."""
    await sites.each(look)
    for role in reversed(Role):

        async def stop_tier(site: Site, role: Role = role) -> None:
            for node in site.host.nodes:
                if node.role is role and site.facts["nodes"][node.name]["pid"] is not None:
                    site.say(f"stopping {node.name} ...")
                    await site.step("stop", node=node.name)

        await sites.each(stop_tier)


async def remove(sites: Sites, *, data_too: bool) -> None:
    """Stop all nodes and take away all that was installed; the data only if told so."""
    await stop(sites)

    async def clear(site: Site) -> None:
        request = {"nodes": site.host.node_names, "units": list(units()), "data_too": data_too}
        site.say("removing ...")
        answer = await site.step("remove", b"", REMOVE_SECONDS, **request)
        site.say(f"is clear; the data is in {answer['data']}" if answer["data"] else "is clear")

    await sites.each(clear)
