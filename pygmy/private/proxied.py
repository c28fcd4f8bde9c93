"""A private store whose nodes reach each other through proxies only, while clients reach each of them directly."""

import subprocess
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from pygmy.cluster import Node
from pygmy.private.places import free_ports
from pygmy.private.proxies import Door, Proxies
from pygmy.private.store import PrivateStore


class ProxiedStore(PrivateStore):
    """The cluster file, the same for all nodes, names the proxies' ports; each node is told its own by --port."""

    def __init__(self, directory: Path, **options: Any) -> None:
        super().__init__(directory, **options)
        nodes = self.cluster.nodes
        taken = {node.port for node in nodes}
        private = [port for port in free_ports(2 * len(nodes)) if port not in taken]
        self._private = {node.name: port for node, port in zip(nodes, private, strict=False)}
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

    def launch(self, name: str, *extra: str, **variables: str) -> "subprocess.Popen[bytes]":
        """As in every store, on the node's private port."""
        port = f"tcp:{self._private[name]}:interface=127.0.0.1"
        return super().launch(name, "--port", port, *extra, **variables)

    def node(self, name: str) -> Node:
        """The node as clients reach it."""
        return replace(self.cluster.node(name), host="127.0.0.1", port=self._private[name])
