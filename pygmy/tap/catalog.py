"""`twistd pygmy-catalog`."""

from collections.abc import Sequence

from twisted.application.service import IService

from pygmy.cluster import Role
from pygmy.tap.maker import NodePlugin, make_service
from pygmy.tap.options import ReplicaOptions


class Options(ReplicaOptions):
    """A catalog node's options."""

    role = Role.CATALOG
    optParameters: Sequence[Sequence[object]] = [
        ["books", None, None, "The stock that an empty catalog opens with (JSON or CSV)."],
    ]


def makeService(options: Options) -> IService:
    """The node that the options describe; SystemExit with one line when it cannot start."""
    return make_service(options)


plugin = NodePlugin(Options, makeService)
