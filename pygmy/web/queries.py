"""Query parameters, read strictly: what a server does not know, it does not pass over."""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any, TypeVar, cast, get_args
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import Struct
from twisted.web.iweb import IRequest

from pygmy.errors import bad_request
from pygmy.web.explained import explained, shortened

T = TypeVar("T")
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18})\Z", re.ASCII)


class Nothing(Struct, frozen=True, forbid_unknown_fields=True):
    """The query of a route that takes none."""


def query(request: IRequest, type: type[T]) -> T:
    """The query parameters as a Struct of str, int or optional fields. Unknown, repeated or bad ones: 400."""
    known = _fields(cast(Any, type))
    values: dict[str, str | int] = {}
    for name, text in _pairs(request.uri.partition(b"?")[2]):
        if name not in known:
            expected = ", ".join(known) or "none"
            raise bad_request(f"Unknown query parameter `{shortened(name)}` (expected: {expected}).")
        if name in values:
            raise bad_request(f"Query parameter `{name}`: expected once, got it several times.")
        if text is None:
            raise bad_request(f"Query parameter `{name}`: expected a value, as in `{name}=...`.")
        values[name] = _integer(name, text) if known[name] else text
    try:
        return msgspec.convert(values, type)
    except msgspec.ValidationError as error:
        raise bad_request(f"{explained(error, type)} in the query.") from None


def _pairs(raw: bytes) -> Iterator[tuple[str, str | None]]:
    """Names and values of a form-encoded query (None: not even a `=`).

    twisted.web's own reading, `request.args`, drops what has no `=`, and takes `;` for another `&`.
    """
    for part in raw.split(b"&"):
        name, equals, value = part.partition(b"=")
        if part:
            yield _text(name), _text(value) if equals else None


def _text(raw: bytes) -> str:
    try:
        return unquote_to_bytes(raw.replace(b"+", b" ")).decode("utf-8")
    except UnicodeDecodeError:
        raise bad_request("Expected query parameters in UTF-8.") from None


def _integer(name: str, text: str) -> int:
    """(msgspec's lax mode would take "1e2" for one, so it is not used.)"""
    if not _INTEGER.match(text):
        raise bad_request(f"Query parameter `{name}`: expected an integer in at most 19 plain digits.")
    return int(text)


@cache
def _fields(type: type[Any]) -> dict[str, bool]:
    """The fields by name, and whether each is an integer."""
    return {field.encode_name: _is_integer(field.type) for field in msgspec.structs.fields(type)}


def _is_integer(hint: Any) -> bool:
    return hint is int or any(_is_integer(part) for part in get_args(hint))
