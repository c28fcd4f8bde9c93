"""A store of real processes that reach each other through proxies only, while clients reach each of them directly."""

import http.client
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from pygmy.cluster import Node
from tests.support.processes import LONGEST, Processes, free_ports
from tests.support.proxies import Door, Proxies


class Store(Processes):
    """The cluster file, the same for all nodes, names the proxies' ports; each node is told its own by --port.

    `bug`: start broken nodes (tests.chaos.broken_node).
    """

    def __init__(
        self,
        directory: Path,
        *,
        catalogs: int = 2,
        orders: int = 2,
        frontends: int = 2,
        books: Sequence[Mapping[str, object]] | None = None,
        bug: str | None = None,
    ) -> None:
        super().__init__(directory, catalogs=catalogs, orders=orders, frontends=frontends, books=books)
        nodes = self.cluster.nodes
        taken = {node.port for node in nodes}
        private = [port for port in free_ports(2 * len(nodes)) if port not in taken]
        self._private = {node.name: port for node, port in zip(nodes, private, strict=False)}
        self._bug = bug
        self.names = tuple(node.name for node in nodes)
        self.proxies = Proxies({node.name: Door(node.port, self._private[node.name]) for node in nodes})

    def open(self) -> None:
        """Start everything, and wait until the store is whole."""
        self.proxies.start()
        self.start()
        self.await_whole()

    def close(self) -> None:
        """No process and no proxy is left."""
        super().close()
        self.proxies.close()

    def launch(self, name: str, *extra: str) -> "subprocess.Popen[bytes]":
        """As in every store, on the node's private port."""
        port = f"tcp:{self._private[name]}:interface=127.0.0.1"
        command = [*self.store.command(self.cluster.node(name), daemon=False), "--port", port, *extra]
        if self._bug is not None:
            place = command.index("pygmy.cli.twistd")
            command[place : place + 1] = ["tests.chaos.broken_node", self._bug]
        return self.spawn(command, self._errors(name))

    def node(self, name: str) -> Node:
        """The node as clients reach it."""
        return replace(self.cluster.node(name), host="127.0.0.1", port=self._private[name])

    def is_whole(self) -> bool:
        """True if every node serves, every replica is in its view, and every front end knows."""
        try:
            return all(self.alive(name) and self._serves(name) for name in self.names) and all(
                self._knows_all(node) for node in self.cluster.nodes
            )
        except (OSError, http.client.HTTPException, AssertionError):
            return False

    def health(self, name: str) -> dict[str, Any]:
        """What the node says of itself; {} if it says nothing."""
        try:
            found: dict[str, Any] = self.get(name, "/health", timeout=0.5).json
        except (OSError, http.client.HTTPException, ValueError):
            return {}
        return found

    # ---- faults that do not wait

    def signal(self, name: str, number: int) -> None:
        """To a node, if it is alive."""
        if self.alive(name):
            os.kill(self.pid(name), number)

    def exit_code(self, name: str) -> int | None:
        """Of a node that has ended (None: it runs, or was never started)."""
        return self._running[name].poll() if name in self._running else None

    def stop_all(self) -> dict[str, int]:
        """SIGTERM, tier by tier from the front: the exit codes of all nodes."""
        codes = {}
        for tier in (self.cluster.frontends, self.cluster.orders, self.cluster.catalogs):
            for node in tier:
                self.signal(node.name, signal.SIGTERM)
                codes[node.name] = self._running[node.name].wait(LONGEST)
        return codes
