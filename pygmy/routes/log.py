"""GET /log: the committed batches of a replica's log as they are stored, as JSON lines, for whoever audits it."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from twisted.web.iweb import IRequest

from pygmy.messages.operations import LARGEST_ID
from pygmy.messages.replication import Batch
from pygmy.routes.table import MEDIA
from pygmy.web.contract import PageSize
from pygmy.web.openapi import Auth, Route
from pygmy.web.queries import query
from pygmy.web.requests import write_bytes

_encode = msgspec.json.Encoder().encode


class LogQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """GET /log."""

    after: Annotated[int, Meta(ge=0, lt=LARGEST_ID)] = 0  # the seq behind it is looked for
    limit: PageSize = 100


def log_route(batches: Callable[[int, int], Awaitable[Sequence[Batch]]]) -> Route:
    """The route. `batches(after, limit)` are those with seq > after, by seq: there are no more if there are none."""

    async def log(request: IRequest) -> bytes:
        asked = query(request, LogQuery)
        lines = [_encode(batch) + b"\n" for batch in await batches(asked.after, asked.limit)]
        return write_bytes(request, 200, b"".join(lines), media=MEDIA)

    return Route(
        method="GET",
        path="/log",
        handler=log,
        summary="Committed batches of the log by seq, as JSON lines",
        answers={200: str},
        query=LogQuery,
        errors=(400, 503),
        auth=Auth.ADMIN,
        media=MEDIA,
    )
