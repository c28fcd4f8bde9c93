"""GET and POST /view: for the operator of a tier whose last source is gone."""

from collections.abc import Callable

from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.web.iweb import IRequest

from pygmy.web.openapi import Auth, Route
from pygmy.web.requests import read_json, write_json


class ViewBody(Struct, frozen=True):
    """The tier's view as this node read it last, and where this node's own log ends.

    `sources` have all that was acknowledged. `newest` is when the last operation of the log was decided (ms UTC, 0:
    there is none). `objection` says why the tier cannot be forced to go on from this node ("": it can be).
    """

    node: str
    state: str
    epoch: int
    gen: int
    members: tuple[str, ...]
    sources: tuple[str, ...]
    head: tuple[int, int]
    newest: int
    objection: str


class ForceBody(Struct, frozen=True, forbid_unknown_fields=True):
    """The view that is to be replaced, as GET /view showed it."""

    epoch: int
    gen: int


class ForcedBody(Struct, frozen=True):
    """The tier goes on from this node, in this epoch."""

    node: str
    epoch: int


def forcing_routes(
    view: Callable[[], ViewBody], force: Callable[[tuple[int, int]], "Deferred[int]"]
) -> tuple[Route, ...]:
    """The two routes."""

    def show(request: IRequest) -> bytes:
        return write_json(request, 200, view(), {"Cache-Control": "no-store"})

    async def forced(request: IRequest) -> bytes:
        body = read_json(request, ForceBody)
        epoch = await force((body.epoch, body.gen))
        return write_json(request, 200, ForcedBody(view().node, epoch))

    return (
        Route(
            method="GET",
            path="/view",
            handler=show,
            summary="The tier's view as this node read it last",
            answers={200: ViewBody},
            auth=Auth.ADMIN,
        ),
        Route(
            method="POST",
            path="/view",
            handler=forced,
            summary="Have the tier go on from this node, whose last source is gone",
            answers={200: ForcedBody},
            body=ForceBody,
            errors=(400, 409, 503),
            auth=Auth.ADMIN,
        ),
    )
