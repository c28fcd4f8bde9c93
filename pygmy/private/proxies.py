"""TCP proxies between nodes, whose links can be cut (both ways or one), slowed and reset. No root is needed.

Every node listens on a port of its own that nobody knows; the cluster file names its proxy's.  A proxy sees who is
called.  Who calls stands at the beginning of what it says: a node's connection to /internal carries nobody else's
requests, and each of them begins with `{"sender":"catalog-0"`.  All others (GET /health is one) come from `NOBODY`,
and can be told apart by whom they call only.

A proxy listens only while its node does, so that a node that is down refuses connections here, too.
"""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple, TypeVar

from pygmy.private.pipes import NOBODY, Link, Pair

__all__ = ["NOBODY", "Door", "Pair", "Proxies", "Rule"]

T = TypeVar("T")

LOCALHOST = "127.0.0.1"
_PROBE_SECONDS = 0.02


class Door(NamedTuple):
    """The port by which others know a node, and the one on which it listens."""

    public: int
    private: int


class Rule:
    """What is wrong with some links until it is lifted; see the methods of `Proxies` for what each kind does."""

    def __init__(self, kind: Literal["cut", "mute", "refuse", "slow"], pairs: Iterable[Pair], seconds: float = 0.0):
        self.kind = kind
        self.pairs = frozenset(pairs)
        self.seconds = seconds


class Proxies:
    """The proxies of all nodes, in a thread of their own. Every method returns when what it asks for is in force."""

    def __init__(self, doors: Mapping[str, Door]) -> None:
        self._doors = doors
        self._rules: list[Rule] = []
        self._links: set[Link] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> "Proxies":
        """From now on nodes can be reached."""
        self._thread.start()
        self._do(self._watch_all)
        return self

    def close(self) -> None:
        """No more proxies, no more connections."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop.close()

    # ---- what can be wrong

    def cut(self, pairs: Iterable[Pair]) -> Rule:
        """Of each pair, what the first says on its own connections to the second does not arrive.

        It is kept, and arrives when the rule is lifted, even if whoever said it has hung up since.  Answers on these
        connections pass, unless the pair is cut the other way round, too.
        """
        return self._impose(Rule("cut", pairs))

    def mute(self, pairs: Iterable[Pair]) -> Rule:
        """Of each pair, what the first answers on the second's connections does not arrive: likewise."""
        return self._impose(Rule("mute", pairs))

    def refuse(self, pairs: Iterable[Pair]) -> Rule:
        """Connections from the first to the second are reset, and new ones as soon as it is known whose they are."""
        return self._impose(Rule("refuse", pairs))

    def slow(self, pairs: Iterable[Pair], seconds: float) -> Rule:
        """All that passes on connections from the first to the second takes so long each way."""
        return self._impose(Rule("slow", pairs, seconds))

    def reset(self, pairs: Iterable[Pair]) -> None:
        """Reset the present connections from the first to the second."""
        wanted = frozenset(pairs)

        def reset() -> None:
            for link in list(self._links):
                if link.pair in wanted:
                    link.abort()

        self._do(reset)

    def lift(self, *rules: Rule) -> None:
        """An end to these rules; to all without any."""

        def without() -> None:
            self._rules = [rule for rule in self._rules if rules and rule not in rules]
            self._apply()

        self._do(without)

    def open(self) -> list[Pair]:
        """Who is connected with whom, as far as it is known."""
        return self._do(lambda: sorted(link.pair for link in self._links if link.caller is not None))

    def _impose(self, rule: Rule) -> Rule:
        def impose() -> None:
            self._rules.append(rule)
            self._apply()

        self._do(impose)
        return rule

    # ---- in the proxies' thread

    def _do(self, work: Callable[[], T]) -> T:
        async def done() -> T:
            return work()

        return asyncio.run_coroutine_threadsafe(done(), self._loop).result()

    def _watch_all(self) -> None:
        for name, door in self._doors.items():
            watch = _Watch(self, name, door)
            self._tasks.append(self._loop.create_task(watch.run()))

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for link in list(self._links):
            link.abort()
        await asyncio.sleep(0)

    def _apply(self) -> None:
        for link in list(self._links):
            self.judge(link)

    def link(self, callee: str, doubt: Callable[[], None]) -> Link:
        """A new connection to this node."""
        link = Link(callee, doubt, self.judge, self._links.discard)
        self._links.add(link)
        return link

    def judge(self, link: Link) -> None:
        """Bring the rules to bear on a connection."""
        if link.caller is None:
            return

        def under(kind: str, caller: str, callee: str) -> bool:
            return any(rule.kind == kind and (caller, callee) in rule.pairs for rule in self._rules)

        caller, callee = link.pair
        if under("refuse", caller, callee):
            link.abort()
            return
        cut = under("cut", caller, callee)
        back = (cut and under("cut", callee, caller)) or under("mute", callee, caller)
        delay = max((r.seconds for r in self._rules if r.kind == "slow" and link.pair in r.pairs), default=0.0)
        link.forth.set(held=cut, delay=delay)
        link.back.set(held=back, delay=delay)


class _Watch:
    """Listens in front of one node, while that node listens."""

    def __init__(self, proxies: Proxies, name: str, door: Door) -> None:
        self._proxies = proxies
        self._name = name
        self._door = door
        self._doubt = asyncio.Event()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            while not await self._reachable():
                await asyncio.sleep(_PROBE_SECONDS)
            server = await asyncio.get_running_loop().create_server(self._called, sock=self._socket())
            try:
                while await self._reachable():
                    await self._doubt.wait()
                    self._doubt.clear()
            finally:
                server.close()

    def _socket(self) -> socket.socket:
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((LOCALHOST, self._door.public))
        return listening

    async def _reachable(self) -> bool:
        try:
            _, writer = await asyncio.open_connection(LOCALHOST, self._door.private)
        except OSError:
            return False
        writer.transport.abort()
        return True

    def _called(self) -> asyncio.Protocol:
        link = self._proxies.link(self._name, self._doubt.set)
        work = asyncio.ensure_future(self._connect(link))
        link.connecting = work
        return link.near

    async def _connect(self, link: Link) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: link.far, LOCALHOST, self._door.private)
        except OSError:
            self._doubt.set()
            link.abort()
