"""One request, one answer, on a connection of its own."""

import http.client
import json
import ssl
from collections.abc import Mapping
from typing import Any, NamedTuple

from pygmy.cluster import Node
from pygmy.private.waiting import LONGEST

Headers = Mapping[str, str]


class Reply(NamedTuple):
    """An answer, read to its end; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


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
    """The answer. `body`: bytes as they are, anything else as JSON. Raises OSError, HTTPException."""
    connection = connected(address(node), timeout, trust)
    try:
        connection.request(method, path, *encoded(body, headers))
        return reply_of(connection.getresponse())
    finally:
        connection.close()


def connected(
    server: tuple[str, int], timeout: float = LONGEST, trust: ssl.SSLContext | None = None
) -> http.client.HTTPConnection:
    """A connection that opens with its first request; over TLS if there is `trust`."""
    if trust is None:
        return http.client.HTTPConnection(*server, timeout=timeout)
    return http.client.HTTPSConnection(*server, timeout=timeout, context=trust)


def trusting(ca: str = "") -> ssl.SSLContext:
    """Believes who has a certificate for its host, of the CA in this file ("": one that this machine believes).

    Raises OSError: the file cannot be read, or is none.
    """
    return ssl.create_default_context(cafile=ca or None)


def reply_of(response: http.client.HTTPResponse) -> Reply:
    """The whole of it."""
    return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())


def encoded(body: object, headers: Headers | None) -> tuple[bytes | None, dict[str, str]]:
    """Body and headers as they are sent."""
    if body is None or isinstance(body, bytes):
        return body, dict(headers or {})
    return json.dumps(body).encode(), {"Content-Type": "application/json", **(headers or {})}
