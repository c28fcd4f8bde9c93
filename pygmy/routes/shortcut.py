"""A cached lookup answered from the bytes of its request, before any Request object is made.

Clients repeat themselves: a plain keep-alive GET of a cached path has the same bytes each time.  What such bytes ask
for is found out once and kept in a bounded table; everything else goes the ordinary way, which gives the same answer.
"""

import re
from collections.abc import Callable
from itertools import count
from time import time
from urllib.parse import unquote_plus

import msgspec
from twisted.web.http import datetimeToString
from twisted.web.server import version

from pygmy.caching.cache import BookOf, PageOf, Stored, Thing
from pygmy.routes.reading import BooksQuery
from pygmy.web.ids import uuid7

_LONGEST = 2_048
_MOST = 1_024
_REQUEST_LINE = re.compile(rb"GET (/books(?:/[1-9][0-9]{0,17}|\?[!-~]+)?) HTTP/1\.1\Z")
_HEADER = re.compile(rb"([A-Za-z-]+): ?([ -~]*)\Z")
# Headers that change nothing about the answer. Any other, and any of these twice, is left to the ordinary way.
_HARMLESS = frozenset({b"host", b"user-agent", b"accept", b"accept-encoding", b"accept-language", b"connection"})


class Shortcuts:
    """Call it with the bytes of a whole request: the bytes of the answer, or None to go the ordinary way."""

    def __init__(
        self,
        peek: Callable[[Thing, float], Stored | None],
        now: Callable[[], float],
        wall: Callable[[], float] = time,
    ) -> None:
        self._peek = peek
        self._now = now
        self._wall = wall
        self._known: dict[bytes, Thing] = {}
        self._heads: dict[Thing, tuple[Stored, bytes]] = {}
        self._request_id = f"{uuid7()}-%x".encode("ascii")
        self._number = count(1)
        self._second = -1
        self._top = b""

    def __call__(self, data: bytes) -> bytes | None:
        """Counts a hit; a miss is left for the ordinary way to count."""
        thing = self._known.get(data)
        if thing is None:
            thing = self._learn(data)
            if thing is None:
                return None
        stored = self._peek(thing, self._now())
        if stored is None:
            return None
        known, head = self._heads.get(thing, (None, b""))
        if known is not stored:
            head = self._prepare(thing, stored)
        second = int(self._wall())
        if second != self._second:
            self._strike(second)
        return b"%s%s%s%s" % (self._top, self._request_id % next(self._number), head, stored.body)

    def _learn(self, data: bytes) -> Thing | None:
        thing = asked_for(data)
        if thing is not None:
            if len(self._known) >= _MOST:
                del self._known[next(iter(self._known))]
            self._known[data] = thing
        return thing

    def _prepare(self, thing: Thing, stored: Stored) -> bytes:
        """The lower part of the head, from behind the request id."""
        lines = [b"", b"Content-Type: application/json", b"Content-Length: %d" % len(stored.body)]
        if stored.etag:
            lines.append(b"ETag: " + stored.etag.encode("ascii"))
        if stored.link:
            lines.append(b"Link: " + stored.link.encode("ascii"))
        head = b"\r\n".join([*lines, b"", b""])
        if len(self._heads) >= _MOST:
            del self._heads[next(iter(self._heads))]
        self._heads[thing] = (stored, head)
        return head

    def _strike(self, second: int) -> None:
        """The upper part of the head, up to the request id."""
        self._second = second
        self._top = b"HTTP/1.1 200 OK\r\nServer: %s\r\nDate: %s\r\nX-Request-ID: " % (
            version,
            datetimeToString(second),
        )


def asked_for(data: bytes) -> Thing | None:
    """What these bytes ask for, if they are one whole plain GET of a book or a list; else None."""
    if len(data) > _LONGEST or not data.startswith(b"GET /books") or not data.endswith(b"\r\n\r\n"):
        return None
    lines = data[:-4].split(b"\r\n")
    found = _REQUEST_LINE.match(lines[0])
    return _target(found[1].decode("ascii")) if found and _plain(lines[1:]) else None


def _plain(lines: list[bytes]) -> bool:
    seen = set()
    for line in lines:
        header = _HEADER.match(line)
        name = header[1].lower() if header else b""
        if header is None or name not in _HARMLESS or name in seen:
            return False
        if name == b"connection" and header[2].strip().lower() != b"keep-alive":
            return False
        seen.add(name)
    return b"host" in seen


def _target(target: str) -> Thing | None:
    path, _, query = target.partition("?")
    if path != "/books":
        return BookOf(int(path.removeprefix("/books/")))
    values: dict[str, str | int] = {}
    for part in query.split("&") if query else ():
        name, equals, value = part.partition("=")
        if not equals or not value or name in values or name not in ("topic", "limit", "after"):
            return None
        values[name] = _value(name, value)
    try:
        asked = msgspec.convert(values, BooksQuery)
    except msgspec.ValidationError:
        return None
    return PageOf(asked.topic, asked.after, asked.limit)


def _value(name: str, text: str) -> str | int:
    if name == "topic":
        return unquote_plus(text)
    return int(text) if re.fullmatch("0|[1-9][0-9]{0,17}", text) else text
