"""POST /backup: a replica backs itself up now."""

from collections.abc import Callable

from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.web.iweb import IRequest

from pygmy.web.openapi import Auth, Route
from pygmy.web.requests import write_json


class BackupBody(Struct, frozen=True):
    """A backup that was made: the file on its node's machine, the seq of its last batch, and the seconds it took."""

    node: str
    file: str
    bytes: int
    head: int
    seconds: float


def backup_route(back_up: Callable[[], "Deferred[BackupBody]"]) -> Route:
    """The route. A backup under way when a second one is asked for is the answer to both."""

    async def make(request: IRequest) -> bytes:
        return write_json(request, 201, await back_up())

    return Route(
        method="POST",
        path="/backup",
        handler=make,
        summary="Make a backup of this replica now",
        answers={201: BackupBody},
        errors=(503,),
        auth=Auth.ADMIN,
    )
