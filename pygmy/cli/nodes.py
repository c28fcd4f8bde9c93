"""Nodes on this machine: which there are, how each is started, whether its port is free, what its log says."""

import errno
import shlex
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from msgspec import Struct

from pygmy.cluster import Cluster, ClusterError, Node, Role, load_cluster
from pygmy.datadir import data_directory, log_path, pid_path
from pygmy.pidfile import running
from pygmy.schedule import Schedule, hours_from, kept_from

LAST_LINES = 8


class Store(Struct, frozen=True):
    """A cluster and where its data is; `cache`, `books` and `backups` are what its nodes are started with."""

    cluster: Cluster
    cluster_file: str | None
    data: Path
    cache: bool = True
    books: str | None = None
    backups: Schedule = Schedule()

    def command(self, node: Node, *, daemon: bool) -> list[str]:
        """The command line that starts a node."""
        line = [sys.executable, "-m", "pygmy.cli.twistd", *([] if daemon else ["--nodaemon"])]
        line += [f"pygmy-{node.role}", "--node", str(node.index), "--data", str(self.data)]
        if self.cluster_file is not None:
            line += ["--cluster", str(Path(self.cluster_file).absolute())]
        if node.role is Role.CATALOG and self.books is not None:
            line += ["--books", str(Path(self.books).absolute())]
        if node.role is not Role.FRONTEND and self.backups != Schedule():
            line += ["--backup-hours", str(self.backups.hours), "--backups", str(self.backups.kept)]
        if node.role is Role.FRONTEND and not self.cache:
            line.append("--no-cache")
        return line

    def advice(self, what: str) -> str:
        """The command line `pygmy WHAT` for this very store, to be copied by a person."""
        words = ["pygmy", *what.split()]
        if self.cluster_file is not None:
            words += ["--cluster", self.cluster_file]
        if self.data != data_directory():
            words += ["--data", str(self.data)]
        return shlex.join(words)

    def process(self, node: Node) -> int | None:
        """The process that runs the node from this data directory (0: its number is not known yet); None: nobody."""
        return running(pid_path(self.data, node.name))

    def log(self, node: Node) -> Path:
        """The node's log."""
        return log_path(self.data, node.name)

    def last_lines(self, node: Node, since: int = 0) -> list[str]:
        """The end of the node's log, as far as it was written after its first `since` bytes."""
        try:
            with self.log(node).open("rb") as file:
                file.seek(since)
                return file.read().decode("utf-8", "replace").splitlines()[-LAST_LINES:]
        except OSError:
            return []


def store_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--data, --no-cache, --books, --backup-hours and --backups: what a store is opened with."""
    for option in (
        _schedule_option("--backups", kept_from, str(Schedule().kept), "How many backups each replica keeps."),
        _schedule_option(
            "--backup-hours", hours_from, f"{Schedule().hours:g}", "Hours from one backup to the next; 0: none."
        ),
        click.option("--books", type=click.Path(exists=True, dir_okay=False), help="The opening stock."),
        click.option("--no-cache", is_flag=True, help="Open without front-end caches."),
        data_option,
    ):
        command = option(command)
    return command


def _schedule_option(
    name: str, parse: Callable[[str], float], default: str, text: str
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """An option whose values are parsed as the nodes themselves will."""

    def parsed(context: click.Context, parameter: click.Parameter, value: str) -> float:
        try:
            return parse(value)
        except ValueError as error:
            raise click.BadParameter(f"{value!r}: {error}") from None

    return click.option(name, callback=parsed, default=default, show_default=True, help=text)


data_option = click.option(
    "--data", type=click.Path(file_okay=False), help="The data directory. [default: PYGMY_DATA, else ./pygmy-data]"
)


def load_store(
    cluster_file: str | None,
    data: str | None,
    no_cache: bool = False,
    books: str | None = None,
    backups: Schedule = Schedule(),  # noqa: B008
) -> Store:
    """The store that the options describe. A bad cluster file is a usage error."""
    try:
        cluster = load_cluster(cluster_file)
    except ClusterError as error:
        raise click.UsageError(str(error)) from None
    return Store(cluster, cluster_file, data_directory(data), not no_cache, books, backups)


def is_here(node: Node) -> bool:
    """True if the node's host is this machine: an address of its own can be bound."""
    return node.local or _bind(node, 0) is None


def nodes_here(cluster: Cluster) -> list[Node]:
    """The nodes that run on this machine; a usage error if there are none."""
    here = [node for node in cluster.nodes if is_here(node)]
    if not here:
        raise click.UsageError("No node of this cluster runs on this machine.")
    return here


def port_trouble(node: Node) -> str | None:
    """Why the node's port cannot be had; None: it is free."""
    error = _bind(node, node.port)
    if error is None:
        return None
    if error == errno.EADDRINUSE:
        return f"Port {node.port} ({node.name}) is taken by another program."
    return f"Port {node.port} ({node.name}) cannot be used: {errno.errorcode.get(error, str(error))}."


def names(nodes: Sequence[Node]) -> str:
    """`catalog-0, order-1`."""
    return ", ".join(node.name for node in nodes)


def _bind(node: Node, port: int) -> int | None:
    """The errno of binding that port on the node's host; None: it worked."""
    try:
        found = socket.getaddrinfo(node.host, port, type=socket.SOCK_STREAM)
    except OSError:
        return errno.EADDRNOTAVAIL
    # As the node will: a name on IPv4, where it has one.
    family, kind, protocol, _, address = min(found, key=lambda info: info[0] != socket.AF_INET)
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            return error.errno
    return None
