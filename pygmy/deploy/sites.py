"""The hosts of a deployment while it goes on: connected, worked on side by side, and those that failed left out."""

import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from pygmy.cluster import Node
from pygmy.deploy.connection import Connection, HostFailed
from pygmy.deploy.hosts import Host, Way
from pygmy.deploy.onhost.place import Json

Tell = Callable[[str, str | None], None]  # a line, and its colour
STEP_SECONDS = 60.0


class Site:
    """A host, the way to it, and what is known of it. `failed`: it is out, and its user has been told why."""

    def __init__(self, connection: Connection, tell: Tell) -> None:
        self.host = connection.host
        self.failed = False
        self.facts: Json = {}
        self._connection = connection
        self._tell = tell

    def say(self, text: str, colour: str | None = None) -> None:
        """A line about this host."""
        self._tell(f"[{self.host.name}] {text}", colour)

    async def open(self) -> None:
        """Connect. Raises HostFailed."""
        await self._connection.open()

    async def close(self) -> None:
        """Disconnect."""
        await self._connection.close()

    async def step(self, name: str, payload: bytes = b"", seconds: float = STEP_SECONDS, **request: Any) -> Json:
        """One step, silently, but for what the host says on the way. Raises HostFailed."""
        return await self._connection.step(name, seconds, lambda text: self.say(f"{text} ..."), payload, **request)

    def fail(self, failure: HostFailed) -> None:
        """Tell what went wrong here, with the last lines of it, and take the host out."""
        self.failed = True
        self.say(f"failed at step {failure.step}: {failure}", "red")
        for line in failure.lines:
            self._tell(f"    {line}", None)


class Sites:
    """All hosts of a deployment."""

    def __init__(self, sites: Sequence[Site]) -> None:
        self.all = list(sites)

    @property
    def left(self) -> list[Site]:
        """Those that have not failed."""
        return [site for site in self.all if not site.failed]

    @property
    def whole(self) -> bool:
        """True while none has failed."""
        return len(self.left) == len(self.all)

    def of(self, node: Node) -> Site:
        """Where the node is."""
        return next(site for site in self.all if node in site.host.nodes)

    async def each(self, work: Callable[[Site], Awaitable[None]], sites: Sequence[Site] | None = None) -> None:
        """Work on all that are left at once. What fails on one of them takes that one out, and nothing else."""

        async def one(site: Site) -> None:
            try:
                await work(site)
            except HostFailed as failure:
                site.fail(failure)

        chosen = self.left if sites is None else sites
        await gatherResults([Deferred.fromCoroutine(one(site)) for site in chosen], consumeErrors=True)

    async def close(self) -> None:
        """Disconnect from all."""
        await gatherResults([Deferred.fromCoroutine(site.close()) for site in self.all], consumeErrors=True)


@contextmanager
def sites_for(
    reactor: Any, hosts: Sequence[Host], way: Way, tell: Tell, connect: Callable[..., Connection] = Connection
) -> Iterator[Sites]:
    """The hosts, not connected yet. The sockets of ssh are in a directory that nobody else can enter.

    `connect` is for tests.
    """
    home = Path(tempfile.mkdtemp(prefix="pygmy-"))
    try:
        yield Sites(
            [Site(connect(reactor, host, way, home / str(number)), tell) for number, host in enumerate(hosts)]
        )
    finally:
        shutil.rmtree(home, ignore_errors=True)
