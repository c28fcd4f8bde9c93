"""Asking a node how it is, and waiting for it."""

from typing import Any

from msgspec import Struct
from twisted.internet.task import deferLater

from pygmy.cli.calling import Settings, tcp_client
from pygmy.cli.failures import CommandFailed
from pygmy.cli.nodes import Store
from pygmy.cluster import Node

PATIENCE = 2.0
PAUSE = 0.2
HEALTHY = "Healthy"
OPENING = "The node is opening its database."  # and it may yet find that it cannot start


class Message(Struct, frozen=True):
    """What of /health matters here."""

    message: str


async def condition(reactor: Any, store: Store, node: Node) -> str | None:
    """The node's word on its health ("Healthy" when it serves); None: no answer."""
    try:
        client = tcp_client(reactor, Settings(node.url, timeout=PATIENCE, ca=store.ca))
        return (await client.status("/health", Message)).value.message
    except CommandFailed:
        return None


async def pause(reactor: Any) -> None:
    """The time between two looks."""
    await deferLater(reactor, PAUSE)
