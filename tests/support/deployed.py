"""Hosts made by scripts/hosts.sh, a store that `pygmy deploy` puts on them, customers who try the other front end."""

import http.client
import json
import os
import re
import ssl
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from pygmy.cluster import Node, load_cluster
from tests.support.processes import ENVIRONMENT, PROJECT, pygmy

SCRIPT = PROJECT / "scripts" / "hosts.sh"
LONGEST = 900
PATIENCE = 10.0
PYTHON = "/usr/bin/python3"
BEGUN = time.monotonic()


def note(text: str) -> None:
    """A line of the log of what is done here."""
    print(f"{time.monotonic() - BEGUN:7.1f} s  {text}", flush=True)


class Ended(NamedTuple):
    """A command that has ended."""

    code: int
    text: str
    seconds: float


def missing() -> str | None:
    """Why there can be no hosts here; None: there can."""
    if os.environ.get("PYGMY_DEPLOY_TEST") != "1":
        return "takes minutes and root: PYGMY_DEPLOY_TEST=1"
    done = subprocess.run(["bash", SCRIPT, "check"], capture_output=True, text=True, check=False)
    if done.returncode:
        return done.stderr.strip()
    done = subprocess.run([PYTHON, "-c", "import ensurepip, venv"], capture_output=True, check=False)
    return f"{PYTHON} has no venv (Debian, Ubuntu: apt install python3-venv)" if done.returncode else None


class Deployed:
    """A cluster of one node a host, and commands about it. `directory` is where the operator sits."""

    def __init__(self, directory: Path, catalogs: int, orders: int, frontends: int) -> None:
        self.directory = directory
        self.disks = directory / "hosts"
        self.data = directory / "pygmy-data"
        self.count = catalogs + orders + frontends
        addresses = iter(f"10.77.0.{10 + number}" for number in range(1, self.count + 1))
        lines = [", ".join(next(addresses) for _ in range(count)) for count in (catalogs, orders, frontends)]
        self.file = directory / "cluster.txt"
        self.file.write_text("\n".join(lines) + "\n")
        self.cluster = load_cluster(str(self.file)).secured()

    def number(self, name: str) -> int:
        """Of the node's host."""
        return [node.name for node in self.cluster.nodes].index(name) + 1

    def hosts(self, *words: object) -> str:
        """`scripts/hosts.sh ...`"""
        done = subprocess.run(
            ["bash", SCRIPT, *map(str, words)], capture_output=True, text=True, timeout=LONGEST, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def deploy(self, *words: str) -> Ended:
        """`pygmy deploy ...`, shown as it goes."""
        way = ["--user", "root", "--ssh-key", str(self.disks / "key"), "--python", PYTHON]
        way += ["--ssh-option", f"UserKnownHostsFile={self.disks / 'known_hosts'}"]
        note(f"$ pygmy deploy cluster.txt {' '.join(words)}")
        begun = time.monotonic()
        lines = []
        with subprocess.Popen(
            [sys.executable, "-m", "pygmy", "deploy", str(self.file), *words, *way],
            cwd=self.directory,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                note(f"    {line.rstrip()}")
                lines.append(line)
        seconds = time.monotonic() - begun
        note(f"    -> exit code {process.returncode} after {seconds:.1f} s")
        return Ended(process.returncode, "".join(lines), seconds)

    def pygmy(self, *words: str) -> Ended:
        """Another command of the operator's."""
        note(f"$ pygmy {' '.join(words)}")
        begun = time.monotonic()
        done = pygmy(self.directory, *words, timeout=LONGEST)
        for line in (done.stdout + done.stderr).splitlines():
            note(f"    {line}")
        return Ended(done.returncode, done.stdout + done.stderr, time.monotonic() - begun)

    def versions(self) -> dict[str, tuple[str, str]]:
        """(version, process) of every node that runs."""
        rows = re.findall(r"^(\S+-\d+) +\S+ +(\S+) +(\d+) +RUNNING ", self.deploy("--status").text, re.MULTILINE)
        return {name: (version, process) for name, version, process in rows}

    def ask(self, node: Node, method: str, path: str, body: object = None, key: str = "") -> tuple[int, Any]:
        """One request to that node: status and body."""
        trust = ssl.create_default_context(cafile=str(self.data / "tls" / "ca.pem"))
        connection = http.client.HTTPSConnection(node.host, node.port, timeout=PATIENCE, context=trust)
        try:
            headers = {"Content-Type": "application/json"} if body is not None else {}
            headers |= {"Idempotency-Key": key} if key else {}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def request(self, method: str, path: str, first: int = 0) -> Any:
        """As a customer does it: who gets no success from one front end asks the other one, under the same key."""
        key = str(uuid.uuid4()) if method == "POST" else ""
        nodes = self.cluster.frontends
        said: list[object] = []
        for turn in range(len(nodes)):
            try:
                status, body = self.ask(nodes[(first + turn) % len(nodes)], method, path, key=key)
            except (OSError, http.client.HTTPException) as error:
                said.append(repr(error))
            else:
                if status == 200:
                    return body
                said.append((status, body))
        raise AssertionError(f"{method} {path}: {said}")

    def buy(self, item: int, first: int = 0) -> int:
        """The order's number."""
        return int(self.request("POST", f"/books/{item}", first)["OrderId"])


class Customers:
    """Threads that buy and look up, without a pause, until told to stop."""

    def __init__(self, store: Deployed, count: int) -> None:
        self.bought: list[int] = []
        self.looked = 0
        self.failures: list[str] = []
        self.slowest = 0.0
        self._store = store
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._shop, args=(number,)) for number in range(count)]

    def _shop(self, number: int) -> None:
        while not self._stop.is_set():
            begun = time.monotonic()
            try:
                self.bought.append(self._store.buy(1 + number % 7, number))
                self._store.request("GET", f"/books/{1 + number % 7}", number + 1)
                self.looked += 1
            except AssertionError as error:
                self.failures.append(f"at {time.monotonic() - BEGUN:.1f} s: {error}")
            self.slowest = max(self.slowest, time.monotonic() - begun)
            self._stop.wait(0.2)

    def __enter__(self) -> "Customers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


@contextmanager
def deployed(directory: Path, catalogs: int, orders: int, frontends: int) -> Iterator[Deployed]:
    """A cluster whose hosts are up; gone at the end, and all that runs on them."""
    store = Deployed(directory, catalogs, orders, frontends)
    try:
        store.hosts("up", store.count, store.disks)
        yield store
    finally:
        store.hosts("down", store.disks)
