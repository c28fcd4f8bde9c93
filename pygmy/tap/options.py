"""The command-line options of one node, the same for `twistd pygmy-...` and for the .tac files."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from twisted.internet.endpoints import quoteStringArgument
from twisted.python import usage

from pygmy.cluster import Cluster, Node, Role, load_cluster
from pygmy.datadir import data_directory
from pygmy.schedule import Schedule, hours_from, kept_from

T = TypeVar("T")
TWISTD_DEFAULT_PIDFILE = "twistd.pid"


class NodeOptions(usage.Options):
    """What every node is told; subclasses name their `role` and add what only it needs.

    After parsing, `cluster`, `node`, `data` (absolute), `port` (an endpoint string) and `backups` hold the checked
    values.
    """

    role: Role
    cluster: Cluster
    node: Node
    data: Path
    port: str
    backups: Schedule | None = None  # for replicas

    optParameters: Sequence[Sequence[object]] = [
        ["cluster", None, None, "The cluster file (three lines); without one, five nodes on localhost."],
        ["node", None, "0", "Which node of its tier this is: 0, 1, ... or its full name."],
        ["data", None, None, "The data directory. [default: PYGMY_DATA, else ./pygmy-data]"],
        ["port", None, None, "A Twisted endpoint to listen on in place of the cluster file's port."],
    ]

    def getSynopsis(self) -> str:
        """The first line of --help."""
        return f"Usage: twistd [twistd's options] pygmy-{self.role} [options]"

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse; under twistd a mistake ends the process with one line, not with twistd's whole help."""
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            if self.parent is None:
                raise
            raise SystemExit(one_line(self.role, error)) from None

    def postOptions(self) -> None:
        """Check the values together. Raises UsageError."""
        try:
            self.cluster = load_cluster(self["cluster"])
        except (OSError, ValueError) as error:
            raise usage.UsageError(describe(error)) from None
        self.node = find_node(self.cluster, self.role, self["node"])
        self.data = data_directory(self["data"])
        self.port = self["port"] or default_endpoint(self.node)
        self._keep_own_pid_file()

    def _keep_own_pid_file(self) -> None:
        """Switch off twistd's default, one ./twistd.pid for all: each node keeps DATA/<node>/twistd.pid itself."""
        if self.parent is not None and self.parent.get("pidfile") == TWISTD_DEFAULT_PIDFILE:
            self.parent["pidfile"] = ""


class ReplicaOptions(NodeOptions):
    """What nodes with a database are told, too."""

    optParameters: Sequence[Sequence[object]] = [
        ["backup-hours", None, f"{Schedule().hours:g}", "Hours from one backup to the next; 0: none by themselves."],
        ["backups", None, str(Schedule().kept), "How many backups are kept."],
    ]

    def postOptions(self) -> None:
        """Check the values together. Raises UsageError."""
        super().postOptions()
        self.backups = Schedule(
            _parsed("backup-hours", self["backup-hours"], hours_from), _parsed("backups", self["backups"], kept_from)
        )


def _parsed(name: str, text: str, parse: Callable[[str], T]) -> T:
    try:
        return parse(text)
    except ValueError as error:
        raise usage.UsageError(f"--{name} {text}: {error}") from None


def find_node(cluster: Cluster, role: Role, text: str) -> Node:
    """The node of this role that `0` or `catalog-0` names. Raises UsageError that says which there are."""
    tier = cluster.tier(role)
    match = re.fullmatch(rf"(?:{role}-)?([0-9]{{1,6}})", text)
    if match is None:
        raise usage.UsageError(f"--node {text}: expected an index such as 0, or {role}-0.")
    index = int(match.group(1))
    if index >= len(tier):
        names = ", ".join(node.name for node in tier)
        raise usage.UsageError(f"--node {text}: the cluster has {names}.")
    return tier[index]


def default_endpoint(node: Node) -> str:
    """Where a node listens unless told otherwise: on loopback where the cluster says so, else on every interface."""
    if ":" in node.host:
        interface = "::1" if node.local else "::"
        return f"tcp6:{node.port}:interface={quoteStringArgument(interface)}"
    if not node.local:
        return f"tcp:{node.port}"
    address = "127.0.0.1" if node.host.lower() == "localhost" else node.host
    return f"tcp:{node.port}:interface={address}"


def one_line(role: Role, error: Exception) -> str:
    """What the terminal shows of an error that keeps a node from starting."""
    return f"pygmy-{role}: {describe(error)}"


def describe(error: Exception) -> str:
    """An error in one line, with the file it is about where there is one."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) or type(error).__name__
