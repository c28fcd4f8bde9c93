"""The route table of a server, and the OpenAPI 3.1 document made from it and the types that validate requests."""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any

from msgspec import Struct


class Auth(StrEnum):
    """Who may use a route; enforced where the route is installed."""

    ANYONE = "anyone"
    ADMIN = "admin"
    MEMBER = "member"


class Route(Struct, frozen=True, kw_only=True):
    """One route: what Klein serves, who may use it and what OpenAPI says about it.

    `path` is an OpenAPI template (`/books/{item}`); each name in braces is passed to the handler as a `str` keyword.
    `handler(request, **path parts)` returns bytes (see `write_json`), a Deferred of them, or is `async def`.
    `body` and `query` are the msgspec types that the handler decodes with; `answers` maps a status to the type of
    its JSON body (None: no body); `errors` lists the statuses of problem+json answers.
    """

    method: str
    path: str
    handler: Callable[..., Any]
    summary: str
    answers: dict[int, Any]
    body: Any = None
    body_required: bool = True
    query: type[Struct] | None = None
    errors: tuple[int, ...] = ()
    auth: Auth = Auth.ANYONE
    idempotent_key: bool = False
    media: str = "application/json"


def document(routes: Sequence[Route], title: str) -> bytes:
    """The OpenAPI 3.1 document of these routes, as JSON."""
    raise NotImplementedError
