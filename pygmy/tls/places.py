"""Where a node listens, by its Twisted endpoint strings: who can listen in, who can wait, what is no such string."""

import re
from ipaddress import ip_address

_SEPARATOR = re.compile(r"(?<!\\):")
_ENCRYPTED = frozenset({"ssl", "tls"})
_TCP = frozenset({"tcp", "tcp4", "tcp6"})
_PLAIN = _TCP | {"unix"}
_WITH_BACKLOG = frozenset({"tcp", "tcp6", "ssl", "unix"})
BACKLOG = 1024


class ExposedError(ValueError):
    """A place that others can listen in at, where nobody has said that they may."""


def endpoint_from(text: str) -> str:
    """The text, if it is an endpoint string that Twisted knows. ValueError, in one line, otherwise."""
    from twisted.internet.endpoints import serverFromString  # it loads TLS, where that has not been left out

    try:
        serverFromString(None, text)
    except Exception as error:  # whatever its readers, and the files that it names, come up with
        said = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"expected an endpoint such as tcp:8080 or ssl:443:privateKey=FILE ({said}).") from None
    return text


def encrypted(endpoint: str) -> bool:
    """Whether the endpoint speaks TLS by itself."""
    return _parts(endpoint)[0] in _ENCRYPTED


def plain(endpoint: str) -> bool:
    """Whether the endpoint is known to speak no TLS by itself."""
    return _parts(endpoint)[0] in _PLAIN


def beyond_loopback(endpoint: str) -> bool:
    """Whether other machines may reach it; of kinds that are not known here, they may."""
    kind, *parts = _parts(endpoint)
    if kind == "unix":
        return False
    interfaces = [part.partition("=")[2] for part in parts if part.startswith("interface=")]
    interface = interfaces[-1].replace("\\:", ":") if interfaces else ""
    return kind not in _TCP or not _is_loopback(interface)


def with_backlog(endpoint: str) -> str:
    """The same, where BACKLOG connections can wait to be taken, unless it says how many (or anything by its place).

    Twisted's own 50 are fewer than come at once, and who finds no place tries again after a second, or two.
    """
    kind, *parts = _parts(endpoint)
    told = any("=" not in part or part.startswith("backlog=") for part in parts[1:])
    return endpoint if told or kind not in _WITH_BACKLOG else f"{endpoint}:backlog={BACKLOG}"


def check_places(node: str, port: str, listen: tuple[str, ...], *, tls: bool, insecure: bool) -> None:
    """Raise ExposedError where the node would speak to other machines in the clear, and was not told to."""
    if tls and encrypted(port):
        raise ValueError(f"--port {port}: expected a plain endpoint: the node's own certificate makes TLS of it.")
    open_to_all = [place for place in listen if not encrypted(place) and beyond_loopback(place)]
    if insecure or not (open_to_all or (not tls and beyond_loopback(port))):
        return
    if not tls and beyond_loopback(port):
        raise ExposedError(
            f"{node} would listen beyond this machine ({port}) without TLS: make certificates (pygmy certs), "
            "or let everybody listen in (--insecure-network)."
        )
    raise ExposedError(
        f"{node} would listen beyond this machine ({open_to_all[0]}) without TLS: name an ssl: endpoint (--listen), "
        "or let everybody listen in (--insecure-network)."
    )


def _parts(endpoint: str) -> list[str]:
    return [part.strip() for part in _SEPARATOR.split(endpoint)]


def _is_loopback(interface: str) -> bool:
    try:
        return ip_address(interface).is_loopback
    except ValueError:
        return interface.lower() == "localhost"
