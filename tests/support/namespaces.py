"""Hosts on this machine that are network namespaces, and a store with a host for each node; links can be cut.

A namespace here has no name: it lives as long as this process, or one that was started inside, has a hold on it.  So
nothing is left behind, however this process ends, two runs have nothing in common, and the bridge between the hosts,
in a namespace of its own, leaves the machine's own network untouched.

Hosts are told each other's hardware addresses, and need not ask.  A link is cut, one way, by a wrong one: what is
sent there reaches nobody, and whoever sends it does not notice.

It takes root to do that. The root of a user namespace will do, if it has a network of its own as well:
`unshare --map-root-user --net sh -c "ip link set lo up && python -m pytest tests/test_partitions.py"`.
"""

import ctypes
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.processes import LONGEST, Processes

Pair = tuple[int, int]  # from which host, to which

MOST = 99
_NEW_NETWORK = 0x4000_0000  # CLONE_NEWNET
_SELF = "/proc/thread-self/ns/net"
_IP = shutil.which("ip", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))
_C = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class Unavailable(Exception):
    """Such hosts cannot be had here; one sentence says what is missing."""


class Namespace:
    """A network with nothing in it."""

    def __init__(self) -> None:
        home = _open()
        try:
            _call("setns", home, _NEW_NETWORK)  # who may not come back must not leave
            _call("unshare", _NEW_NETWORK)
            try:
                self.handle = _open()
            finally:
                _call("setns", home, _NEW_NETWORK)
        finally:
            os.close(home)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This thread, and whatever it starts and opens meanwhile, is inside."""
        home = _open()
        try:
            _call("setns", self.handle, _NEW_NETWORK)
            try:
                yield
            finally:
                _call("setns", home, _NEW_NETWORK)
        finally:
            os.close(home)

    def ip(self, *commands: str, shown: "Namespace | None" = None) -> None:
        """Have `ip` carry these out inside; `shown` is another namespace, which it sees as /proc/self/fd/N."""
        assert _IP is not None
        with self.entered():
            done = subprocess.run(
                [_IP, "-batch", "-"],
                input="\n".join(commands) + "\n",
                capture_output=True,
                text=True,
                timeout=LONGEST,
                check=False,
                pass_fds=[shown.handle] if shown else [],
            )
        if done.returncode:
            raise OSError(f"ip: {' '.join(done.stderr.split())}")

    def close(self) -> None:
        """It ends with the last process inside."""
        os.close(self.handle)


def _open() -> int:
    return os.open(_SELF, os.O_RDONLY | os.O_CLOEXEC)


def _call(name: str, *arguments: int) -> None:
    if getattr(_C, name)(*arguments):
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")


class Hosts:
    """So many hosts, each of which reaches all others. Raises Unavailable."""

    def __init__(self, count: int) -> None:
        if not 0 < count <= MOST:
            raise ValueError(f"expected 1..{MOST} hosts")
        if _C is None or _IP is None:
            raise Unavailable("Hosts of one's own need Linux and iproute2's `ip`.")
        self._all: list[Namespace] = []
        self._cut: set[Pair] = set()
        try:
            for _ in range(count + 1):
                self._all.append(Namespace())
            self._hosts, self._bridge = self._all[:-1], self._all[-1]
            self._bridge.ip("link add bridge type bridge", "link set bridge up")
            for host in range(count):
                self._connect(host)
        except PermissionError as error:
            self.close()
            raise Unavailable(
                f"Hosts of one's own need root, or `unshare --map-root-user --net` ({error})."
            ) from None
        except OSError as error:
            self.close()
            raise Unavailable(f"This kernel cannot have hosts on a bridge ({error}).") from None

    def _connect(self, host: int) -> None:
        there = self._hosts[host]
        wire = (
            f"link add to{host} type veth peer name eth0 address {_hardware(host)} netns /proc/self/fd/{there.handle}"
        )
        self._bridge.ip(wire, f"link set to{host} master bridge up", shown=there)
        others = [other for other in range(len(self._hosts)) if other != host]
        there.ip(
            "link set lo up",
            f"address add {self.address(host)}/24 dev eth0",
            "link set eth0 up",
            *(self._way(host, other) for other in others),
        )

    def _way(self, host: int, other: int) -> str:
        hardware = _hardware(MOST + 1 if (host, other) in self._cut else other)
        return f"neighbour replace {self.address(other)} lladdr {hardware} dev eth0 nud permanent"

    def address(self, host: int) -> str:
        """By which the others, and whoever is on it, reach this host."""
        return f"10.77.0.{host + 1}"

    def on(self, host: int) -> Any:
        """A context: see `Namespace.entered`."""
        return self._hosts[host].entered()

    def cut(self, pairs: Iterable[Pair]) -> None:
        """From now on nothing that the first of a pair sends arrives at the second, besides what is cut already."""
        self._set(self._cut | set(pairs))

    def heal(self) -> None:
        """Every host reaches every other one."""
        self._set(set())

    def _set(self, cut: set[Pair]) -> None:
        changed = self._cut ^ cut
        self._cut = cut
        for host, pairs in itertools.groupby(sorted(changed), lambda pair: pair[0]):
            self._hosts[host].ip(*(self._way(*pair) for pair in pairs))

    def close(self) -> None:
        """An end to all of them, once nothing runs there any more."""
        for namespace in self._all:
            namespace.close()
        self._all.clear()


def _hardware(host: int) -> str:
    return f"02:00:00:00:77:{host + 1:02x}"


class ScatteredStore(Processes):
    """A store whose nodes each have a host of their own, and their default ports. Raises Unavailable."""

    def __init__(
        self, directory: Path, *, catalogs: int = 2, orders: int = 2, frontends: int = 2, **options: Any
    ) -> None:
        self.hosts = Hosts(catalogs + orders + frontends)
        try:
            super().__init__(
                directory, catalogs=catalogs, orders=orders, frontends=frontends, insecure=True, **options
            )
        except BaseException:
            self.hosts.close()
            raise
        self._places = {node.name: host for host, node in enumerate(self.cluster.nodes)}

    def _hosts(self, count: int) -> list[str]:
        return [self.hosts.address(host) for host in range(count)]

    def inside(self, name: str) -> Any:
        """On the node's host."""
        return self.hosts.on(self._places[name])

    def others(self, names: Iterable[str]) -> list[str]:
        """All nodes but these."""
        without = set(names)
        return [name for name in self._places if name not in without]

    def cut(self, these: Iterable[str], those: Iterable[str]) -> None:
        """What these nodes send to those vanishes from now on; not what those send."""
        places = self._places
        self.hosts.cut({(places[one], places[other]) for one, other in itertools.product(these, list(those))})

    def heal(self) -> None:
        """Everything arrives from now on."""
        self.hosts.heal()

    def close(self) -> None:
        """No process is left, and no host."""
        super().close()
        self.hosts.close()
