"""One client's connections, kept open, and what became of each request on them."""

import http.client
from typing import Any

from msgspec import Struct

from pygmy.drill.shop import Shop
from pygmy.private import Headers, Reply
from pygmy.private.asking import encoded, reply_of

TRY_SECONDS = 8.0  # a front end answers within five, if only with a 503
DEFINITE = frozenset({200, 201, 204, 304, 404, 409, 422})
ANSWERED, UNAVAILABLE, UNKNOWN, SILENT, WRONG = OUTCOMES = (
    "answered",
    "unavailable",  # 503: nothing was done
    "outcome unknown",  # 503 that says so
    "no answer",
    "wrong",
)
NONE: Headers = {}


class Said(Struct, frozen=True):
    """What came of one try: `outcome` is one of OUTCOMES, `reply` None where there was no answer."""

    outcome: str
    reply: Reply | None


class Wire:
    """Connections of one thread to all nodes of a store."""

    def __init__(self, store: Shop) -> None:
        self._store = store
        self._open: dict[str, http.client.HTTPConnection] = {}

    def ask(
        self,
        name: str,
        method: str,
        path: str,
        body: Any = None,
        headers: Headers = NONE,
        seconds: float = TRY_SECONDS,
    ) -> Said:
        """One try at this node. Never raises."""
        connection = self._open.pop(name, None) or self._store.connect(name, seconds)
        connection.timeout = seconds
        try:
            if connection.sock is not None:
                connection.sock.settimeout(seconds)
            connection.request(method, path, *encoded(body, headers))
            reply = reply_of(connection.getresponse())
        except (OSError, http.client.HTTPException):
            connection.close()
            return Said(SILENT, None)
        self._open[name] = connection
        return Said(outcome_of_try(reply), reply)

    def close(self) -> None:
        """Hang up."""
        for connection in self._open.values():
            connection.close()


def outcome_of_try(reply: Reply) -> str:
    """One of OUTCOMES."""
    if reply.status in DEFINITE:
        return ANSWERED
    if reply.status != 503:
        return WRONG
    return UNKNOWN if b"outcome_unknown" in reply.body else UNAVAILABLE
