"""`pygmy up`: a whole store on this machine, from one command, for as long as it runs."""

import math
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

import click
from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from pygmy.cli.calling import Settings
from pygmy.cli.children import Child, kill, spawn, stop
from pygmy.cli.following import Follower
from pygmy.cli.health import HEALTHY, condition, pause
from pygmy.cli.nodes import Store, check_books, load_store, names, nodes_here, port_trouble, shared_log
from pygmy.cli.options import settings_of
from pygmy.cli.terminal import COLOURS, paint, printable, say, silence, tell
from pygmy.cluster import Node, Role
from pygmy.datadir import data_directory, pid_path, tls_path

OPEN_SECONDS = 120.0
STOP_SECONDS = 10.0
FOLLOW_SECONDS = 0.2


@click.command()
@click.option("--docker", is_flag=True, help="Run each node in a container of its own.")
@settings_of("up", argument="cluster")
def up(settings: Settings, docker: bool) -> None:
    """Open a store on this machine: its nodes of CLUSTER (default: five), until Ctrl-C."""
    store = load_store(settings)
    if docker:
        from pygmy.cli.docker import up_in_containers

        up_in_containers(settings, store)
        return
    nodes = nodes_here(store.cluster)
    if (trouble := obstacle(store, nodes)) is not None:
        tell(trouble, "red")
        raise click.exceptions.Exit(1)
    check_books(settings, store, nodes)
    task.react(lambda reactor: Deferred.fromCoroutine(Opening(reactor, store, nodes).run()))


def obstacle(store: Store, nodes: Sequence[Node]) -> str | None:
    """Why these nodes cannot be started here: they run already, would share a log, or ports are taken."""
    if (trouble := shared_log(store, nodes)) is not None:
        return trouble
    alive = [node for node in nodes if store.process(node) is not None]
    if len(alive) == len(nodes):
        url = front_ends(store, nodes)[0].url
        return f"Pygmy is open already at {url} with this data directory. `{store.advice('stop all')}` closes it."
    if alive:
        return f"Already open in part: {names(alive)} on {store.data}. `{store.advice('stop all')}` closes them."
    troubles = [trouble for node in nodes if (trouble := port_trouble(node)) is not None]
    if troubles:
        return "\n".join([*troubles, "Stop what uses it, or name other ports in a cluster file (host:port)."])
    return None


def front_ends(store: Store, nodes: Sequence[Node]) -> list[Node]:
    """Where the store is entered: the front ends among these nodes, or those of other machines if there are none."""
    return [node for node in nodes if node.role is Role.FRONTEND] or list(store.cluster.frontends)


class Opening:
    """One run of `pygmy up`: open, follow, close. `nodes` are those of this machine."""

    def __init__(self, reactor: Any, store: Store, nodes: Sequence[Node]) -> None:
        self._reactor = reactor
        self._store = store
        self._nodes = nodes
        self._front_ends = front_ends(store, nodes)
        self._children: list[Child] = []
        self._asked = False
        self._closing = False
        self._opened = False
        self._trouble: str | None = None
        self._none_left = False
        self._interrupts = 0
        self._quit: Deferred[None] = Deferred()
        self._followers: list[tuple[str, Follower]] = []

    async def run(self) -> None:
        """Open the store and keep it open until told to stop, or until its nodes were stopped by others.

        SystemExit(1): it could not, or they ended otherwise.
        """
        self._catch_signals()  # before there are nodes that would outlive us
        self._reactor.callWhenRunning(self._catch_signals)  # and after the reactor has put its own in their place
        self._logs_before = {node.name: _size(self._store, node) for node in self._nodes}
        self._tell(f"Opening {names(self._nodes)} on {self._store.data} ...")
        try:
            for child in spawn(self._reactor, self._store, self._nodes, self._ended):
                self._children.append(child)
            self._trouble = await self._wait_until_open()
            if self._trouble is None and not self._asked:
                await self._serve()
        finally:
            await self._close()
        if self._trouble is not None:
            self._tell(self._trouble, "red")
            raise SystemExit(1)

    # ---- speaking

    def _say(self, text: str) -> None:
        try:
            say(text)
        except OSError:
            self._unheard(sys.stdout)

    def _tell(self, text: str, colour: str | None = None) -> None:
        try:
            tell(text, colour)
        except OSError:
            self._unheard(sys.stderr)

    def _unheard(self, stream: TextIO) -> None:
        """Whoever read this has gone away, as the reader of a pipe does: that closes the store, as Ctrl-C does."""
        silence(stream)
        self._ask()

    # ---- opening

    async def _wait_until_open(self) -> str | None:
        """None once every front end is healthy, or when told to stop; else why that will not be.

        For nodes of other machines, which somebody starts there, it waits as long as it takes.
        """
        away = [node for node in self._store.cluster.nodes if node not in self._nodes]
        if away:
            self._tell(f"Waiting for {names(away)} on other machines, too ...")
        deadline = math.inf if away else self._reactor.seconds() + OPEN_SECONDS
        waiting = list(self._front_ends)
        said: str | None = None
        while waiting and not self._asked:
            if dead := [child for child in self._children if child.ended is not None]:
                return "\n".join(self._why(child) for child in dead)
            said = await condition(self._reactor, self._store, waiting[0])
            if said == HEALTHY:
                waiting.pop(0)
            elif self._reactor.seconds() > deadline:
                return f"Not open after {OPEN_SECONDS:g} s: {waiting[0].name} says {said or 'nothing'!r}."
            else:
                await pause(self._reactor)
        return None

    def _why(self, child: Child) -> str:
        """How a child ended; its last words, unless it was told to."""
        if child.stopped:
            return f"{child.node.name} has been stopped."
        since = self._logs_before[child.node.name]
        said = child.errors.decode("utf-8", "replace").strip().splitlines()[-3:]
        lines = said or self._store.last_words(child.node, since)
        told = "".join(f"\n  {printable(line)}" for line in lines)
        return f"{child.node.name} has ended ({child.ended})." + told

    # ---- open

    async def _serve(self) -> None:
        """Tell that it is open, then show what the nodes log until told to stop."""
        self._opened = True
        url = self._front_ends[0].url
        self._say(paint(f"Pygmy is open at {url}", "green"))
        pygmy, curl = commands(self._store, url)
        self._say(f"  {pygmy} search\n  {pygmy} buy 1\n  {curl} {url}/books/1")
        self._say("Ctrl-C closes it. Kill any node meanwhile, and start it again:")
        self._say(f"  {self._store.advice(f'start {self._nodes[0].name}')}")
        self._followers = [(node.name, Follower(self._store.log(node))) for node in self._nodes]
        loop = LoopingCall(self._look)
        loop.clock = self._reactor
        loop.start(FOLLOW_SECONDS)
        await self._quit
        loop.stop()

    def _look(self) -> None:
        """Show what is new; when nobody runs any more, that was all."""
        over = not self._asked and not self._any_running()
        self._follow()
        if over:
            self._none_left = True
            self._tell_of_the_end()
            self._ask()

    def _follow(self) -> None:
        width = max(len(name) for name, _ in self._followers)
        for number, (name, follower) in enumerate(self._followers):
            prefix = paint(name.ljust(width), COLOURS[number % len(COLOURS)])
            for line in follower.lines():
                self._say(f"{prefix}  {printable(line)}")

    def _any_running(self) -> bool:
        """True while there is a node: a child of ours, or one that was started by hand in its place."""
        ours = any(child.ended is None for child in self._children)
        return ours or any(self._store.process(node) is not None for node in self._nodes)

    def _tell_of_the_end(self) -> None:
        """All nodes were ended by others. Who was stopped in order has put its pid file away."""
        fallen = [node for node in self._nodes if pid_path(self._store.data, node.name).exists()]
        if fallen:
            self._trouble = f"No node is left. {names(fallen)} did not stop in order."
        else:
            self._tell("All nodes have been stopped: the store is closed.")

    def _ended(self, child: Child) -> None:
        """A node has ended: say so, and carry on, which is what the store is for."""
        if self._closing or not self._opened:
            return
        if child.stopped:
            self._tell(self._why(child))
            return
        self._tell(self._why(child), "yellow")
        if self._any_running():
            advice = self._store.advice(f"start {child.node.name}")
            self._tell(f"The others carry on. Start it again: {advice}", "yellow")

    # ---- closing

    def _catch_signals(self) -> None:
        """Our own handlers in place of the reactor's: it must run on until the nodes have ended."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._reactor.callFromThread(self._interrupt)

    def _interrupt(self) -> None:
        """Close the store; told a second time, at once."""
        self._interrupts += 1
        if self._interrupts == 2 and self._closing:
            kill(self._children)
        self._ask()

    def _ask(self) -> None:
        """Close the store."""
        if not self._asked:
            self._asked = True
            self._quit.callback(None)

    def _restarted(self) -> list[int]:
        """Processes of this store that were started by hand while we ran."""
        if not self._opened:
            return []
        ours = {child.transport.pid for child in self._children if child.ended is None and child.transport}
        processes = (self._store.process(node) for node in self._nodes)
        return [pid for pid in processes if pid and pid not in ours]

    async def _close(self) -> None:
        """End all nodes: ours with force if need be, those that were started by hand with SIGTERM only."""
        self._closing = True
        if self._none_left:
            return  # and whoever has been started since is nobody of ours
        self._tell("Closing ...")
        for pid in self._restarted():
            os.kill(pid, signal.SIGTERM)
        await stop(self._reactor, self._children, STOP_SECONDS)
        deadline = self._reactor.seconds() + STOP_SECONDS
        while self._restarted() and self._reactor.seconds() < deadline:
            await pause(self._reactor)


def commands(store: Store, url: str) -> tuple[str, str]:
    """`pygmy` and `curl` with what they need to reach this store, for people to copy."""
    words = ["pygmy"]
    if url not in ("http://localhost:5002", "https://localhost:5002"):
        words += ["--frontend-server", url.removeprefix("http://")]
    if not store.ca:
        return shlex.join(words), "curl"
    if Path(store.ca) != tls_path(data_directory()) / "ca.pem":
        words += ["--ca", store.ca]
    return shlex.join(words), shlex.join(["curl", "--cacert", store.ca])


def _size(store: Store, node: Node) -> int:
    log = store.log(node)
    return log.stat().st_size if log.exists() else 0
