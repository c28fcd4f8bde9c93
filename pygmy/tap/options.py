"""The command-line options of one node, the same for `twistd pygmy-...` and for the .tac files."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from twisted.python import usage

from pygmy.cluster import Cluster, Node, Role, load_cluster
from pygmy.datadir import data_directory, tls_directory
from pygmy.settings import Setting, Values, Written, for_role, resolve

TWISTD_DEFAULT_PIDFILE = "twistd.pid"


class NodeOptions(usage.Options):
    """What a node is told: the settings of its `role`, which subclasses name, as options.

    After parsing, `settings` holds them out of all layers, and `cluster`, `node`, `data` (absolute) and `port` (an
    endpoint string) what has been made of them; `tls` is where its certificates are (None: it speaks no TLS).
    """

    role: Role
    settings: Values
    cluster: Cluster
    node: Node
    data: Path
    port: str
    tls: Path | None

    def __init__(self) -> None:
        self.flags: dict[str, Written] = {}
        super().__init__()

    def __init_subclass__(cls) -> None:
        """Give the role's options to its class: a method each, which is how usage.Options learns of them."""
        for one in for_role(cls.role):
            for name, method in _methods(one):
                setattr(cls, f"opt_{name}", method)

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
        """Ask all layers, and check the values together. Raises UsageError."""
        try:
            self.settings = resolve(for_role(self.role), self.flags)
            self.cluster = load_cluster(self.settings["cluster"])
        except (OSError, ValueError) as error:
            raise usage.UsageError(describe(error)) from None
        self.node = find_node(self.cluster, self.role, self.settings)
        self.data = data_directory(self.settings["data"])
        self.tls = tls_directory(self.settings["tls"], self.data)
        if self.tls is not None:
            self.cluster = self.cluster.secured()
            self.node = self.cluster.node(self.node.name)
        self.port = self.settings["port"] or default_endpoint(self.node)
        self._keep_own_pid_file()

    def _keep_own_pid_file(self) -> None:
        """Switch off twistd's default, one ./twistd.pid for all: each node keeps DATA/<node>/twistd.pid itself."""
        if self.parent is not None and self.parent.get("pidfile") == TWISTD_DEFAULT_PIDFILE:
            self.parent["pidfile"] = ""


def _methods(one: Setting) -> Iterator[tuple[str, Callable[..., None]]]:
    """(name, method) of each option that a setting comes as."""

    def on(options: NodeOptions) -> None:
        options.flags[one.key] = True

    def off(options: NodeOptions) -> None:
        options.flags[one.key] = False

    def takes(options: NodeOptions, text: str) -> None:
        before = options.flags.get(one.key, ())
        options.flags[one.key] = (*before, text) if one.many and isinstance(before, tuple) else text

    methods = {one.identifier: on, f"no_{one.identifier}": off} if one.switch else {one.identifier: takes}
    for name, method in methods.items():
        method.__doc__ = f"{one.help} [default: {one.shown_default}]"
        yield name, method


def find_node(cluster: Cluster, role: Role, settings: Values) -> Node:
    """The node of this role that `0` or `catalog-0` names. Raises UsageError that says which there are."""
    tier = cluster.tier(role)
    text = settings["node"]
    said = settings.all["node"].said
    match = re.fullmatch(rf"(?:{role}-)?([0-9]{{1,6}})", text)
    if match is None:
        raise usage.UsageError(f"{said}: expected an index such as 0, or {role}-0.")
    index = int(match.group(1))
    if index >= len(tier):
        names = ", ".join(node.name for node in tier)
        raise usage.UsageError(f"{said}: the cluster has {names}.")
    return tier[index]


def default_endpoint(node: Node) -> str:
    """Where a node listens unless told otherwise: on loopback where the cluster says so, else on every interface."""
    if ":" in node.host:
        interface = "::1" if node.local else "::"
        quoted = interface.replace(":", "\\:")  # Twisted's function for it would load TLS
        return f"tcp6:{node.port}:interface={quoted}"
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
