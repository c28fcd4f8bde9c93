"""Reading requests strictly and writing answers: ids, keys, JSON bodies, query parameters."""

import re
from collections.abc import Mapping
from functools import cache
from http import HTTPStatus
from typing import Any, TypeVar, cast, get_args

import msgspec
from twisted.web.iweb import IRequest

from pygmy.errors import Problem, bad_request
from pygmy.web.ids import uuid7
from pygmy.web.numbers import exact, from_number

T = TypeVar("T")
BODY_LIMIT = 64 * 1024
REQUIRED: Any = object()

_SANE_ID = re.compile(rb"[\x21-\x7e]{1,128}\Z")
# Quoted, or bare; in words that Python and JSON Schema share.
KEY_PATTERN = r'"([\x21\x23-\x7e]{1,255})"|([\x21\x23-\x7e][\x21-\x7e]{0,254})'
_KEY = re.compile(KEY_PATTERN.encode("ascii"))
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})\Z", re.ASCII)
_POSITIVE = re.compile(r"[1-9][0-9]*\Z", re.ASCII)
_JSON_MEDIA = re.compile(rb"application/(?:[a-z0-9.!#$&^_-]+\+)?json\s*(?:;|\Z)", re.IGNORECASE)
_PATTERN = re.compile(r"matching regex '.*'")
_ENCODER = msgspec.json.Encoder()


def request_id(request: IRequest) -> str:
    """X-Request-ID as the client sent it if sane (1..128 visible ASCII characters), else one made here.

    The same one for the life of the request; it is set on the answer at the first call.
    """
    set_already = request.responseHeaders.getRawHeaders(b"X-Request-ID")
    if set_already:
        return str(set_already[0], "ascii")
    chosen = sane_request_id(request.getHeader(b"X-Request-ID"))
    request.setHeader(b"X-Request-ID", chosen.encode("ascii"))
    return chosen


def sane_request_id(sent: bytes | None) -> str:
    """What a client sent as X-Request-ID, if it can stand in a log line; else a new id."""
    if sent is not None and _SANE_ID.match(sent):
        return sent.decode("ascii")
    return uuid7()


def idempotency_key(request: IRequest) -> str | None:
    """The Idempotency-Key without its quotes (1..255 visible ASCII characters); None without one."""
    sent = request.requestHeaders.getRawHeaders(b"Idempotency-Key")
    if not sent:
        return None
    found = _KEY.fullmatch(sent[0]) if len(sent) == 1 else None
    if found is None:
        raise bad_request("Idempotency-Key: expected one of 1 to 255 visible ASCII characters, quoted or bare.")
    return cast(bytes, found[1] or found[2]).decode("ascii")


def read_json(request: IRequest, type: type[T], *, default: T = REQUIRED, limit: int = BODY_LIMIT) -> T:
    """The body as a `type`; without a body `default`, or 400 if there is none.

    415 if it is not declared to be JSON, 413 over `limit` bytes, 400 saying what was expected and where.
    """
    body = request.content.read(limit + 1)
    if not body:
        if default is REQUIRED:
            raise bad_request("Expected a JSON body.")
        return default
    if not _JSON_MEDIA.match(request.getHeader(b"Content-Type") or b""):
        raise Problem(415, "Not JSON", "Expected a body with Content-Type: application/json.")
    if len(body) > limit:
        raise too_large(limit)
    return _decoded(body, type)


def _decoded(body: bytes, type: type[T]) -> T:
    try:
        return cast(T, _decoder(cast(Any, type)).decode(body))
    except msgspec.ValidationError as error:
        raise bad_request(f"{_explained(error)} in the body.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        what = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise bad_request(f"The body is not JSON in UTF-8: {what}.") from None


@cache
def _decoder(type: type[Any]) -> "msgspec.json.Decoder[Any]":
    return msgspec.json.Decoder(type, dec_hook=from_number, float_hook=exact)


def _explained(error: Exception) -> str:
    """msgspec's "Expected `int` - at `$.x`" with its path, and the one pattern that bodies have, in words."""
    said = _PATTERN.sub("without control characters", str(error))
    return said.replace(" - at `$.", " at `").replace(" - at `$[", " at `[").replace(" - at `$`", "")


def too_large(limit: int) -> Problem:
    """413: the body has more than `limit` bytes."""
    return Problem(413, "Body too large", f"Expected a body of at most {limit} bytes.", limit=limit)


def query(request: IRequest, type: type[T]) -> T:
    """The query parameters as a Struct of str, int or optional fields. Unknown, repeated or bad ones: 400."""
    integers = _integers(cast(Any, type))
    values: dict[str, str | int] = {}
    for raw_name, sent in request.args.items():
        name, text = _text(raw_name), _text(sent[-1])
        if len(sent) > 1:
            raise bad_request(f"Query parameter `{name}`: expected once, got {len(sent)} times.")
        values[name] = int(text) if name in integers and _INTEGER.match(text) else text
    try:
        return msgspec.convert(values, type)
    except msgspec.ValidationError as error:
        known = ", ".join(field.encode_name for field in msgspec.structs.fields(cast(Any, type)))
        raise bad_request(f"{_explained(error)} in the query (parameters: {known or 'none'}).") from None


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise bad_request("Expected query parameters in UTF-8.") from None


@cache
def _integers(type: type[Any]) -> frozenset[str]:
    """Fields that are integers. (msgspec's lax mode would take "1e2" for one, so it is not used.)"""
    return frozenset(field.encode_name for field in msgspec.structs.fields(type) if _is_integer(field.type))


def _is_integer(hint: Any) -> bool:
    return hint is int or any(_is_integer(part) for part in get_args(hint))


def positive(text: str, what: str) -> int:
    """A positive integer from a path (`what` names it, e.g. "book id"), else 400; 404 beyond all that are given."""
    if not _POSITIVE.match(text):
        raise bad_request(f"Expected a positive integer as {what}.")
    if not _INTEGER.match(text):
        raise Problem(404, "Not found", f"No {what} is that high.")
    return int(text)


def write_json(request: IRequest, status: int, body: object, headers: Mapping[str, str] | None = None) -> bytes:
    """Set status, headers, Content-Type and Content-Length; the bytes for the handler to return."""
    return write_bytes(request, status, _ENCODER.encode(body), headers)


def write_bytes(
    request: IRequest,
    status: int,
    body: bytes,
    headers: Mapping[str, str] | None = None,
    media: str = "application/json",
) -> bytes:
    """As `write_json`, of bytes that are encoded already (b"" and 204 or 304: no body)."""
    request.setResponseCode(status, HTTPStatus(status).phrase.encode("ascii"))  # twisted.web does not know them all
    for name, value in (headers or {}).items():
        request.setHeader(name.encode("ascii"), value.encode("utf-8"))
    if status not in (204, 304):
        request.setHeader(b"Content-Type", media.encode("ascii"))
        request.setHeader(b"Content-Length", b"%d" % len(body))
    return body
