"""The line that a node writes when it does not believe somebody."""

from collections.abc import Callable, Iterable

from twisted.internet.interfaces import IAddress

from pygmy.logs import Logger
from pygmy.seldom import Seldom

log = Logger()


class Refusals:
    """Says who was refused, and why: a line in five seconds for each node on each host, however often they try."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._seldom = Seldom(now)

    def __call__(self, peer: IAddress | None, why: str, claimed: Iterable[str] = ()) -> None:
        """`claimed`: the nodes that it says it is."""
        host = str(getattr(peer, "host", "somebody"))
        names = ", ".join(sorted(claimed))
        if self._seldom((host, names)):
            whom = f"{names} at {host}" if names else host
            log.warn("refused {whom} (tls): {why}", whom=whom, why=why)
