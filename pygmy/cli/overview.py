"""The whole store in a few lines: a table of its nodes, a line a tier, what does not serve and why, and a verdict."""

from collections.abc import Sequence

from pygmy.cli.terminal import paint, printable, table
from pygmy.messages.condition import Head
from pygmy.messages.operations import TIERS
from pygmy.web.status import HEALTHY, ClusterBody, Health, NodeStatus, TierStatus, ViewStatus

RUNNING = "RUNNING"
COLOURS = {RUNNING: "green", "SYNC": "yellow", "INIT": "yellow"}
HASH_DIGITS = 8


def is_open(health: Health) -> bool:
    """True if the front end says that it can do its work."""
    return health.message == HEALTHY


def overview(health: Health, cluster: ClusterBody) -> str:
    """All of it. Text from the store cannot drive the terminal."""
    parts = [cluster_table(cluster.nodes), *map(_tier_lines, cluster.tiers), *_reasons(cluster.nodes)]
    return "\n".join([*parts, verdict(health, cluster.nodes, cluster.tiers)])


# ---- the nodes


def cluster_table(nodes: Sequence[NodeStatus]) -> str:
    """One line a node, what is wrong in colour."""
    rows = [["NODE", "ROLE", "URL", "STATE", "EPOCH", "LAG", "HEAD", "LAST HEARTBEAT"]]
    rows += [
        [
            node.node,
            node.role,
            node.url,
            node.state if node.progress is None else f"{node.state} {node.progress} %",
            _number(node.epoch),
            _number(node.lag),
            _version(node.head),
            "-" if node.heartbeat is None else f"{node.heartbeat:.1f} s ago",
        ]
        for node in nodes
    ]
    clean = [[printable(cell) for cell in row] for row in rows]
    return table(clean, {3: [None, *(_colour(node) for node in nodes)]})


def _colour(node: NodeStatus) -> str:
    return "yellow" if node.state == RUNNING and not _serves(node) else COLOURS.get(node.state, "red")


def _reasons(nodes: Sequence[NodeStatus]) -> list[str]:
    """A line for each node that does not serve and says why."""
    return [
        printable(f"{node.node} does not serve: {node.why}")
        for node in nodes
        if not _serves(node) and " " in node.why
    ]


def _serves(node: NodeStatus) -> bool:
    return node.state == RUNNING and not node.why


# ---- the tiers


def _tier_lines(tier: TierStatus) -> str:
    """The tier's view, who holds the primary copy, sources and head; below it, in colour, where replicas disagree."""
    lines = [paint(printable(_diverged(tier)), "red")] if tier.diverged else []
    if tier.view is None:
        return "\n".join([*lines, f"{tier.tier}  no view: nobody in it can be reached"])
    facts = [_view(tier.view), f"primary {tier.primary or '-'}", _sources(tier.view)]
    if tier.head is not None:
        facts.append(f"head {_named(tier.head)}")
    lines.append(printable(f"{tier.tier}  {'; '.join(facts)}"))
    lines += [
        paint(printable(f"{tier.tier}  {', '.join(view.told_by)} in another {_view(view)}"), "yellow")
        for view in tier.other_views
    ]
    return "\n".join(lines)


def _view(view: ViewStatus) -> str:
    """`view 3.1: catalog-0 (leads), catalog-1`."""
    members = (name + (" (leads)" if name == view.leader else "") for name in sorted(view.members))
    return f"view {view.epoch}.{view.gen}: {', '.join(members)}"


def _sources(view: ViewStatus) -> str:
    """`sources both`, or who they are."""
    if len(view.sources) == len(view.members) > 1:
        return "sources both" if len(view.sources) == 2 else f"sources all {len(view.sources)}"
    return f"{'source' if len(view.sources) == 1 else 'sources'} {', '.join(view.sources)}"


def _diverged(tier: TierStatus) -> str:
    told = ", ".join(f"{name} has {_named(tier.heads[name])}" for name in tier.diverged if name in tier.heads)
    return f"{tier.tier}  DIVERGED: {told}"


def _version(head: Head | None) -> str:
    return "-" if head is None else f"{head.epoch}-{head.seq}"


def _named(head: Head) -> str:
    return f"{_version(head)} {head.hash[:HASH_DIGITS]}"


# ---- the store


def verdict(health: Health, nodes: Sequence[NodeStatus], tiers: Sequence[TierStatus] = ()) -> str:
    """`Open. Every tier has 2 copies.`, or what is wrong."""
    copies = {role: [node for node in nodes if node.role == role] for role in TIERS}
    alive = {role: sum(node.state == RUNNING for node in tier) for role, tier in copies.items()}
    bad = [node for node in nodes if not _serves(node)]
    if not is_open(health):
        return paint("Closed:", "red") + f" {printable(health.message)}"
    if diverged := [tier.tier for tier in tiers if tier.diverged]:
        return paint("Open, but DIVERGED:", "red") + f" the copies of {' and '.join(diverged)} differ."
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
    """`down (refused)`, `still syncing`, `catching up (40 %)`."""
    if node.state == "INIT" and node.progress is not None:
        return f"catching up ({node.progress} %)"
    words = {
        "SYNC": "still syncing",
        "INIT": "just starting",
        "DOWN": f"down ({node.why})" if node.why else "down",
        RUNNING: "not serving",
    }
    return words.get(node.state, node.state)


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)
