"""Reading requests strictly and writing answers: ids, keys, JSON bodies."""

import json
import re
from collections.abc import Mapping
from functools import cache
from http import HTTPStatus
from typing import Any, TypeVar, cast

import msgspec
from twisted.web.iweb import IRequest

from pygmy.errors import Problem, bad_request
from pygmy.messages.operations import LARGEST_ID
from pygmy.web.explained import explained, shortened
from pygmy.web.ids import numbered_id
from pygmy.web.numbers import exact, from_number

T = TypeVar("T")
BODY_LIMIT = 64 * 1024
REQUIRED: Any = object()

_SANE_ID = re.compile(rb"[\x21-\x7e]{1,128}\Z")
# Quoted, or bare; in words that Python and JSON Schema share.
KEY_PATTERN = r'"([\x21\x23-\x7e]{1,255})"|([\x21\x23-\x7e][\x21-\x7e]{0,254})'
_KEY = re.compile(KEY_PATTERN.encode("ascii"))
_POSITIVE = re.compile(r"[1-9][0-9]{0,18}\Z", re.ASCII)
_JSON_MEDIA = re.compile(rb'application/json(?:[ \t]*;(?:[ \t]*charset=(?:utf-8|"utf-8"))?)*[ \t]*\Z', re.IGNORECASE)
_MARK = b"\xef\xbb\xbf"
# What a client asks for that wants to change only what it has seen (RFC 9110, 13.1). No version is looked at before a
# write: to go on would lose the protection silently.
CONDITIONS = frozenset({b"if-match", b"if-none-match", b"if-unmodified-since"})
_PHRASES = {
    status.value: status.phrase.encode("ascii") for status in HTTPStatus
}  # twisted.web does not know them all
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
    return numbered_id().decode("ascii")


def idempotency_key(request: IRequest) -> str | None:
    """The Idempotency-Key without its quotes (1..255 visible ASCII characters); None without one."""
    sent = request.requestHeaders.getRawHeaders(b"Idempotency-Key")
    if not sent:
        return None
    if len(sent) > 1:
        raise bad_request(f"Idempotency-Key: expected once, got it {len(sent)} times.")
    found = _KEY.fullmatch(sent[0])
    if found is None:
        raise bad_request("Idempotency-Key: expected 1 to 255 visible ASCII characters, quoted or bare.")
    return cast(bytes, found[1] or found[2]).decode("ascii")


def read_json(request: IRequest, type: type[T], *, default: T = REQUIRED, limit: int = BODY_LIMIT) -> T:
    """The body as a `type`; without a body `default`, or 400 if there is none.

    415 if it is not declared to be JSON in UTF-8, 413 over `limit` bytes, 400 saying what was expected and where.
    """
    body = request.content.read(limit + 1)
    if not body:
        if default is REQUIRED:
            raise bad_request("Expected a JSON body.")
        return default
    declared = request.requestHeaders.getRawHeaders(b"Content-Type", [])
    if len(declared) != 1 or not _JSON_MEDIA.match(declared[0]):
        raise Problem(415, "Not JSON", "Expected one Content-Type: application/json, with charset=utf-8 or none.")
    if len(body) > limit:
        raise too_large(limit)
    return _decoded(body, type)


def _decoded(body: bytes, type: type[T]) -> T:
    try:
        value = cast(T, _decoder(cast(Any, type)).decode(body))
    except msgspec.ValidationError as error:
        raise bad_request(f"{explained(error, type)} in the body.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_request(_no_json(body, error)) from None
    if body.count(b":") > 1:  # else there is nothing that could be there twice
        json.loads(body, object_pairs_hook=_once, parse_int=str, parse_float=str)
    return value


def _no_json(body: bytes, error: Exception) -> str:
    if not body.strip():
        return "Expected a JSON body."
    if body.startswith(_MARK):
        return "The body is not JSON in UTF-8: it begins with a byte order mark."
    what = {UnicodeDecodeError: "a text is not UTF-8", RecursionError: "nested too deep"}.get(type(error), str(error))
    return f"The body is not JSON in UTF-8: {what}."


def _once(pairs: list[tuple[str, Any]]) -> None:
    """400 where a field is there twice. (msgspec takes the last one, others the first: RFC 8259, 4.)"""
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise bad_request(f"Field `{shortened(name)}`: expected once, got it several times in the body.")
        seen.add(name)


@cache
def _decoder(type: type[Any]) -> "msgspec.json.Decoder[Any]":
    return msgspec.json.Decoder(type, dec_hook=from_number, float_hook=exact)


def too_large(limit: int) -> Problem:
    """413: the body has more than `limit` bytes."""
    return Problem(413, "Body too large", f"Expected a body of at most {limit} bytes.", limit=limit)


def refuse_body(request: IRequest) -> None:
    """400 if there is one. What a body of a GET or DELETE should mean is defined nowhere (RFC 9110, 9.3)."""
    if request.content.read(1):
        raise bad_request(f"Expected no body with {request.method.decode('ascii', 'replace')} here.")


def refuse_conditions(request: IRequest) -> None:
    """400 for a write that is to be done under a condition: see `CONDITIONS`."""
    for name, _ in request.requestHeaders.getAllRawHeaders():
        if name.lower() in CONDITIONS:
            raise bad_request(
                f"{name.decode('ascii')} is not supported: a write is done at any version. Send it without."
            )


def positive(text: str, what: str) -> int:
    """A positive integer from a path (`what` names it, e.g. "book id"), else 400."""
    if not _POSITIVE.match(text) or (number := int(text)) > LARGEST_ID:
        raise bad_request(f"Expected an integer of 1..{LARGEST_ID} in plain digits as {what}.")
    return number


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
    request.setResponseCode(status, _PHRASES[status])
    for name, value in (headers or {}).items():
        request.setHeader(name.encode("ascii"), value.encode("utf-8"))
    if status not in (204, 304):
        request.setHeader(b"Content-Type", media.encode("ascii"))
        request.setHeader(b"Content-Length", b"%d" % len(body))
    return body
