"""A store that others run, as one of its front ends shows it: nothing is done to it but by requests."""

import http.client
import ssl
import threading
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from pygmy.drill.history import now
from pygmy.private import LONGEST, Headers, Reply, connected
from pygmy.private.asking import encoded, reply_of

FRESH = 0.15  # seconds for which what /cluster said is not asked for again
PORT = 5002


class NoFrontEnd(Exception):
    """Nobody answers there, or no front end of a store; str() says so in one line."""


class ForeignStore:
    """The front end at this URL is its only door. `trust`: whom to believe over https."""

    def __init__(self, url: str, trust: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(url)
        self.url = url
        self._server = (parts.hostname or "localhost", parts.port or PORT)
        self._trust = trust
        self._lock = threading.Lock()
        self._seen: dict[str, dict[str, Any]] = {}
        self._seen_at = float("-inf")
        self.names: Sequence[str] = ()
        self.doors: Sequence[str] = ()

    def enter(self) -> None:
        """Learn what nodes there are. Raises NoFrontEnd."""
        try:
            said = self.ask("GET", "/cluster", timeout=10.0)
            found = said.json
            self.doors = (str(found["node"]),)
            self.names = tuple(str(one["node"]) for one in found["nodes"])
            roles = {one["node"]: one["role"] for one in found["nodes"]}
        except (OSError, http.client.HTTPException) as error:
            raise NoFrontEnd(f"No store answers at {self.url}: {error}.") from None
        except (ValueError, KeyError, TypeError):
            raise NoFrontEnd(f"At {self.url} is no front end of a store.") from None
        if roles.get(self.doors[0]) != "frontend":
            raise NoFrontEnd(f"At {self.url} is {self.doors[0]}: expected a front end.")

    def takes(self, token: str) -> bool:
        """False if it refuses this admin token. Raises NoFrontEnd."""
        try:
            said = self.ask("GET", "/orders?limit=1", headers={"Authorization": f"Bearer {token}"}, timeout=10.0)
        except (OSError, http.client.HTTPException) as error:
            raise NoFrontEnd(f"No store answers at {self.url}: {error}.") from None
        return said.status not in (401, 403)

    # ---- as its customers see it

    def alive(self, name: str) -> bool:
        """Nothing is known of processes."""
        return True

    def connect(self, name: str, timeout: float = LONGEST) -> http.client.HTTPConnection:
        """A connection to the front end."""
        return connected(self._server, timeout, self._trust)

    def ask(
        self, method: str, path: str, body: object = None, headers: Headers | None = None, timeout: float = LONGEST
    ) -> Reply:
        """One request. Raises OSError, HTTPException."""
        connection = self.connect("", timeout)
        try:
            connection.request(method, path, *encoded(body, headers))
            return reply_of(connection.getresponse())
        finally:
            connection.close()

    def get(self, name: str, path: str, headers: Headers | None = None, timeout: float = LONGEST) -> Reply:
        """As `ask`."""
        return self.ask("GET", path, None, headers, timeout)

    def health(self, name: str, timeout: float = 0.5) -> dict[str, Any]:
        """What the front end says of the node (in /cluster), and of itself (in /health)."""
        try:
            if name in self.doors:
                found: dict[str, Any] = self.get(name, "/health", timeout=timeout).json
                return found
            return self._told(timeout).get(name, {})
        except (OSError, http.client.HTTPException, ValueError, KeyError):
            return {}

    def _told(self, timeout: float) -> dict[str, dict[str, Any]]:
        """What /cluster says of each other node; one request for all that ask at about the same time."""
        with self._lock:
            if now() - self._seen_at > FRESH:
                nodes = self.ask("GET", "/cluster", timeout=timeout).json["nodes"]
                self._seen = {
                    one["node"]: {
                        "state": one["state"],
                        "epoch": one["epoch"],
                        "message": "Healthy" if one["state"] == "RUNNING" else one["why"],
                    }
                    for one in nodes
                }
                self._seen_at = now()
            return self._seen
