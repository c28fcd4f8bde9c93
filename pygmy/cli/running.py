"""`pygmy run`: one node in the foreground, for a container or a supervisor. `pygmy health`: whether it serves."""

import os
import sys
from typing import Any

import click

from pygmy.cli.calling import Settings
from pygmy.cli.daemons import choose_one
from pygmy.cli.failures import UNAVAILABLE
from pygmy.cli.health import HEALTHY, condition
from pygmy.cli.nodes import Store, check_books, load_store
from pygmy.cli.options import settings_of
from pygmy.cli.reacting import react
from pygmy.cli.terminal import printable, say, tell
from pygmy.cluster import Node


@click.command()
@click.argument("node")
@settings_of("run")
def run(settings: Settings, node: str) -> None:
    """Run one node in the foreground until SIGTERM: catalog-0, order-1, frontend-0.

    This process becomes the node, whatever machine the cluster file says that it is on: in a container, process 1.
    """
    store = load_store(settings)
    chosen = choose_one(store, node)
    check_books(settings, store, [chosen])
    command = store.command(chosen, daemon=False)
    sys.stdout.flush()
    os.execv(command[0], command)


@click.command()
@settings_of("health")
def health(settings: Settings) -> None:
    """Say how the nodes are that run on this data directory. Exit code 69 unless there are any, and all serve."""
    store = load_store(settings)
    nodes = [node for node in store.cluster.nodes if store.process(node) is not None]
    if not nodes:
        tell(f"No node runs on {printable(str(store.data))}.", "red")
        raise click.exceptions.Exit(UNAVAILABLE)
    if not react(lambda reactor: _all_healthy(reactor, store, nodes)):
        raise click.exceptions.Exit(UNAVAILABLE)


async def _all_healthy(reactor: Any, store: Store, nodes: list[Node]) -> bool:
    """Ask them all, and print what each one says."""
    said = [await condition(reactor, store, node) for node in nodes]
    for node, word in zip(nodes, said, strict=True):
        say(f"{node.name}: {printable(word or 'no answer')}")
    return all(word == HEALTHY for word in said)
