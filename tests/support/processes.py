"""A whole store of real processes: started as `pygmy up` starts them, killed, frozen, and always cleaned up.

Nothing here waits for a time to pass: `until` looks again and again for what should come, and fails when it has not
come for a time that no healthy machine needs.
"""

import ctypes
import http.client
import json
import os
import random
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest

from pygmy.cli.nodes import Store
from pygmy.cluster import Node, Role, load_cluster
from pygmy.datadir import log_path
from pygmy.tls.certificates import make_certificates

T = TypeVar("T")

LONGEST = 30.0
PROJECT = Path(__file__).parents[2]
# Below the ports that the kernel gives to outgoing connections, so that a node that died finds its port free.
PORTS = range(12_000, 32_000)
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("PYGMY_")},
    "PYTHONPATH": os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")])),
}
Headers = Mapping[str, str]


class Reply(NamedTuple):
    """An answer, read to its end; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def until(look: Callable[[], T | None], what: str, hints: Callable[[], str] = lambda: "") -> T:
    """The first result of `look()` that is true. OSError and HTTPException count as not yet."""
    deadline = time.monotonic() + LONGEST
    last: object = None
    while time.monotonic() < deadline:
        try:
            last = look()
        except (OSError, http.client.HTTPException) as error:
            last = error
        else:
            if last:
                return last
        time.sleep(0.02)
    raise AssertionError(f"It never came to {what}; last seen: {last!r}\n{hints()}")


def pygmy(directory: Path, *arguments: str, timeout: float = LONGEST) -> "subprocess.CompletedProcess[str]":
    """`pygmy ...` in that directory, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "pygmy", *arguments],
        cwd=directory,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def like_a_terminal() -> None:
    """A process group of its own; and SIGINT works, also where tests run in the background of a shell."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def without_settings(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty directory, and no variable of whoever runs the tests."""
    monkeypatch.chdir(directory)
    for name in list(os.environ):
        if name.startswith("PYGMY_"):
            monkeypatch.delenv(name)


def address(node: Node) -> tuple[str, int]:
    """Where a client reaches the node."""
    return ("127.0.0.1" if node.local else node.host), node.port


def ask(
    node: Node,
    method: str,
    path: str,
    body: object = None,
    headers: Headers | None = None,
    timeout: float = LONGEST,
    trust: ssl.SSLContext | None = None,
) -> Reply:
    """One request on a connection of its own. `body`: bytes as they are, anything else as JSON."""
    connection = http.client.HTTPConnection(*address(node), timeout=timeout)
    if trust is not None:
        connection = http.client.HTTPSConnection(*address(node), timeout=timeout, context=trust)
    try:
        connection.request(method, path, *_encoded(body, headers))
        response = connection.getresponse()
        return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()


def _encoded(body: object, headers: Headers | None) -> tuple[bytes | None, dict[str, str]]:
    if body is None or isinstance(body, bytes):
        return body, dict(headers or {})
    return json.dumps(body).encode(), {"Content-Type": "application/json", **(headers or {})}


def request_bytes(method: str, path: str, body: object = None, headers: Headers | None = None) -> bytes:
    """A request as it goes over the wire, after whose answer the connection is closed."""
    data, fields = _encoded(body, headers)
    fields |= {"Host": "localhost", "Connection": "close", "Content-Length": str(len(data or b""))}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + (data or b"")


def burst(requests: Sequence[tuple[Node, bytes]]) -> list[Reply]:
    """All requests under way at once: every connection is open, then all are sent, then the answers are read."""
    sockets = [socket.create_connection(address(node), LONGEST) for node, _ in requests]
    try:
        for sock, (_, data) in zip(sockets, requests, strict=True):
            sock.sendall(data)
        return [read_reply(sock) for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()


def read_reply(sock: socket.socket) -> Reply:
    """The next answer on this connection."""
    response = http.client.HTTPResponse(sock)
    response.begin()
    return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())


class Crowd:
    """Clients that work at the same time, each again and again, until told to stop or done.

    A step returns what is to be remembered (None: nothing); its exceptions end the crowd and are raised by `stop`.
    """

    def __init__(self, steps: Sequence[Callable[[], T | None]]) -> None:
        self.seen: list[Any] = []
        self._over = threading.Event()
        self._pool = ThreadPoolExecutor(len(steps))
        self._work = [self._pool.submit(self._run, step) for step in steps]

    def _run(self, step: Callable[[], object]) -> None:
        try:
            while not self._over.is_set():
                result = step()
                if result is not None:
                    self.seen.append(result)
        except BaseException:
            self._over.set()
            raise

    def reaches(self, more: int) -> None:
        """Wait until `more` results came after now."""
        enough = len(self.seen) + more
        until(lambda: self._over.is_set() or len(self.seen) >= enough, f"{more} more results")
        if self._over.is_set():
            self.stop()

    def stop(self) -> list[Any]:
        """Let every client finish its step; all that they saw."""
        self._over.set()
        self._pool.shutdown()
        for work in self._work:
            work.result()
        return self.seen

    def __enter__(self) -> "Crowd":
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._pool.shutdown()


class Processes:
    """One store in one directory; nodes are named as everywhere, `catalog-0`."""

    def __init__(
        self,
        directory: Path,
        *,
        catalogs: int = 2,
        orders: int = 2,
        frontends: int = 1,
        cache: bool = True,
        books: Sequence[Mapping[str, object]] | None = None,
        insecure: bool = False,
        tls: bool = False,
    ) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.file = directory / "cluster"
        hosts = iter(self._hosts(catalogs + orders + frontends))
        lines = [", ".join(next(hosts) for _ in range(n)) for n in (catalogs, orders, frontends)]
        self.file.write_text("\n".join(lines) + "\n")
        flags: dict[str, str | bool] = {} if cache else {"cache": False}
        if books is not None:
            stock = directory / "books.json"
            stock.write_text(json.dumps(books))
            flags["books"] = str(stock)
        if insecure:
            flags["insecure-network"] = True
        self.cluster = load_cluster(str(self.file))
        self.tls = directory / "tls"
        self.trust: ssl.SSLContext | None = None
        if tls:
            flags["tls"] = str(self.tls)
            self.cluster = self.cluster.secured()
            make_certificates(self.tls, self.cluster)
            self.trust = ssl.create_default_context(cafile=str(self.tls / "ca.pem"))
            self.trust.load_cert_chain(self.tls / "catalog-0.pem", self.tls / "catalog-0.key")
        self.store = Store(self.cluster, str(self.file), self.data, flags)
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

    def launch(self, name: str, *extra: str, **environment: str) -> "subprocess.Popen[bytes]":
        """A process for this node; its stderr goes to `errors(name)`. Call it in the main thread only."""
        command = [*self.store.command(self.cluster.node(name), daemon=False), *extra]
        with self.inside(name):
            return self.spawn(command, self._errors(name), **environment)

    def spawn(self, command: Sequence[str], errors: Path, **environment: str) -> "subprocess.Popen[bytes]":
        """Any process that ends with this one at the latest."""
        with errors.open("wb") as stderr:
            return subprocess.Popen(
                command,
                cwd=self.directory,
                env={**ENVIRONMENT, **environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                preexec_fn=_end_with_parent,
            )

    def start(self, *names: str) -> None:
        """Start these nodes (default: all), without waiting for them."""
        for name in names or [node.name for node in self.cluster.nodes]:
            assert not self.alive(name), f"{name} runs already"
            self._running[name] = self.launch(name)

    def adopt(self, name: str, process: "subprocess.Popen[bytes]") -> None:
        """Take this process for the node, which was started in another way."""
        self._running[name] = process

    def alive(self, name: str) -> bool:
        return name in self._running and self._running[name].poll() is None

    def pid(self, name: str) -> int:
        return self._running[name].pid

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

    def ended(self, name: str) -> int:
        """Wait until the node has ended by itself; its exit code."""
        return self._running[name].wait(LONGEST)

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
        assert self.alive(name), f"{name} has ended:\n{self.hints()}"
        reply = self.get(name, "/health", timeout=5.0)
        return reply.status == 200 and reply.json["state"] == "RUNNING"

    def whole(self) -> None:
        """Start and thaw whatever does not run; wait until all replicas are in their view and front ends know."""
        for name in list(self._frozen):
            self.thaw(name)
        if gone := [node.name for node in self.cluster.nodes if not self.alive(node.name)]:
            self.start(*gone)
        self.await_whole()

    def await_whole(self) -> None:
        """As `whole`, for a store whose nodes run."""
        self.wait_running(*[node.name for node in self.cluster.nodes])
        for node in self.cluster.nodes:
            until(lambda node=node: self._knows_all(node), f"{node.name} in a whole store", self.hints)  # type: ignore[misc]

    def await_heartbeats(self) -> None:
        """Wait until every front end has heard of every replica anew (one that was stopped is doubted until then)."""
        started = time.monotonic()

        def anew(node: Node) -> bool:
            elapsed = time.monotonic() - started
            seen = self.get(node.name, "/cluster").json["nodes"]
            ages = [one["heartbeat"] for one in seen if one["role"] != "frontend"]
            return all(age is not None and age < elapsed for age in ages)

        for node in self.cluster.frontends:
            until(lambda node=node: anew(node), f"heartbeats to {node.name}", self.hints)  # type: ignore[misc]

    def _knows_all(self, node: Node) -> bool:
        if node.role is not Role.FRONTEND:
            redundancy: int = self.get(node.name, "/health").json["redundancy"]
            return redundancy == len(self.cluster.tier(node.role))
        seen = {one["node"]: one for one in self.get(node.name, "/cluster").json["nodes"]}
        replicas = (*self.cluster.catalogs, *self.cluster.orders)
        return all(seen[one.name]["state"] == "RUNNING" for one in replicas)

    # ---- what they say

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
        return "\n".join(
            f"--- {node.name}\n" + "\n".join(self.log(node.name).splitlines()[-8:]) for node in self.cluster.nodes
        )

    # ---- HTTP

    def node(self, name: str) -> Node:
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
        """One request of a client that is next to the node."""
        with self.inside(name):
            return ask(self.node(name), method, path, body, headers, timeout, self.trust)

    def get(self, name: str, path: str, headers: Headers | None = None, timeout: float = LONGEST) -> Reply:
        return self.ask(name, "GET", path, None, headers, timeout)

    def post(self, name: str, path: str, body: object = None, headers: Headers | None = None) -> Reply:
        return self.ask(name, "POST", path, body, headers)

    def patch(self, name: str, path: str, body: object, headers: Headers | None = None) -> Reply:
        return self.ask(name, "PATCH", path, body, {**self.admin, **(headers or {})})

    @property
    def secret(self) -> str:
        return (self.data / "cluster.secret").read_text().strip()

    @property
    def token(self) -> str:
        return (self.data / "admin.token").read_text().strip()

    @property
    def member(self) -> Headers:
        return {"Authorization": f"Bearer {self.secret}"}

    @property
    def admin(self) -> Headers:
        return {"Authorization": f"Bearer {self.token}"}

    def table(self, name: str) -> bytes:
        """The bytes of /table."""
        reply = self.get(name, "/table", self.member)
        assert reply.status == 200, reply
        return reply.body

    def tables_agree(self, role: Role) -> bytes:
        """The one table that all replicas of the tier show once all is quiet."""
        first, *others = [node.name for node in self.cluster.tier(role)]

        def look() -> bytes | None:
            table = self.table(first)
            return table if all(self.table(other) == table for other in others) else None

        return until(look, f"one {role} table", self.hints)

    def orders(self) -> list[dict[str, Any]]:
        """All orders by number, as their buyers got them; order ids are checked to be 1..n."""
        found: list[dict[str, Any]] = []
        while page := self.get("frontend-0", f"/orders?after={len(found)}&limit=1000", self.admin).json:
            found += page
            assert [order["OrderId"] for order in found] == list(range(1, len(found) + 1))
        return found

    def count(self, item: int) -> int:
        """Copies left, as every catalog sees them."""
        answers = [self.get(node.name, f"/books/{item}") for node in self.cluster.catalogs]
        assert [answer.status for answer in answers] == [200] * len(answers), answers
        counts = {answer.json["count"] for answer in answers}
        assert len(counts) == 1, counts
        (count,) = counts
        return int(count)


@contextmanager
def processes(directory: Path, **options: Any) -> Iterator[Processes]:
    """A whole store, ready; gone at the end."""
    store = Processes(directory, **options)
    try:
        store.start()
        store.await_whole()
        yield store
    finally:
        store.close()


def free_ports(count: int) -> list[int]:
    """Ports on which nobody listens."""
    found: list[int] = []
    while len(found) < count:
        port = random.choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found


def _state(pid: int) -> str:
    """The kernel's letter for what the process does; "": there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


_C = ctypes.CDLL(None) if sys.platform == "linux" else None


def _end_with_parent() -> None:
    """Whatever ends this process, also kill -9, ends its children (Linux)."""
    if _C is not None:
        _C.prctl(1, signal.SIGKILL)
