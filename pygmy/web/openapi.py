"""A server's route table, and the OpenAPI 3.1 document made from it and the types that validate."""

import re
from collections.abc import Callable, Sequence
from enum import StrEnum
from http import HTTPStatus
from types import UnionType
from typing import Any, get_args

import msgspec
from msgspec import Struct

import pygmy
from pygmy.messages.operations import LARGEST_ID
from pygmy.web.numbers import schema_of
from pygmy.web.problems import PROBLEM_MEDIA, ProblemBody
from pygmy.web.requests import KEY_PATTERN

_REF = "#/components/schemas/{name}"
_PART = re.compile(r"{(\w+)}")
_ID = {"type": "integer", "minimum": 1, "maximum": LARGEST_ID}


class Auth(StrEnum):
    """Who may use a route; enforced where the route is installed."""

    ANYONE = "anyone"
    ADMIN = "admin"
    MEMBER = "member"


class Route(Struct, frozen=True, kw_only=True):
    """One route: what Klein serves, who may use it and what OpenAPI says about it.

    `path` is an OpenAPI template (`/books/{item}`); what is in braces goes to the handler as a `str` keyword.
    `handler(request, **path parts)` returns bytes (see `write_json`), a Deferred of them, or is `async def`.
    `body` and `query` are the msgspec types that the handler decodes with; `answers` maps a status to the
    type of its JSON body (None: no body); `errors` lists the statuses of problem+json answers. A query or a body that
    it does not take is a 400, but for a `lenient` one, which passes over both: monitors ask so. What a `lasting`
    handler began goes on by itself when the Deferred that it returned is cancelled, as its client has left.
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
    lenient: bool = False
    lasting: bool = False


def document(routes: Sequence[Route], title: str) -> bytes:
    """The OpenAPI 3.1 document of these routes, as JSON."""
    schemas, components = _schemas(routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {"title": title, "version": pygmy.__version__},
            "paths": paths,
            "components": {
                "schemas": components,
                "securitySchemes": {
                    Auth.ADMIN: {"type": "http", "scheme": "bearer", "description": "The admin token"},
                    Auth.MEMBER: {"type": "http", "scheme": "bearer", "description": "The cluster secret"},
                },
            },
        }
    )


Schemas = dict[Any, dict[str, Any]]


def _schemas(routes: Sequence[Route]) -> tuple[Schemas, dict[str, Any]]:
    """The schema of each type that the routes name, and what those refer to."""
    named: list[Any] = [ProblemBody]
    for route in routes:
        named += [one for one in (route.body, *route.answers.values()) if one is not None]
    types = list(dict.fromkeys(part for one in named for part in _alternatives(one)))
    found, components = msgspec.json.schema_components(types, schema_hook=schema_of, ref_template=_REF)
    schemas = dict(zip(types, found, strict=True))
    for one in named:
        if one not in schemas:
            schemas[one] = {"anyOf": [schemas[part] for part in _alternatives(one)]}
    return schemas, components


def _alternatives(type: Any) -> tuple[Any, ...]:
    """A | B as (A, B): msgspec has no schema for a union of Structs that no tag tells apart."""
    return get_args(type) if isinstance(type, UnionType) else (type,)


def _operation(route: Route, schemas: Schemas) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": _PART.sub(r"by_\1", f"{route.method.lower()}{route.path}").replace("/", "_").replace(".", "_"),
        "parameters": _parameters(route),
        "responses": _responses(route, schemas),
    }
    if route.body is not None:
        content = {"application/json": {"schema": schemas[route.body]}}
        operation["requestBody"] = {"content": content, "required": route.body_required}
    if route.auth is not Auth.ANYONE:
        operation["security"] = [{scheme: []} for scheme in dict.fromkeys((route.auth, Auth.MEMBER))]
    return operation


def _parameters(route: Route) -> list[dict[str, Any]]:
    """Path parts (every one is an id), query parameters and the two headers."""
    parts = [{"name": name, "in": "path", "required": True, "schema": _ID} for name in _PART.findall(route.path)]
    headers = [_header("X-Request-ID", {})]  # any is taken: one that cannot stand in a log line is replaced
    if route.idempotent_key:
        headers.append(_header("Idempotency-Key", {"pattern": f"^({KEY_PATTERN})$"}))
    return [*parts, *_query_parameters(route.query), *headers]


def _header(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "header", "schema": {"type": "string", **schema}}


def _query_parameters(type: type[Struct] | None) -> list[dict[str, Any]]:
    if type is None:
        return []
    schema = msgspec.json.schema(type)["$defs"][type.__name__]
    required = schema.get("required", ())
    return [
        {"name": name, "in": "query", "required": name in required, "schema": one}
        for name, one in schema["properties"].items()
    ]


_GUARDED = {Auth.ANYONE: (), Auth.ADMIN: (401, 403), Auth.MEMBER: (401, 403)}


def _responses(route: Route, schemas: Schemas) -> dict[str, Any]:
    responses = {
        str(status): _response(status, route.media, schemas[type] if type is not None else None)
        for status, type in route.answers.items()
    }
    for status in (*route.errors, *_GUARDED[route.auth], *_of_reading(route), 500):
        responses.setdefault(str(status), _response(status, PROBLEM_MEDIA, schemas[ProblemBody]))
    return dict(sorted(responses.items()))


def _of_reading(route: Route) -> tuple[int, ...]:
    """What a request may get before its route has done anything."""
    return (*(() if route.lenient else (400,)), *(() if route.body is None else (413, 415)))


def _response(status: int, media: str, schema: dict[str, Any] | None) -> dict[str, Any]:
    described: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    return described if schema is None else {**described, "content": {media: {"schema": schema}}}
