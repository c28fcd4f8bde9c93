"""`pygmy force-view`: a tier whose last source is gone goes on from another copy, if its operator says so."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
from msgspec import Struct
from msgspec.structs import replace

from pygmy.cli.calling import Settings, admin_token, fail, tcp_client
from pygmy.cli.daemons import choose_replica
from pygmy.cli.failures import CommandFailed, Unavailable
from pygmy.cli.nodes import Store, load_store
from pygmy.cli.options import settings_of
from pygmy.cli.reacting import react
from pygmy.cli.terminal import paint, printable, say, tell
from pygmy.cluster import Node

if TYPE_CHECKING:
    from pygmy.routes.forcing import ForcedBody, ViewBody

CHANGE_SECONDS = 15.0


class Copy(Struct, frozen=True):
    """A node of the tier, and what it says of the view and of its own log (None: nothing, and the `failure`)."""

    node: Node
    view: "ViewBody | None"
    failure: CommandFailed | None = None


@click.command("force-view")
@click.argument("name", metavar="NODE")
@click.option("--yes", is_flag=True, help="Do not ask.")
@settings_of("force-view")
def force_view(settings: Settings, name: str, yes: bool) -> None:
    """Have NODE's tier go on from NODE's copy alone, when every copy that has all is gone for good.

    What only those had acknowledged is lost. It says what that is, as far as anyone knows, and asks first. The nodes
    that are given up must be off for good: one that still runs somewhere must not be reached by anybody.
    """
    store = load_store(settings)
    node = choose_replica(store, name)
    settings.ca = store.ca
    try:
        admin_token(settings)
        epoch = react(lambda reactor: _run(reactor, settings, store, node, yes))
    except CommandFailed as failure:
        fail(settings, failure)
    say(f"The {node.role} tier goes on from {node.name}, in epoch {epoch}. It is recorded in the tier's log.")


async def _run(reactor: Any, settings: Settings, store: Store, node: Node, yes: bool) -> int:
    view = _look(node, await _copies(reactor, settings, store.cluster.tier(node.role)))
    if not yes:
        click.confirm(f"Go on from {node.name}, without {_names(view.sources)}?", abort=True, err=True)
    return (await _force(reactor, settings, node, view)).epoch


def _look(node: Node, copies: list[Copy]) -> "ViewBody":
    """Tell how every copy of the tier is and what would be lost; the view to be replaced.

    It ends with exit code 1 where nothing need be forced, and with that of the failure where the node says nothing.
    """
    chosen = next(copy for copy in copies if copy.node == node)
    for copy in copies:
        tell(_line(copy))
    view = chosen.view
    if chosen.failure is not None:
        if isinstance(chosen.failure, Unavailable):
            tell(f"{node.name} does not answer: start it first.", "red")
        raise chosen.failure
    assert view is not None
    if view.objection:
        tell(f"Not forced: {printable(view.objection)}", "red")
        raise click.exceptions.Exit(1)
    tell(warning(view, copies), "yellow")
    return view


def warning(view: "ViewBody", copies: list[Copy]) -> str:
    """What may be lost."""
    ahead = [copy for copy in copies if copy.view is not None and copy.view.head[1] > view.head[1]]
    lines = [
        f"The last view of the tier, {view.epoch}.{view.gen}, has {_names(view.sources)} as its only"
        f" {'source' if len(view.sources) == 1 else 'sources'}: what was acknowledged after batch {view.head[1]} of"
        f" {view.node}, decided at {_when(view.newest)}, is lost for good.",
        "Nobody can say how much that is. A buyer who was told of an order may find no trace of it.",
        f"{_names(view.sources)} must be off for good, and come back with an empty directory only.",
    ]
    lines += [f"{copy.node.name} has more: up to batch {copy.view.head[1]}." for copy in ahead if copy.view]
    return "\n".join(lines)


async def _copies(reactor: Any, settings: Settings, nodes: tuple[Node, ...]) -> list[Copy]:
    from pygmy.routes.forcing import ViewBody

    found = []
    for node in nodes:
        client = tcp_client(reactor, replace(settings, url=node.url))
        try:
            found.append(Copy(node, (await client.get("/view", ViewBody, admin=True)).value))
        except CommandFailed as failure:
            found.append(Copy(node, None, failure))
    return found


async def _force(reactor: Any, settings: Settings, node: Node, view: "ViewBody") -> "ForcedBody":
    from pygmy.routes.forcing import ForceBody, ForcedBody

    client = tcp_client(reactor, replace(settings, url=node.url), max(settings.timeout, CHANGE_SECONDS))
    body = ForceBody(view.epoch, view.gen)
    return (await client.write("POST", "/view", ForcedBody, body, admin=True)).value


def _line(copy: Copy) -> str:
    if copy.view is None:
        return f"  {copy.node.name}  {paint('does not answer', 'red')} ({printable(str(copy.failure))})"
    view = copy.view
    return f"  {copy.node.name}  {view.state}, batches up to {view.head[1]}, the last one of {_when(view.newest)}"


def _when(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if at else "no time"


def _names(names: tuple[str, ...]) -> str:
    return " and ".join(names) if names else "nobody"
