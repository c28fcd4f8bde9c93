"""A whole store of real processes: started as `pygmy up` starts them, killed, frozen, and always cleaned up."""

import http.client
import json
import os
import re
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from pygmy.cluster import Node, Role, load_cluster
from pygmy.datadir import log_path
from pygmy.private.asking import Headers, Reply, address, ask, connected
from pygmy.private.places import free_ports, private_directory
from pygmy.private.spawning import environment, spawn
from pygmy.private.waiting import LONGEST, NeverCame, until

TWISTD = (sys.executable, "-m", "pygmy.cli.twistd")
Books = Sequence[Mapping[str, object]]


StoreT = TypeVar("StoreT", bound="PrivateStore")


class PrivateStore:
    """One store in one directory; nodes are named as everywhere, `catalog-0`.

    `node_command` takes the place of `python -m pygmy.cli.twistd` in the command line of each node. `books` is what
    the store opens with (None: the seven that come with Pygmy).
    """

    trust: ssl.SSLContext | None = None  # for a store whose nodes speak TLS

    def __init__(
        self,
        directory: Path,
        *,
        catalogs: int = 2,
        orders: int = 2,
        frontends: int = 1,
        cache: bool = True,
        books: Books | None = None,
        node_command: Sequence[str] = TWISTD,
    ) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.file = directory / "cluster"
        hosts = iter(self._hosts(catalogs + orders + frontends))
        lines = [", ".join(next(hosts) for _ in range(n)) for n in (catalogs, orders, frontends)]
        self.file.write_text("\n".join(lines) + "\n")
        self.cluster = load_cluster(str(self.file))
        self.names = tuple(node.name for node in self.cluster.nodes)
        self.books = None if books is None else directory / "books.json"
        if self.books is not None:
            self.books.write_text(json.dumps(books))
        self.cache = cache
        self._node_command = tuple(node_command)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._frozen: set[str] = set()

    # ---- places

    def _hosts(self, count: int) -> list[str]:
        """What the cluster file calls the hosts of so many nodes, in its order."""
        return [f"localhost:{port}" for port in free_ports(count)]

    def inside(self, name: str) -> AbstractContextManager[None]:
        """Where the node is: what this thread starts and opens meanwhile is next to it."""
        return nullcontext()

    # ---- processes

    def command(self, name: str) -> list[str]:
        """The command line that runs the node in the foreground."""
        node = self.cluster.node(name)
        line = [*self._node_command, "--nodaemon", f"pygmy-{node.role}", "--node", str(node.index)]
        line += ["--data", str(self.data), "--cluster", str(self.file)]
        if self.books is not None and node.role is Role.CATALOG:
            line += ["--books", str(self.books)]
        if not self.cache and node.role is Role.FRONTEND:
            line += ["--no-cache"]
        return line

    def launch(self, name: str, *extra: str, **variables: str) -> "subprocess.Popen[bytes]":
        """A process for this node; its stderr goes to `errors(name)`. Call it in the main thread only."""
        with self.inside(name):
            return self.spawn([*self.command(name), *extra], self._errors(name), **variables)

    def spawn(self, command: Sequence[str], errors: Path, **variables: str) -> "subprocess.Popen[bytes]":
        """Any process that ends with this one at the latest."""
        return spawn(command, self.directory, errors, environment(**variables))

    def start(self, *names: str) -> None:
        """Start these nodes (default: all), without waiting for them."""
        for name in names or self.names:
            assert not self.alive(name), f"{name} runs already"
            self._running[name] = self.launch(name)

    def adopt(self, name: str, process: "subprocess.Popen[bytes]") -> None:
        """Take this process for the node, which was started in another way."""
        self._running[name] = process

    def alive(self, name: str) -> bool:
        """True while the node's process runs."""
        return name in self._running and self._running[name].poll() is None

    def pid(self, name: str) -> int:
        """The node's last process."""
        return self._running[name].pid

    def exit_code(self, name: str) -> int | None:
        """Of a node that has ended (None: it runs, or was never started)."""
        return self._running[name].poll() if name in self._running else None

    def kill9(self, *names: str) -> None:
        """End these nodes, all of them before the first has been waited for."""
        for name in names:
            self._frozen.discard(name)
            self._running[name].kill()
        for name in names:
            self._running[name].wait(LONGEST)

    def stop(self, name: str) -> int:
        """SIGTERM; its exit code."""
        self._running[name].terminate()
        return self.ended(name)

    def stop_all(self) -> dict[str, int]:
        """SIGTERM, tier by tier from the front: the exit codes of all nodes."""
        codes = {}
        for tier in (self.cluster.frontends, self.cluster.orders, self.cluster.catalogs):
            for node in tier:
                self.signal(node.name, signal.SIGTERM)
                codes[node.name] = self.ended(node.name)
        return codes

    def ended(self, name: str) -> int:
        """Wait until the node has ended by itself; its exit code."""
        return self._running[name].wait(LONGEST)

    def signal(self, name: str, number: int) -> None:
        """To a node, if it is alive."""
        if self.alive(name):
            os.kill(self.pid(name), number)

    def freeze(self, name: str) -> None:
        """SIGSTOP, in effect when this returns."""
        self._frozen.add(name)
        os.kill(self.pid(name), signal.SIGSTOP)
        until(lambda: _state(self.pid(name)) in ("T", ""), f"a frozen {name}")

    def thaw(self, name: str) -> None:
        """SIGCONT."""
        self._frozen.discard(name)
        os.kill(self.pid(name), signal.SIGCONT)

    def close(self) -> None:
        """SIGKILL to all that were started here, frozen ones too."""
        for process in self._running.values():
            process.kill()
        for process in self._running.values():
            process.wait(LONGEST)

    # ---- waiting

    def wait_running(self, *names: str) -> None:
        """Wait until these nodes say that they are healthy and RUNNING; one that ends instead fails at once."""
        for name in names:
            until(lambda name=name: self._serves(name), f"{name} RUNNING", self.hints)  # type: ignore[misc]

    def _serves(self, name: str) -> bool:
        if not self.alive(name):
            raise NeverCame(f"{name} has ended:\n{self.errors(name)}\n{self.hints()}")
        reply = self.get(name, "/health", timeout=5.0)
        return reply.status == 200 and reply.json["state"] == "RUNNING"

    def whole(self) -> None:
        """Start and thaw whatever does not run; wait until all replicas are in their view and front ends know."""
        for name in list(self._frozen):
            self.thaw(name)
        if gone := [name for name in self.names if not self.alive(name)]:
            self.start(*gone)
        self.await_whole()

    def await_whole(self) -> None:
        """As `whole`, for a store whose nodes run."""
        self.wait_running(*self.names)
        for node in self.cluster.nodes:
            until(lambda node=node: self._knows_all(node), f"{node.name} in a whole store", self.hints)  # type: ignore[misc]

    def is_whole(self) -> bool:
        """True if every node serves, every replica is in its view, and every front end knows."""
        try:
            serving = all(self.alive(name) and self._serves(name) for name in self.names)
            return serving and all(self._knows_all(node) for node in self.cluster.nodes)
        except (OSError, http.client.HTTPException, NeverCame):
            return False

    def _knows_all(self, node: Node) -> bool:
        if node.role is not Role.FRONTEND:
            redundancy: int = self.get(node.name, "/health").json["redundancy"]
            return redundancy == len(self.cluster.tier(node.role))
        seen = {one["node"]: one for one in self.get(node.name, "/cluster").json["nodes"]}
        replicas = (*self.cluster.catalogs, *self.cluster.orders)
        return all(seen[one.name]["state"] == "RUNNING" for one in replicas)

    # ---- what they say

    def health(self, name: str, timeout: float = 0.5) -> dict[str, Any]:
        """What the node says of itself; {} if it says nothing."""
        try:
            found: dict[str, Any] = self.get(name, "/health", timeout=timeout).json
        except (OSError, http.client.HTTPException, ValueError):
            return {}
        return found

    def errors(self, name: str) -> str:
        """What the node's last process wrote to stderr."""
        return self._errors(name).read_text("utf-8", "replace")

    def _errors(self, name: str) -> Path:
        return self.directory / f"{name}.stderr"

    def mark(self, name: str) -> int:
        """The present end of the node's log, for `log` and `wait_log`."""
        path = log_path(self.data, name)
        return path.stat().st_size if path.exists() else 0

    def log(self, name: str, since: int = 0) -> str:
        """The node's log from that mark on."""
        path = log_path(self.data, name)
        return path.read_bytes()[since:].decode("utf-8", "replace") if path.exists() else ""

    def wait_log(self, name: str, pattern: str, since: int = 0, count: int = 1) -> list[re.Match[str]]:
        """All matches in the node's log, once there are `count`."""

        def look() -> list[re.Match[str]] | None:
            found = list(re.finditer(pattern, self.log(name, since), re.MULTILINE))
            return found if len(found) >= count else None

        return until(look, f"{count} x {pattern!r} in the log of {name}", self.hints)

    def hints(self) -> str:
        """The last lines of every node, for a failure's message."""
        return "\n".join(f"--- {name}\n" + "\n".join(self.log(name).splitlines()[-8:]) for name in self.names)

    # ---- HTTP

    @property
    def doors(self) -> tuple[str, ...]:
        """The front ends, by name."""
        return tuple(node.name for node in self.cluster.frontends)

    def connect(self, name: str, timeout: float = LONGEST) -> http.client.HTTPConnection:
        """A connection of a client's own to a node."""
        return connected(address(self.node(name)), timeout, self.trust)

    def node(self, name: str) -> Node:
        """The node as clients reach it."""
        return self.cluster.node(name)

    def ask(
        self,
        name: str,
        method: str,
        path: str,
        body: object = None,
        headers: Headers | None = None,
        timeout: float = LONGEST,
    ) -> Reply:
        """One request of a client that is next to the node. Raises OSError, HTTPException."""
        with self.inside(name):
            return ask(self.node(name), method, path, body, headers, timeout, self.trust)

    def get(self, name: str, path: str, headers: Headers | None = None, timeout: float = LONGEST) -> Reply:
        """As `ask`."""
        return self.ask(name, "GET", path, None, headers, timeout)

    def post(self, name: str, path: str, body: object = None, headers: Headers | None = None) -> Reply:
        """As `ask`."""
        return self.ask(name, "POST", path, body, headers)

    def patch(self, name: str, path: str, body: object, headers: Headers | None = None) -> Reply:
        """As `ask`, by the shopkeeper."""
        return self.ask(name, "PATCH", path, body, {**self.admin, **(headers or {})})

    @property
    def secret(self) -> str:
        """With which nodes prove themselves."""
        return (self.data / "cluster.secret").read_text().strip()

    @property
    def token(self) -> str:
        """With which shopkeepers do."""
        return (self.data / "admin.token").read_text().strip()

    @property
    def member(self) -> Headers:
        """The headers of a node."""
        return {"Authorization": f"Bearer {self.secret}"}

    @property
    def admin(self) -> Headers:
        """The headers of a shopkeeper."""
        return {"Authorization": f"Bearer {self.token}"}


@contextmanager
def private_store(purpose: str = "store", **options: Any) -> Iterator[PrivateStore]:
    """A whole store in a temporary folder, ready; gone at the end. `options`: as of PrivateStore."""
    with private_directory(purpose) as directory, running(PrivateStore(directory, **options)) as store:
        yield store


@contextmanager
def running(store: StoreT) -> Iterator[StoreT]:
    """The store, whole; closed at the end."""
    try:
        store.start()
        store.await_whole()
        yield store
    finally:
        store.close()


def _state(pid: int) -> str:
    """The kernel's letter for what the process does; "": there is no such process (or no /proc)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
