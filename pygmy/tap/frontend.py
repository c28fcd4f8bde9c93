"""`twistd pygmy-frontend`."""

from collections.abc import Sequence

from twisted.application.service import IService

from pygmy.cluster import Role
from pygmy.tap.maker import NodePlugin, make_service
from pygmy.tap.options import NodeOptions


class Options(NodeOptions):
    """A front end's options."""

    role = Role.FRONTEND
    optFlags: Sequence[Sequence[object]] = [
        ["no-cache", None, "Open without caches: every lookup goes to a catalog."],
    ]


def makeService(options: Options) -> IService:
    """The node that the options describe; SystemExit with one line when it cannot start."""
    return make_service(options)


plugin = NodePlugin(Options, makeService)
