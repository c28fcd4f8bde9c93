"""The listening side with bounds on everything: headers, bodies, time, connections. Garbage gets problem+json."""

from collections.abc import Callable

from msgspec import Struct
from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import IResource
from twisted.web.server import Site

# A front end's short way: the exact bytes of a request that came whole, while nothing else is under way on its
# connection -> the exact bytes of the keep-alive answer, or None to go the ordinary way.
Shortcut = Callable[[bytes], bytes | None]


class Limits(Struct, frozen=True):
    """Bytes, counts and seconds. `body_of` names longer bodies by exact path."""

    header_bytes: int = 16_384
    headers: int = 64
    body: int = 64 * 1024
    body_of: tuple[tuple[bytes, int], ...] = ((b"/internal", 8 * 1024 * 1024),)
    idle: float = 60.0
    request: float = 15.0
    connections: int = 2_000


class BoundedSite(Site):
    """`Site(resource)` within `limits`, HTTP/1.1 keep-alive, pipelined requests answered in order."""

    def __init__(
        self,
        resource: IResource,
        clock: IReactorTime,
        limits: Limits = Limits(),  # noqa: B008
        shortcut: Shortcut | None = None,
    ) -> None:
        raise NotImplementedError
