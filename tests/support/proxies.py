"""TCP proxies between nodes, whose links can be cut (both ways or one), slowed and reset. No root is needed.

Every node listens on a port of its own that nobody knows; the cluster file names its proxy's.  A proxy sees who is
called.  Who calls stands at the beginning of what it says: a node's connection to /internal carries nobody else's
requests, and each of them begins with `{"sender":"catalog-0"`.  All others (GET /health is one) come from `NOBODY`,
and can be told apart by whom they call only.

A proxy listens only while its node does, so that a node that is down refuses connections here, too.
"""

import asyncio
import contextlib
import re
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple, TypeVar

T = TypeVar("T")
Pair = tuple[str, str]  # who calls, who is called

NOBODY = ""
LOCALHOST = "127.0.0.1"
_INTERNAL = b"POST /internal "
_SENDER = re.compile(rb'\r\n\r\n\{"sender":"([a-z]+-[0-9]+)"')
_LONGEST_HEAD = 64 * 1024
_MOST_WAITING = 1024 * 1024  # bytes of one connection, one way
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
        self._links: set[_Link] = set()
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

    def judge(self, link: "_Link") -> None:
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
        link = _Link(self._proxies, self._name, self._doubt.set)
        self._proxies._links.add(link)
        work = asyncio.ensure_future(self._connect(link))
        link.connecting = work
        return link.near

    async def _connect(self, link: "_Link") -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: link.far, LOCALHOST, self._door.private)
        except OSError:
            self._doubt.set()
            link.abort()


class _Link:
    """One connection: `near` is its caller's end, `far` the node's."""

    connecting: "asyncio.Future[None]"

    def __init__(self, proxies: Proxies, callee: str, doubt: Callable[[], None]) -> None:
        self.caller: str | None = None
        self._callee = callee
        self._proxies = proxies
        self._doubt = doubt
        self._said = b""
        self.near, self.far = _End(self), _End(self)
        self.forth, self.back = _Pipe(self.near, self.far), _Pipe(self.far, self.near)
        self.forth.set(held=True)  # until it is known whose it is

    @property
    def pair(self) -> Pair:
        return (self.caller or NOBODY, self._callee)

    def came(self, end: "_End", what: "_Item") -> None:
        """Something has come in at one end."""
        (self.forth if end is self.near else self.back).put(what)
        if end is self.near and self.caller is None:
            self._listen(what)
        if end is self.far and isinstance(what, _Lost):
            self._doubt()  # perhaps its node has gone
        if self.near.lost and self.far.lost:
            self._proxies._links.discard(self)

    def _listen(self, what: "_Item") -> None:
        if isinstance(what, bytes):
            self._said += what
        self.caller = NOBODY if not isinstance(what, bytes) else _sender(self._said)
        if self.caller is not None:
            self._said = b""
            self._proxies.judge(self)

    def abort(self) -> None:
        """Reset both ends."""
        self._proxies._links.discard(self)
        for end in (self.near, self.far):
            end.abort()


def _sender(said: bytes) -> str | None:
    """Who says this; None: that cannot be told yet."""
    if said[: len(_INTERNAL)] != _INTERNAL[: len(said)] or len(said) > _LONGEST_HEAD:
        return NOBODY
    found = _SENDER.search(said)
    return found[1].decode("ascii") if found else None


class _Eof:
    """One side will say no more."""


class _Lost(NamedTuple):
    """One side is gone; `reset`: not in good order."""

    reset: bool


_Item = bytes | _Eof | _Lost


class _End(asyncio.Protocol):
    """One end of a connection."""

    def __init__(self, link: _Link) -> None:
        self._link = link
        self.transport: asyncio.Transport | None = None
        self.lost = False
        self._ended = self._aborted = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        if self._aborted:
            transport.abort()
        self._link.forth.flush()
        self._link.back.flush()

    def data_received(self, data: bytes) -> None:
        self._link.came(self, data)

    def eof_received(self) -> bool:
        self._ended = True
        self._link.came(self, _Eof())
        return True  # the other direction goes on

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._link.came(self, _Lost(exc is not None))

    def pause_writing(self) -> None:
        self._pipe().choke(True)

    def resume_writing(self) -> None:
        self._pipe().choke(False)

    def _pipe(self) -> "_Pipe":
        return self._link.forth if self is self._link.far else self._link.back

    def abort(self) -> None:
        self._aborted = True
        if self.transport is None:
            self.lost = True
        else:
            # A reset, not a good-bye.
            sock = self.transport.get_extra_info("socket")
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            self.transport.abort()

    def take(self, item: _Item) -> None:
        """What comes out of the other end's pipe."""
        transport = self.transport
        if transport is None or self.lost:
            return
        if isinstance(item, bytes):
            transport.write(item)
        elif isinstance(item, _Lost):
            if item.reset:
                self.abort()
            else:
                transport.close()
        elif self._ended:
            transport.close()
        elif not transport.is_closing():
            with contextlib.suppress(OSError):  # the other side has gone, and that is not known here yet
                transport.write_eof()


class _Pipe:
    """One direction of a connection: in order, each item not before its time, and none while it is held."""

    def __init__(self, source: _End, sink: _End) -> None:
        self._source, self._sink = source, sink
        self._items: deque[tuple[float, _Item]] = deque()
        self._waiting = 0
        self._held = self._choked = False
        self._delay = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def set(self, *, held: bool, delay: float = 0.0) -> None:
        """How it is from now on."""
        self._held, self._delay = held, delay
        self.flush()

    def choke(self, choked: bool) -> None:
        """The sink takes no more for now."""
        self._choked = choked
        self._throttle()

    def put(self, item: _Item) -> None:
        """In at the source."""
        self._items.append((asyncio.get_running_loop().time() + self._delay, item))
        self._waiting += len(item) if isinstance(item, bytes) else 0
        self.flush()

    def flush(self) -> None:
        """Let out what is due."""
        now = asyncio.get_running_loop().time()
        while self._items and not self._held and (self._sink.transport is not None or self._sink.lost):
            due, item = self._items[0]
            if due > now:
                if self._timer is None or self._timer.cancelled() or self._timer.when() <= now:
                    self._timer = asyncio.get_running_loop().call_at(due, self.flush)
                break
            self._items.popleft()
            self._waiting -= len(item) if isinstance(item, bytes) else 0
            self._sink.take(item)
        self._throttle()

    def _throttle(self) -> None:
        source = self._source.transport
        if source is None or self._source.lost or source.is_closing():
            return
        if self._choked or self._waiting > _MOST_WAITING:
            source.pause_reading()
        else:
            source.resume_reading()
