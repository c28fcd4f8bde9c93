"""`pygmy start` and `pygmy stop`: single nodes as daemons, each with its pid file."""

import os
import signal
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import click
from twisted.internet.utils import getProcessOutputAndValue

from pygmy.cli.calling import Settings
from pygmy.cli.health import condition, pause
from pygmy.cli.nodes import Store, is_here, load_store, nodes_here, port_trouble, shared_log
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
    """Start nodes as daemons: catalog-0, order-1, frontend-0, or all of this machine."""
    store = load_store(settings)
    chosen = choose(store, nodes)
    away = [node for node in chosen if not is_here(node)]
    if away:
        raise click.UsageError(f"{away[0].name} runs on {away[0].host}: start it there.")
    if (trouble := shared_log(store, chosen)) is not None:
        raise click.UsageError(trouble)
    _each(chosen, lambda reactor, node: start_node(reactor, store, node))


@click.command()
@nodes_argument
@settings_of("stop")
def stop(settings: Settings, nodes: tuple[str, ...]) -> None:
    """Stop nodes gracefully, and wait until they have ended."""
    store = load_store(settings)
    _each(choose(store, nodes), lambda reactor, node: stop_node(reactor, store, node))


def choose(store: Store, names: Sequence[str]) -> list[Node]:
    """The nodes of these names, each once; `all` are those of this machine. An unknown name is a usage error."""
    if "all" in names:
        return nodes_here(store.cluster)
    chosen = []
    for name in dict.fromkeys(names):
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


def _each(nodes: Sequence[Node], work: Callable[[Any, Node], Coroutine[Any, Any, bool]]) -> None:
    """Work on all nodes in turn; exit code 1 if it failed on one of them."""

    async def main(reactor: Any) -> bool:
        return all([await work(reactor, node) for node in nodes])

    if not react(main):
        raise click.exceptions.Exit(1)


async def start_node(reactor: Any, store: Store, node: Node) -> bool:
    """True once the node answers (which needs no other node); False, and told why, if it did not come up."""
    if (pid := store.process(node)) is not None:
        say(f"{node.name} is running already (process {pid}).")
        return True
    if (trouble := port_trouble(node)) is not None:
        tell(trouble, "red")
        return False
    log = store.log(node)
    since = log.stat().st_size if log.exists() else 0
    executable, *arguments = store.command(node, daemon=True)
    output, errors, code = await getProcessOutputAndValue(executable, arguments, env=dict(os.environ))
    deadline = reactor.seconds() + START_SECONDS
    while code == 0 and store.process(node) is not None and reactor.seconds() < deadline:
        if await condition(reactor, store, node) is not None:
            say(f"{node.name} is up at {node.url} (process {store.process(node)}).")
            return True
        await pause(reactor)
    _tell_why(store, node, since, (output + errors).decode("utf-8", "replace"))
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


def _tell_why(store: Store, node: Node, since: int, output: str) -> None:
    """The last words of a node that did not come up."""
    tell(f"{node.name} did not start.", "red")
    lines = store.last_lines(node, since) or output.strip().splitlines()[-3:]
    for line in lines:
        tell(f"  {printable(line)}")
