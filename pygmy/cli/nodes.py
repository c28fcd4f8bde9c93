"""Nodes on this machine: which there are, how each is started, whether its port is free, what its log says."""

import errno
import os
import re
import shlex
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from msgspec import Struct

from pygmy.cli.calling import Settings
from pygmy.cli.options import BadSettings
from pygmy.cli.terminal import printable
from pygmy.cluster import Cluster, ClusterError, Node, Role, load_cluster
from pygmy.datadir import data_directory, log_path, opened_path, pid_path, tls_directory
from pygmy.pidfile import running
from pygmy.settings import Flags, Setting, Values, Written, for_role

LAST_LINES = 8
_CRITICAL = re.compile(r'^\S+ critical |"level":"critical"')  # as both formats have it
PLACES = ("config", "cluster", "data")  # which store it is


class Store(Struct, frozen=True):
    """A cluster and where its data is, and how its nodes are to be started.

    `flags`: the settings that were given as options; `settings_file`: the pygmy.toml that was read; `log_file`: the
    setting `log-file`; `ca`: the file that says which certificates are believed, "" where nodes speak no TLS.
    """

    cluster: Cluster
    cluster_file: str | None
    data: Path
    flags: Flags = {}
    settings_file: Path | None = None
    log_file: str | None = None
    ca: str = ""

    def command(self, node: Node, *, daemon: bool) -> list[str]:
        """The command line that starts a node.

        It says which store this is, and passes on what was given as options; the rest the node finds where we did.
        """
        line = [sys.executable, "-m", "pygmy.cli.twistd", *([] if daemon else ["--nodaemon"])]
        line += [f"pygmy-{node.role}", "--node", str(node.index), "--data", str(self.data)]
        if self.cluster_file is not None:
            line += ["--cluster", str(Path(self.cluster_file).absolute())]
        if self.settings_file is not None:
            line += ["--config", str(self.settings_file)]
        for setting in for_role(node.role):
            if setting.key in self.flags and setting.key not in PLACES:
                line += _words(setting, self.flags[setting.key])
        return line

    def advice(self, what: str) -> str:
        """The command line `pygmy WHAT` for this very store, to be copied by a person."""
        words = ["pygmy", *what.split()]
        for key in PLACES:
            if isinstance(text := self.flags.get(key), str):
                words += [f"--{key}", text]
        return shlex.join(words)

    def process(self, node: Node) -> int | None:
        """The process that runs the node from this data directory (0: its number is not known yet); None: nobody."""
        return running(pid_path(self.data, node.name))

    def log(self, node: Node) -> Path:
        """The node's log."""
        return log_path(self.data, node.name, self.log_file)

    def last_words(self, node: Node, since: int = 0) -> list[str]:
        """Why the node ended, in its log's own lines after its first `since` bytes: else the last ones there are."""
        try:
            with self.log(node).open("rb") as file:
                file.seek(since if since <= os.fstat(file.fileno()).st_size else 0)  # else turned over meanwhile
                lines = file.read().decode("utf-8", "replace").splitlines()[-LAST_LINES:]
        except OSError:
            return []
        return [line for line in lines if _CRITICAL.search(line)] or lines


def load_store(settings: Settings) -> Store:
    """The store that the settings describe. A bad cluster file, or no file of books, is a usage error."""
    values = settings.values
    books = values.all.get("books")
    if books is not None and books.value is not None and not Path(books.value).is_file():
        raise BadSettings(f"{books.origin}: there is no file {printable(books.value)!r}.")
    try:
        cluster = load_cluster(values["cluster"])
    except ClusterError as error:
        raise click.UsageError(str(error)) from None
    data = data_directory(values["data"])
    ca = _ca(values, data)
    if ca:
        cluster = cluster.secured()
    log_file = values["log-file"] if "log-file" in values.all else None
    return Store(cluster, values["cluster"], data, settings.flags, values.file, log_file, ca)


def check_books(settings: Settings, store: Store, nodes: Sequence[Node]) -> None:
    """Before any of these nodes is started: a file of books that is wrong is a usage error, with every fault."""
    books = settings.values.all["books"]
    if books.value is None or not any(node.role is Role.CATALOG for node in nodes):
        return
    from pygmy.opened import check_stock
    from pygmy.opening import BooksError

    try:
        check_stock(books.value, [opened_path(store.data, node.name) for node in nodes])
    except BooksError as error:
        raise BadSettings("\n".join(map(printable, f"{books.origin}: {error}".splitlines()))) from None


def _ca(values: Values, data: Path) -> str:
    """Whom to believe to be a node; "": this store's nodes speak no TLS.

    Where there are no certificates of nodes, a CA that was named tells that of nodes which run elsewhere.
    """
    folder = tls_directory(values["tls"], data)
    if folder is not None:
        return str(folder / "ca.pem")
    opens = "insecure-network" in values.all
    return "" if opens or values["ca"] is None else str(values["ca"])


def _words(setting: Setting, written: Written) -> Iterator[str]:
    """The setting as the words of a command line that may be run elsewhere."""
    if isinstance(written, bool):
        yield setting.flag(written)
        return
    for text in (written,) if isinstance(written, str) else written:
        is_path = setting.path and text and text not in setting.words
        yield from (setting.flag(), str(Path(text).absolute()) if is_path else text)


def shared_log(store: Store, nodes: Sequence[Node]) -> str | None:
    """Why these nodes cannot all be started: they would log into one file, and each turn it over. None: they can."""
    if len({store.log(node) for node in nodes}) == len(nodes):
        return None
    return f"log-file {printable(str(store.log_file))}: expected {{node}} in it, for several nodes."


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
