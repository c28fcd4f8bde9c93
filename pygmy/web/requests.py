"""Reading requests strictly and writing answers: ids, keys, JSON bodies, query parameters."""

from collections.abc import Mapping
from typing import Any, TypeVar

from twisted.web.iweb import IRequest

T = TypeVar("T")
BODY_LIMIT = 64 * 1024
REQUIRED: Any = object()


def request_id(request: IRequest) -> str:
    """X-Request-ID as the client sent it if sane (1..128 visible ASCII characters), else one made here.

    The same one for the life of the request; it is set on the answer at the first call.
    """
    raise NotImplementedError


def idempotency_key(request: IRequest) -> str | None:
    """The Idempotency-Key without its quotes (1..255 visible ASCII characters); None without one; else 400."""
    raise NotImplementedError


def read_json(request: IRequest, type: type[T], *, default: T = REQUIRED, limit: int = BODY_LIMIT) -> T:
    """The body as a `type`. 415 if it is not declared JSON (or not declared), 413 over `limit` bytes, 400 saying
    what was expected and where. Without a body: `default`, or 400 if there is none."""
    raise NotImplementedError


def query(request: IRequest, type: type[T]) -> T:
    """The query parameters as a Struct of str, int, bool or optional fields. Unknown, repeated or bad ones: 400."""
    raise NotImplementedError


def positive(text: str, what: str) -> int:
    """A positive integer from a path (`what` names it, e.g. "book id"), else 400."""
    raise NotImplementedError


def write_json(
    request: IRequest, status: int, body: object, headers: Mapping[str, str] | None = None
) -> bytes:
    """Set status, headers, Content-Type and Content-Length; the bytes for the handler to return."""
    raise NotImplementedError


def write_bytes(
    request: IRequest,
    status: int,
    body: bytes,
    headers: Mapping[str, str] | None = None,
    media: str = "application/json",
) -> bytes:
    """As `write_json`, of bytes that are encoded already (b"" and 204 or 304: no body)."""
    raise NotImplementedError
