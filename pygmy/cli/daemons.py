"""`pygmy start` and `pygmy stop`: single nodes as daemons, each with its pid file."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from twisted.internet.utils import getProcessOutputAndValue

from pygmy.cli.calling import Settings
from pygmy.cli.health import OPENING, condition, pause
from pygmy.cli.nodes import Store, check_books, is_here, load_store, names, nodes_here, port_trouble, shared_log
from pygmy.cli.options import settings_of
from pygmy.cli.reacting import react
from pygmy.cli.terminal import printable, say, tell
from pygmy.cluster import Node, Role

STOP_SECONDS = 15.0
START_SECONDS = 60.0

nodes_argument = click.argument("nodes", nargs=-1, required=True, metavar="NODE...|all")


@click.command()
@nodes_argument
@settings_of("start")
def start(settings: Settings, nodes: tuple[str, ...]) -> None:
    """Start nodes as daemons: catalog-0, order-1, frontend-0, or all of this machine. Exit code 1: not all are up."""
    store = load_store(settings)
    chosen = choose(store, nodes)
    away = [node for node in chosen if not is_here(node)]
    if away:
        raise click.UsageError(f"{away[0].name} runs on {away[0].host}: start it there.")
    if (trouble := shared_log(store, chosen)) is not None:
        raise click.UsageError(trouble)
    check_books(settings, store, chosen)
    down = react(lambda reactor: _start(reactor, store, chosen))
    if down:
        if len(chosen) > 1:
            tell(f"{len(down)} of {len(chosen)} nodes did not come up: {names(down)}.", "red")
        raise click.exceptions.Exit(1)


@click.command()
@nodes_argument
@settings_of("stop")
def stop(settings: Settings, nodes: tuple[str, ...]) -> None:
    """Stop nodes gracefully, and wait until they have ended."""
    store = load_store(settings)
    chosen = choose(store, nodes)

    async def main(reactor: Any) -> bool:
        return all([await stop_node(reactor, store, node) for node in chosen])

    if not react(main):
        raise click.exceptions.Exit(1)


def choose(store: Store, wanted: Sequence[str]) -> list[Node]:
    """The nodes that are wanted, each once; `all` are those of this machine. An unknown name is a usage error."""
    if "all" in wanted:
        return nodes_here(store.cluster)
    chosen = []
    for name in dict.fromkeys(wanted):
        try:
            chosen.append(store.cluster.node(name))
        except KeyError:
            known = ", ".join(node.name for node in store.cluster.nodes)
            raise click.UsageError(f"There is no node {name!r}. There are {known}, or all.") from None
    return chosen


def choose_one(store: Store, name: str) -> Node:
    """The one node of this name; a usage error if there is none."""
    if name == "all":
        raise click.UsageError("One node at a time: which?")
    (node,) = choose(store, [name])
    return node


def choose_replica(store: Store, name: str) -> Node:
    """The one replica of this name. Anything else, be it a front end, which has no database, is a usage error."""
    node = choose_one(store, name)
    if node.role is Role.FRONTEND:
        raise click.UsageError(f"{node.name} is a front end: it has no database, and keeps no copy of anything.")
    return node


async def _start(reactor: Any, store: Store, nodes: Sequence[Node]) -> list[Node]:
    """Start them in turn; those that are not up in the end, each told of."""
    before = {node: _size(store.log(node)) for node in nodes}
    up = [node for node in nodes if await start_node(reactor, store, node)]
    for node in up:
        if store.process(node) is None:
            _tell_why(store, node, before[node], f"{node.name} has ended since.")
    return [node for node in nodes if node not in up or store.process(node) is None]


async def start_node(reactor: Any, store: Store, node: Node) -> bool:
    """True once its databases are open (which needs no other node); False, and told why, if it did not come up."""
    if (pid := store.process(node)) is not None:
        say(f"{node.name} is running already (process {pid}).")
        return True
    if (trouble := port_trouble(node)) is not None:
        tell(trouble, "red")
        return False
    since = _size(store.log(node))
    executable, *arguments = store.command(node, daemon=True)
    output, errors, code = await getProcessOutputAndValue(executable, arguments, env=dict(os.environ))
    deadline = reactor.seconds() + START_SECONDS
    while code == 0 and store.process(node) is not None and reactor.seconds() < deadline:
        if await condition(reactor, store, node) not in (None, OPENING):
            say(f"{node.name} is up at {node.url} (process {store.process(node)}).")
            return True
        await pause(reactor)
    _tell_why(store, node, since, f"{node.name} did not start.", (output + errors).decode("utf-8", "replace"))
    return False


async def stop_node(reactor: Any, store: Store, node: Node) -> bool:
    """True once the node does not run; False if it has not ended within STOP_SECONDS."""
    pid = store.process(node)
    if pid is None:
        say(f"{node.name} is not running.")
        return True
    if pid:
        os.kill(pid, signal.SIGTERM)
    deadline = reactor.seconds() + STOP_SECONDS
    while reactor.seconds() < deadline:
        if store.process(node) is None:
            say(f"{node.name} has stopped.")
            return True
        await pause(reactor)
    tell(f"{node.name} (process {pid}) has not stopped within {STOP_SECONDS:g} s.", "red")
    return False


def _tell_why(store: Store, node: Node, since: int, what: str, output: str = "") -> None:
    """What became of a node, its last words since, and where there is more."""
    tell(what, "red")
    logged = store.last_words(node, since)
    for line in logged or output.strip().splitlines()[-3:]:
        tell(f"  {printable(line)}")
    if logged:
        tell(f"  Its log is {printable(str(store.log(node)))}")


def _size(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0
