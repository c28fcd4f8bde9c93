"""One connection of the load generator: requests out, whole answers in, with as little as possible in between."""

import socket
import ssl

Headers = tuple[tuple[str, str], ...]

_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


class BadAnswer(Exception):
    """What came is not an answer of known length."""


def request_bytes(host: str, port: int, method: str, path: str, headers: Headers = ()) -> bytes:
    """A request without a body, on a connection that stays."""
    more = "".join(f"{name}: {value}\r\n" for name, value in headers)
    length = "" if method in ("GET", "DELETE") else "Content-Length: 0\r\n"
    return f"{method} {path} HTTP/1.1\r\nHost: {host}:{port}\r\n{more}{length}\r\n".encode()


def answer_to(host: str, port: int, method: str, path: str, headers: Headers = ()) -> bytes:
    """The very bytes of an answer. Raises OSError, BadAnswer."""
    with socket.create_connection((host, port), timeout=10) as connection:
        connection.sendall(request_bytes(host, port, method, path, headers))
        data = b""
        while (found := whole_answer(data)) is None:
            more = connection.recv(262_144)
            if not more:
                raise ConnectionResetError("closed before the answer was whole")
            data += more
    return data[: found[1]]


def whole_answer(data: bytes) -> tuple[int, int, bool] | None:
    """(status, its length in bytes, whether the connection is closed after it) of the first answer in `data`.

    None: it is not whole yet. Raises BadAnswer.
    """
    end = data.find(_END)
    if end < 0:
        return None
    head = data[:end].lower()
    place = head.find(_LENGTH)
    try:
        status = int(head[9:12])
        body = int(head[place + len(_LENGTH) :].split(b"\r\n", 1)[0]) if place >= 0 else 0
    except ValueError:
        raise BadAnswer(head[:80].decode("latin-1")) from None
    if place < 0 and status not in (204, 304):
        raise BadAnswer("an answer without a Content-Length")
    size = end + len(_END) + body
    return (status, size, b"connection: close" in head) if len(data) >= size else None


class Connection:
    """One client: at most one request under way, which `since` belongs to (when it was sent, or due)."""

    def __init__(self, host: str, port: int, trust: ssl.SSLContext | None = None) -> None:
        self._address = (host, port)
        self._trust = trust
        self._data = b""
        self.since = 0.0
        self.socket = self._connected()

    def _connected(self) -> socket.socket:
        found = socket.create_connection(self._address, timeout=10)
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._trust is None:
            return found
        secured = self._trust.wrap_socket(found, server_hostname=self._address[0])
        # What comes need not be of an answer (a session ticket), and must not keep the other clients waiting.
        secured.setblocking(False)
        return secured

    def again(self) -> None:
        """A new connection in place of this one. Raises OSError."""
        self.socket.close()
        self._data = b""
        self.socket = self._connected()

    def send(self, request: bytes, since: float) -> None:
        """Send a request: it fits into any send buffer."""
        self.since = since
        self.socket.sendall(request)

    def receive(self) -> tuple[int, bool] | None:
        """(status, whether the connection is over) of the answer, if it is whole now. Raises OSError, BadAnswer."""
        try:
            more = self.socket.recv(262_144)
            while isinstance(self.socket, ssl.SSLSocket) and self.socket.pending():
                more += self.socket.recv(262_144)
        except ssl.SSLWantReadError:
            return None
        if not more:
            raise ConnectionResetError("closed before the answer was whole")
        self._data += more
        found = whole_answer(self._data)
        if found is None:
            return None
        status, size, closed = found
        self._data = self._data[size:]
        return status, closed
