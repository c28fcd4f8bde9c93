"""One customer who does one thing after the other on one connection, with a watch in hand."""

import ssl
import time

from pygmy.private import connected


class Failed(RuntimeError):
    """A request was not answered with success: nothing can be measured on this store."""


class Customer:
    """Times requests one by one; to be closed."""

    def __init__(self, server: tuple[str, int], trust: ssl.SSLContext | None = None) -> None:
        self._connection = connected(server, 30.0, trust)

    def time(self, method: str, path: str) -> float:
        """Seconds until the answer is whole. Raises Failed, OSError."""
        started = time.perf_counter()
        self._connection.request(method, path)
        response = self._connection.getresponse()
        body = response.read()
        taken = time.perf_counter() - started
        if response.status != 200:
            raise Failed(f"{method} {path}: {response.status} {body[:200].decode('utf-8', 'replace')}")
        return taken

    def lookup(self, number: int) -> float:
        """Seconds for a lookup."""
        return self.time("GET", f"/books/{number}")

    def buy(self, number: int) -> float:
        """Seconds for a buy of one copy."""
        return self.time("POST", f"/books/{number}")

    def close(self) -> None:
        """Hang up."""
        self._connection.close()
