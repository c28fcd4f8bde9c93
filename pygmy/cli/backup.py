"""`pygmy backup`: replicas back themselves up now."""

from typing import TYPE_CHECKING, Any

import click
from msgspec.structs import replace

from pygmy.cli.calling import Settings, admin_token, fail, tcp_client
from pygmy.cli.daemons import choose_replica
from pygmy.cli.failures import UNAVAILABLE, CommandFailed, Interrupted
from pygmy.cli.nodes import load_store
from pygmy.cli.options import settings_of
from pygmy.cli.reacting import react
from pygmy.cli.terminal import printable, say, tell
from pygmy.cluster import Node

if TYPE_CHECKING:
    from pygmy.cli.client import Reply
    from pygmy.routes.backup import BackupBody

PATIENCE = 600.0  # seconds: a large database takes its time


@click.command()
@click.argument("nodes", nargs=-1, metavar="[NODE...]")
@settings_of("backup")
def backup(settings: Settings, nodes: tuple[str, ...]) -> None:
    """Have replicas back themselves up now: these, or all of the store. Needs the admin token."""
    store = load_store(settings)
    replicas = [*store.cluster.catalogs, *store.cluster.orders]
    named = [] if "all" in nodes else dict.fromkeys(nodes)
    chosen = [choose_replica(store, name) for name in named] or replicas
    settings.ca = store.ca

    async def main(reactor: Any) -> bool:
        return all([await _back_up(reactor, settings, node) for node in chosen])

    try:
        admin_token(settings)
        done = react(main)
    except CommandFailed as failure:
        fail(settings, failure)
    if not done:
        raise click.exceptions.Exit(UNAVAILABLE)


async def _back_up(reactor: Any, settings: Settings, node: Node) -> bool:
    """True if there is a backup; it or what went wrong in one line. Raises Interrupted."""
    from pygmy.routes.backup import BackupBody

    client = tcp_client(reactor, replace(settings, url=node.url), max(settings.timeout, PATIENCE))
    try:
        made = await client.write("POST", "/backup", BackupBody, admin=True)
    except Interrupted as failure:
        raise Interrupted(f"{node.name}: {failure}", failure.key) from None
    except CommandFailed as failure:
        tell(printable(f"{node.name}: {failure}"), "red")
        return False
    say(made.body.decode("utf-8", "replace") if settings.json else _line(made))
    return True


def _line(made: "Reply[BackupBody]") -> str:
    """`catalog-0  .../catalog-0-20261125T031500Z-1234.sqlite  69,447,680 bytes, 0.4 s`."""
    body = made.value
    return printable(f"{body.node}  {body.file}  {body.bytes:,} bytes, {body.seconds:.1f} s")
