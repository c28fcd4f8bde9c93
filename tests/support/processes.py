"""A whole store of real processes for tests, and clients that work on it at the same time.

Nothing here waits for a time to pass: `until` looks again and again for what should come, and fails when it has not
come for a time that no healthy machine needs.
"""

import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from pygmy.cli.nodes import Store
from pygmy.cluster import Node, Role
from pygmy.private import LONGEST, Headers, PrivateStore, Reply, address, ask, environment, free_ports, running, until
from pygmy.private.asking import encoded, reply_of
from pygmy.tls.certificates import make_certificates

__all__ = ["LONGEST", "Reply", "address", "ask", "free_ports", "until"]

T = TypeVar("T")

PROJECT = Path(__file__).parents[2]
ENVIRONMENT = environment()


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
    """A process group of its own; and SIGINT and SIGQUIT work, also where tests run in the background of a shell."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)


def without_settings(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty directory, and no variable of whoever runs the tests."""
    monkeypatch.chdir(directory)
    for name in list(os.environ):
        if name.startswith("PYGMY_"):
            monkeypatch.delenv(name)


def request_bytes(method: str, path: str, body: object = None, headers: Headers | None = None) -> bytes:
    """A request as it goes over the wire, after whose answer the connection is closed."""
    data, fields = encoded(body, headers)
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
    return reply_of(response)


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


class Processes(PrivateStore):
    """A private store whose nodes are started by the very command lines of `pygmy up`."""

    def __init__(self, directory: Path, *, insecure: bool = False, tls: bool = False, **options: Any) -> None:
        super().__init__(directory, **options)
        flags: dict[str, str | bool] = {} if self.cache else {"cache": False}
        if self.books is not None:
            flags["books"] = str(self.books)
        if insecure:
            flags["insecure-network"] = True
        self.tls = directory / "tls"
        if tls:
            flags["tls"] = str(self.tls)
            self.cluster = self.cluster.secured()
            make_certificates(self.tls, self.cluster)
            self.trust = ssl.create_default_context(cafile=str(self.tls / "ca.pem"))
            self.trust.load_cert_chain(self.tls / "catalog-0.pem", self.tls / "catalog-0.key")
        self.store = Store(self.cluster, str(self.file), self.data, flags)

    def command(self, name: str) -> list[str]:
        return self.store.command(self.cluster.node(name), daemon=False)

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


def processes(directory: Path, **options: Any) -> AbstractContextManager[Processes]:
    """A whole store, ready; gone at the end."""
    return running(Processes(directory, **options))
