"""GET /table: all that a replica holds, as JSON lines, for whoever compares replicas."""

from collections.abc import Awaitable, Callable, Sequence

import msgspec
from msgspec import Struct
from twisted.web.iweb import IRequest

from pygmy.web.openapi import Auth, Route
from pygmy.web.requests import write_bytes

MEDIA = "application/x-ndjson"


def table_route(summary: str, state: Callable[[], str], rows: Callable[[], Awaitable[Sequence[Struct]]]) -> Route:
    """The route; 204 while `state()` is INIT. `rows` come in the same order on every replica."""

    async def table(request: IRequest) -> bytes:
        if state() == "INIT":
            return write_bytes(request, 204, b"")
        body = b"".join(msgspec.json.encode(row) + b"\n" for row in await rows())
        return write_bytes(request, 200, body, media=MEDIA)

    return Route(
        method="GET",
        path="/table",
        handler=table,
        summary=summary,
        answers={200: str, 204: None},
        errors=(503,),
        auth=Auth.MEMBER,
        media=MEDIA,
    )
