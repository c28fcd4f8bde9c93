"""The cluster file: three lines that name every node of a store.

Line 1 lists the catalog hosts, line 2 the order hosts, line 3 the front-end hosts, separated by commas.
Host i of a line listens on 5000+3i (catalog), 5001+3i (order) or 5002+3i (front end)
unless it is written `host:port`.
"""

import re
from collections.abc import Iterator
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address

from msgspec import Struct
from msgspec.structs import replace

MOST_REPLICAS = 9
MOST_FRONTENDS = 99
LARGEST_FILE = 65536
DEFAULT = "localhost, localhost\nlocalhost, localhost\nlocalhost\n"

_NAME = re.compile(
    r"(?!.{254})[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*"
)
_PORT = re.compile(r"[0-9]{1,5}")


class Role(StrEnum):
    """What a node does; the order is that of the file's lines."""

    CATALOG = "catalog"
    ORDER = "order"
    FRONTEND = "frontend"


_FIRST_PORT = {Role.CATALOG: 5000, Role.ORDER: 5001, Role.FRONTEND: 5002}
_MOST = {Role.CATALOG: MOST_REPLICAS, Role.ORDER: MOST_REPLICAS, Role.FRONTEND: MOST_FRONTENDS}
_HOSTS = {Role.CATALOG: "catalog hosts", Role.ORDER: "order hosts", Role.FRONTEND: "front-end hosts"}


class ClusterError(ValueError):
    """The file is not a cluster file: `line` and `column` (from 1; 0: the file as a whole) and why.

    str() is one sentence fit for a person: source, line, column, what was expected.
    """

    def __init__(self, source: str, line: int, column: int, expected: str) -> None:
        place = f"{source}, line {line}, column {column}" if line else source
        super().__init__(f"{place}: {expected}")
        self.source = source
        self.line = line
        self.column = column
        self.expected = expected


class Node(Struct, frozen=True):
    """One process of the store: host `index` (from 0) of its role's line. IPv6 hosts have no brackets.

    `scheme`: https where the store's nodes speak TLS.
    """

    role: Role
    index: int
    host: str
    port: int
    scheme: str = "http"

    @property
    def name(self) -> str:
        """The node's name everywhere: `catalog-0`."""
        return f"{self.role}-{self.index}"

    @property
    def netloc(self) -> str:
        """`host:port`, IPv6 in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """Where it listens: `http://localhost:5000`."""
        return f"{self.scheme}://{self.netloc}"

    @property
    def local(self) -> bool:
        """True if the host is this machine by its very name: localhost, 127.x or ::1."""
        return self.host.lower() == "localhost" or self.host == "::1" or _is_loopback(self.host)


class Cluster(Struct, frozen=True):
    """All nodes, in the order of the file; fixed for the life of the data."""

    catalogs: tuple[Node, ...]
    orders: tuple[Node, ...]
    frontends: tuple[Node, ...]

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Every node: catalogs, orders, front ends."""
        return self.catalogs + self.orders + self.frontends

    def tier(self, role: Role) -> tuple[Node, ...]:
        """The nodes of one role, by index."""
        return {Role.CATALOG: self.catalogs, Role.ORDER: self.orders, Role.FRONTEND: self.frontends}[role]

    def secured(self) -> "Cluster":
        """The same cluster, whose nodes speak TLS."""
        return Cluster(*(tuple(replace(node, scheme="https") for node in self.tier(role)) for role in Role))

    def node(self, name: str) -> Node:
        """The node of this name; KeyError if there is none."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    @property
    def text(self) -> str:
        """The canonical file: equal for equal clusters, and parsed back to this one."""
        return "".join(", ".join(node.netloc for node in self.tier(role)) + "\n" for role in Role)


def parse_cluster(text: str, source: str = "cluster file") -> Cluster:
    """The cluster that `text` describes; ClusterError at the first thing that is not as it should be."""
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    while lines and not lines[-1].strip(" \t"):
        lines.pop()
    taken: dict[tuple[str, int], str] = {}
    tiers = []
    for number, role in enumerate(Role, 1):
        if number > len(lines):
            raise ClusterError(source, number, 1, f"expected three lines; here the {_HOSTS[role]}")
        tiers.append(tuple(_parse_line(lines[number - 1], role, source, number, taken)))
    if len(lines) > len(tiers):
        raise ClusterError(source, len(tiers) + 1, 1, "expected the end of the file after three lines")
    return Cluster(*tiers)


def load_cluster(path: str | None) -> Cluster:
    """The cluster in the file at `path`; None: the default one on localhost.

    A file that cannot be read is a ClusterError too (line 0).
    """
    if path is None:
        return parse_cluster(DEFAULT, "default cluster")
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            text = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise ClusterError(path, 0, 0, f"cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ClusterError(path, 0, 0, "expected UTF-8 text") from error
    if len(text) > LARGEST_FILE:
        raise ClusterError(path, 0, 0, f"expected three lines, not more than {LARGEST_FILE} characters")
    return parse_cluster(text, path)


def _parse_line(line: str, role: Role, source: str, number: int, taken: dict[tuple[str, int], str]) -> Iterator[Node]:
    for index, (column, item) in enumerate(_items(line)):
        if index >= _MOST[role]:
            raise ClusterError(source, number, column, f"expected at most {_MOST[role]} {_HOSTS[role]}")
        try:
            host, port = _parse_item(item, _FIRST_PORT[role] + 3 * index)
        except _UnexpectedError as error:
            raise ClusterError(source, number, column + error.offset, error.expected) from None
        node = Node(role, index, host, port)
        other = taken.setdefault((host.lower(), port), node.name)
        if other != node.name:
            raise ClusterError(
                source, number, column, f"expected another host or port: {node.netloc} is {other} already"
            )
        yield node


def _items(line: str) -> Iterator[tuple[int, str]]:
    """The parts between commas without the spaces around them, each with its column (from 1)."""
    column = 1
    for part in line.split(","):
        stripped = part.lstrip(" ")
        yield column + len(part) - len(stripped), stripped.rstrip(" ")
        column += len(part) + 1


class _UnexpectedError(Exception):
    """At `offset` within an item something else was expected."""

    def __init__(self, offset: int, expected: str) -> None:
        super().__init__(expected)
        self.offset = offset
        self.expected = expected


def _parse_item(item: str, default_port: int) -> tuple[str, int]:
    """(host, port) of `host`, `host:port`, `[v6]` or `[v6]:port`."""
    if not item:
        raise _UnexpectedError(0, "expected a host")
    if item.startswith("["):
        inside, bracket, rest = item[1:].partition("]")
        if not bracket:
            raise _UnexpectedError(len(item), "expected ']' after an IPv6 address")
        host, end = _ipv6(inside), len(inside) + 2
    else:
        inside, colon, after = item.partition(":")
        if after.count(":"):
            raise _UnexpectedError(0, "expected an IPv6 address in brackets, or one colon before a port")
        host, end, rest = _host(inside), len(inside), colon + after
    if not rest:
        return host, default_port
    if rest[0] != ":":
        raise _UnexpectedError(end, "expected ':' and a port, or a comma")
    return host, _port(rest[1:], end + 1)


def _ipv6(text: str) -> str:
    try:
        address = IPv6Address(text)
    except ValueError:
        raise _UnexpectedError(1, "expected an IPv6 address between the brackets") from None
    if address.scope_id is not None:
        raise _UnexpectedError(1, "expected an IPv6 address without a zone")
    return str(address)


def _host(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise _UnexpectedError(0, "expected a host name or an IP address")
    if text.rpartition(".")[2].isdigit():
        try:
            return str(IPv4Address(text))
        except ValueError:
            raise _UnexpectedError(0, "expected an IPv4 address of four numbers 0..255") from None
    return text


def _port(text: str, offset: int) -> int:
    if not _PORT.fullmatch(text) or not 1 <= int(text) <= 65535:
        raise _UnexpectedError(offset, "expected a port 1..65535")
    return int(text)


def _is_loopback(host: str) -> bool:
    try:
        return IPv4Address(host).is_loopback
    except ValueError:
        return False
