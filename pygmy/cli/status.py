"""`pygmy status`: the whole store at a glance."""

from collections.abc import Sequence

import click
import msgspec

from pygmy.cli.calling import Settings, call
from pygmy.cli.client import Reply, StoreClient
from pygmy.cli.failures import UNAVAILABLE
from pygmy.cli.terminal import paint, printable, say, table
from pygmy.web.status import ClusterBody, Health, NodeStatus

TIERS = ("catalog", "order")
HEALTHY = "RUNNING"
COLOURS = {HEALTHY: "green", "SYNC": "yellow", "INIT": "yellow"}


@click.command()
@click.pass_obj
def status(settings: Settings) -> None:
    """Show every node, and in one line how the store is. Exit code 69 unless it is open."""

    async def ask(store: StoreClient) -> tuple[Reply[Health], Reply[ClusterBody]]:
        return await store.status("/health", Health), await store.status("/cluster", ClusterBody)

    health, cluster = call(settings, ask)
    if settings.json:
        both = {"health": msgspec.Raw(health.body), "cluster": msgspec.Raw(cluster.body)}
        say(msgspec.json.encode(both).decode())
    else:
        say(cluster_table(cluster.value.nodes))
        say(verdict(health.value, cluster.value.nodes))
    if not is_open(health.value):
        raise click.exceptions.Exit(UNAVAILABLE)


def is_open(health: Health) -> bool:
    """True if the front end says that it can do its work."""
    return health.message == "Healthy"


def cluster_table(nodes: Sequence[NodeStatus]) -> str:
    """One line a node, what is wrong in colour."""
    rows = [["NODE", "ROLE", "URL", "STATE", "EPOCH", "LAG", "LAST HEARTBEAT"]]
    rows += [
        [
            node.node,
            node.role,
            node.url,
            node.state,
            _number(node.epoch),
            _number(node.lag),
            "-" if node.heartbeat is None else f"{node.heartbeat:.1f} s ago",
        ]
        for node in nodes
    ]
    clean = [[printable(cell) for cell in row] for row in rows]
    return table(clean, {3: [None, *(COLOURS.get(node.state, "red") for node in nodes)]})


def verdict(health: Health, nodes: Sequence[NodeStatus]) -> str:
    """`Open. Every tier has 2 copies.`, or what is wrong."""
    copies = {role: [node for node in nodes if node.role == role] for role in TIERS}
    alive = {role: sum(node.state == HEALTHY for node in tier) for role, tier in copies.items()}
    bad = [node for node in nodes if node.state != HEALTHY]
    if not is_open(health):
        return paint("Closed:", "red") + f" {printable(health.message)}"
    if not bad:
        return paint("Open.", "green") + _all_well(alive)
    short = [f"{role} has {_copies(alive[role])}" for role in TIERS if alive[role] < len(copies[role])]
    reasons = ", ".join(printable(f"{node.node} is {_condition(node)}") for node in bad)
    return paint("Open", "yellow") + f", but {' and '.join(short)}{': ' if short else ''}{reasons}."


def _all_well(alive: dict[str, int]) -> str:
    if len(set(alive.values())) == 1:
        return f" Every tier has {_copies(next(iter(alive.values())))}."
    return " " + ", ".join(f"{role} has {_copies(count)}" for role, count in alive.items()) + "."


def _copies(count: int) -> str:
    return "1 copy" if count == 1 else f"{count} copies"


def _condition(node: NodeStatus) -> str:
    """`down (refused)`, `still syncing`."""
    words = {"SYNC": "still syncing", "INIT": "just starting", "DOWN": f"down ({node.why})" if node.why else "down"}
    return words.get(node.state, node.state)


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)
