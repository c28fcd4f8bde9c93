"""`pygmy run`: one node in the foreground, as a container or a supervisor wants it. `pygmy health`: whether it serves."""

import os
import sys
from typing import Any

import click

from pygmy.cli.daemons import choose, cluster_option
from pygmy.cli.failures import UNAVAILABLE
from pygmy.cli.health import HEALTHY, condition
from pygmy.cli.nodes import data_option, load_store, store_options
from pygmy.cli.reacting import react
from pygmy.cli.terminal import printable, say, tell
from pygmy.cluster import Node
from pygmy.schedule import Schedule


@click.command()
@click.argument("node", metavar="NODE")
@cluster_option
@store_options
def run(
    node: str,
    cluster_file: str | None,
    data: str | None,
    no_cache: bool,
    books: str | None,
    backup_hours: float,
    backups: int,
) -> None:
    """Run one node in the foreground until SIGTERM: catalog-0, order-1, frontend-0.

    This process becomes the node, whatever machine the cluster file says that it is on: in a container, process 1.
    """
    store = load_store(cluster_file, data, no_cache, books, Schedule(backup_hours, backups))
    if node == "all":
        raise click.UsageError("One node at a time: which?")
    (chosen,) = choose(store, [node])
    command = store.command(chosen, daemon=False)
    sys.stdout.flush()
    os.execv(command[0], command)


@click.command()
@cluster_option
@data_option
def health(cluster_file: str | None, data: str | None) -> None:
    """Say how the nodes are that run on this data directory. Exit code 69 unless there are any, and all serve."""
    store = load_store(cluster_file, data)
    nodes = [node for node in store.cluster.nodes if store.process(node) is not None]
    if not nodes:
        tell(f"No node runs on {store.data}.", "red")
        raise click.exceptions.Exit(UNAVAILABLE)
    if not react(lambda reactor: _all_healthy(reactor, nodes)):
        raise click.exceptions.Exit(UNAVAILABLE)


async def _all_healthy(reactor: Any, nodes: list[Node]) -> bool:
    """Ask them all, and print what each one says."""
    said = [await condition(reactor, node) for node in nodes]
    for node, word in zip(nodes, said, strict=True):
        say(f"{node.name}: {printable(word or 'no answer')}")
    return all(word == HEALTHY for word in said)
