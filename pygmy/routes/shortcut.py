"""A cached lookup answered from the bytes of its request, before any Request object is made.

Clients repeat themselves: a plain keep-alive GET of a cached path has the same bytes each time.  What such bytes ask
for is found out once and kept in a bounded table; everything else goes the ordinary way, which gives the same answer.
"""

import re
from collections.abc import Callable
from time import time
from typing import NamedTuple
from urllib.parse import unquote_plus

import msgspec
from twisted.web.http import datetimeToString
from twisted.web.server import version

from pygmy.caching.cache import BookOf, PageOf, Stored, Thing
from pygmy.routes.reading import BooksQuery, matches
from pygmy.web.hosts import is_host
from pygmy.web.ids import numbered_id

_LONGEST = 2_048
_MOST = 1_024
_REQUEST_LINE = re.compile(rb"GET (/books(?:/[1-9][0-9]{0,17}|\?[!-~]+)?) HTTP/1\.1\Z")
_HEADER = re.compile(rb"([A-Za-z-]+): ?([ -~]*)\Z")
# Headers that change nothing about the answer. Any other, and any of these twice, is left to the ordinary way.
_HARMLESS = frozenset({b"host", b"user-agent", b"accept", b"accept-encoding", b"accept-language", b"connection"})
_UNLESS = b"if-none-match"


class Asked(NamedTuple):
    """What is asked for, and the versions of it (`If-None-Match`) that need not be sent again."""

    thing: Thing
    unless: bytes | None


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
        self._known: dict[bytes, Asked] = {}
        self._heads: dict[Thing, tuple[Stored, bytes]] = {}
        self._second = -1
        self._common = b""

    def __call__(self, data: bytes) -> bytes | None:
        """Counts a hit; a miss is left for the ordinary way to count."""
        asked = self._known.get(data)
        if asked is None:
            asked = self._learn(data)
            if asked is None:
                return None
        thing, unless = asked
        stored = self._peek(thing, self._now())
        if stored is None:
            return None
        second = int(self._wall())
        if second != self._second:
            self._strike(second)
        request_id = numbered_id()
        if unless is not None and matches(unless, stored.etag):
            etag = stored.etag.encode("ascii")
            return b"HTTP/1.1 304 Not Modified%s%s\r\nETag: %s\r\n\r\n" % (self._common, request_id, etag)
        known, head = self._heads.get(thing, (None, b""))
        if known is not stored:
            head = self._prepare(thing, stored)
        return b"HTTP/1.1 200 OK%s%s%s%s" % (self._common, request_id, head, stored.body)

    def _learn(self, data: bytes) -> Asked | None:
        asked = asked_for(data)
        if asked is not None:
            if len(self._known) >= _MOST:
                del self._known[next(iter(self._known))]
            self._known[data] = asked
        return asked

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
        """The upper part of the head, from behind the status up to the request id."""
        self._second = second
        self._common = b"\r\nServer: %s\r\nDate: %s\r\nX-Request-ID: " % (version, datetimeToString(second))


def asked_for(data: bytes) -> Asked | None:
    """What these bytes ask for, if they are one whole plain GET of a book or a list; else None."""
    if len(data) > _LONGEST or not data.startswith(b"GET /books") or not data.endswith(b"\r\n\r\n"):
        return None
    lines = data[:-4].split(b"\r\n")
    found = _REQUEST_LINE.match(lines[0])
    headers = _plain(lines[1:])
    if found is None or headers is None:
        return None
    thing = _target(found[1].decode("ascii"))
    unless = headers.get(_UNLESS) if isinstance(thing, BookOf) else None  # lists have no versions
    return None if thing is None else Asked(thing, unless)


def _plain(lines: list[bytes]) -> dict[bytes, bytes] | None:
    """The headers by their names in lower case; None where one is not plain."""
    seen: dict[bytes, bytes] = {}
    for line in lines:
        header = _HEADER.match(line)
        name = header[1].lower() if header else b""
        if header is None or name in seen or not (name in _HARMLESS or name == _UNLESS):
            return None
        if name == b"connection" and header[2].strip().lower() != b"keep-alive":
            return None
        seen[name] = header[2]
    return seen if b"host" in seen and is_host(seen[b"host"].strip()) else None


def _target(target: str) -> Thing | None:
    path, _, query = target.partition("?")
    if path != "/books":
        return BookOf(int(path.removeprefix("/books/")))
    values: dict[str, str] = {}
    for part in query.split("&") if query else ():
        name, equals, value = part.partition("=")
        if not equals or not value or name in values or name not in ("topic", "limit", "after"):
            return None
        values[name] = value
    try:
        asked = msgspec.convert({name: _value(name, value) for name, value in values.items()}, BooksQuery)
    except (UnicodeDecodeError, msgspec.ValidationError):
        return None
    return PageOf(asked.topic, asked.after, asked.limit)


def _value(name: str, text: str) -> str | int:
    if name == "topic":
        return unquote_plus(text, errors="strict")
    return int(text) if re.fullmatch("0|[1-9][0-9]{0,17}", text) else text
