"""What passes between the two ends of a proxy's connection: kept back, slowed, reset.

Who calls stands at the beginning of what it says: a node's connection to /internal carries nobody else's requests,
and each of them begins with `{"sender":"catalog-0"`.  All others (GET /health is one) come from `NOBODY`.
"""

import asyncio
import contextlib
import re
import socket
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

Pair = tuple[str, str]  # who calls, who is called

NOBODY = ""
_INTERNAL = b"POST /internal "
_SENDER = re.compile(rb'\r\n\r\n\{"sender":"([a-z]+-[0-9]+)"')
_LONGEST_HEAD = 64 * 1024
_MOST_WAITING = 1024 * 1024  # bytes of one connection, one way


class Link:
    """One connection: `near` is its caller's end, `far` the node's.

    It calls `judge` once it is known who calls, `gone` when it is over, `doubt` when its node may have gone.
    """

    connecting: "asyncio.Future[None]"

    def __init__(
        self,
        callee: str,
        doubt: Callable[[], None],
        judge: "Callable[[Link], None]",
        gone: "Callable[[Link], None]",
    ) -> None:
        self.caller: str | None = None
        self._callee = callee
        self._judge, self._gone = judge, gone
        self._doubt = doubt
        self._said = b""
        self.near, self.far = End(self), End(self)
        self.forth, self.back = Pipe(self.near, self.far), Pipe(self.far, self.near)
        self.forth.set(held=True)  # until it is known whose it is

    @property
    def pair(self) -> Pair:
        """Who calls whom; NOBODY also while that is not known."""
        return (self.caller or NOBODY, self._callee)

    def came(self, end: "End", what: "Item") -> None:
        """Something has come in at one end."""
        (self.forth if end is self.near else self.back).put(what)
        if end is self.near and self.caller is None:
            self._listen(what)
        if end is self.far and isinstance(what, Lost):
            self._doubt()  # perhaps its node has gone
        if self.near.lost and self.far.lost:
            self._gone(self)

    def _listen(self, what: "Item") -> None:
        if isinstance(what, bytes):
            self._said += what
        self.caller = NOBODY if not isinstance(what, bytes) else _sender(self._said)
        if self.caller is not None:
            self._said = b""
            self._judge(self)

    def abort(self) -> None:
        """Reset both ends."""
        self._gone(self)
        for end in (self.near, self.far):
            end.abort()


def _sender(said: bytes) -> str | None:
    """Who says this; None: that cannot be told yet."""
    if said[: len(_INTERNAL)] != _INTERNAL[: len(said)] or len(said) > _LONGEST_HEAD:
        return NOBODY
    found = _SENDER.search(said)
    return found[1].decode("ascii") if found else None


class Eof:
    """One side will say no more."""


class Lost(NamedTuple):
    """One side is gone; `reset`: not in good order."""

    reset: bool


Item = bytes | Eof | Lost


class End(asyncio.Protocol):
    """One end of a connection."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.transport: asyncio.Transport | None = None
        self.lost = False
        self._ended = self._aborted = False

    def connection_made(self, transport: Any) -> None:
        """From now on what waits can be let out."""
        self.transport = transport
        if self._aborted:
            transport.abort()
        self._link.forth.flush()
        self._link.back.flush()

    def data_received(self, data: bytes) -> None:
        """On to the other end."""
        self._link.came(self, data)

    def eof_received(self) -> bool:
        """Likewise."""
        self._ended = True
        self._link.came(self, Eof())
        return True  # the other direction goes on

    def connection_lost(self, exc: Exception | None) -> None:
        """Likewise."""
        self.lost = True
        self._link.came(self, Lost(exc is not None))

    def pause_writing(self) -> None:
        """More than it can take comes from the other end."""
        self._pipe().choke(True)

    def resume_writing(self) -> None:
        """It can take more."""
        self._pipe().choke(False)

    def _pipe(self) -> "Pipe":
        return self._link.forth if self is self._link.far else self._link.back

    def abort(self) -> None:
        """Reset it."""
        self._aborted = True
        if self.transport is None:
            self.lost = True
        else:
            # A reset, not a good-bye.
            sock = self.transport.get_extra_info("socket")
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            self.transport.abort()

    def take(self, item: Item) -> None:
        """What comes out of the other end's pipe."""
        transport = self.transport
        if transport is None or self.lost:
            return
        if isinstance(item, bytes):
            transport.write(item)
        elif isinstance(item, Lost):
            if item.reset:
                self.abort()
            else:
                transport.close()
        elif self._ended:
            transport.close()
        elif not transport.is_closing():
            with contextlib.suppress(OSError):  # the other side has gone, and that is not known here yet
                transport.write_eof()


class Pipe:
    """One direction of a connection: in order, each item not before its time, and none while it is held."""

    def __init__(self, source: End, sink: End) -> None:
        self._source, self._sink = source, sink
        self._items: deque[tuple[float, Item]] = deque()
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

    def put(self, item: Item) -> None:
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
