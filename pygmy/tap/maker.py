"""From options to a running node: what `makeService` of every role and the .tac files share."""

from collections.abc import Callable
from typing import Any, NamedTuple

from twisted.application.service import Application, IService
from twisted.python import usage

from pygmy.claim import claim
from pygmy.cluster import Role
from pygmy.datadir import pid_path
from pygmy.errors import Problem
from pygmy.logs import Logger
from pygmy.reactors import prepare
from pygmy.schedule import Schedule
from pygmy.settings import Values
from pygmy.tap.logging import plan_of
from pygmy.tap.options import NodeOptions, describe, one_line
from pygmy.tap.process import NodeProcess
from pygmy.tls.absence import leave_out

log = Logger()
BuildNode = Callable[..., IService]


class NodePlugin(NamedTuple):
    """What a ServiceMaker's module has to offer, for the .tac files."""

    options: type[NodeOptions]
    make: Callable[[Any], IService]


def build(options: NodeOptions, build_node: BuildNode | None = None) -> IService:
    """The service of one node, holding its pid file's lock.

    Raises UsageError in one line when it cannot start: files that cannot be read, a second process on its directory.
    `build_node` is for tests.
    """
    try:
        pid_file, alone_since = claim(pid_path(options.data, options.node.name))
    except OSError as error:
        raise usage.UsageError(describe(error)) from None
    # No other process is this node any more. A replica waits until nothing that an earlier one has said still holds,
    # and loading the rest of the program, the reactor to begin with, takes a part of that time.
    if options.tls is None:
        leave_out((options.port, *(options.settings["listen"] if options.role is Role.FRONTEND else ())))
    from twisted.internet import reactor  # noqa: TID251

    prepare(reactor)
    _tell(options.settings)
    if build_node is None:
        from pygmy.node import make_node

        build_node = make_node
    try:
        node = build_node(
            role=options.role,
            cluster=options.cluster,
            node=options.node,
            data=str(options.data),
            port=options.port,
            tls=options.tls,
            insecure=options.settings["insecure-network"],
            alone_since=alone_since,
            **special(options),
            reactor=reactor,
        )
        return NodeProcess(node, options.node.name, pid_file, plan_of(options), reactor)
    except (OSError, ValueError, Problem) as error:
        pid_file.release()
        raise usage.UsageError(describe(error)) from None


def _tell(settings: Values) -> None:
    """Log where this node's settings are, and what is odd about them."""
    if settings.file is not None:
        log.info("settings are in {file}", file=str(settings.file))
    for warning in settings.warnings:
        log.warn("{warning}", warning=warning)


def special(options: NodeOptions) -> dict[str, Any]:
    """What of the settings only nodes of this role have, as `make_node` wants it."""
    settings = options.settings
    match options.role:
        case Role.FRONTEND:
            return {"cache": settings["cache"], "listen": settings["listen"]}
        case Role.CATALOG:
            return {"books": settings["books"], "backups": schedule(settings)}
        case Role.ORDER:
            return {"backups": schedule(settings)}


def schedule(settings: Values) -> Schedule:
    """How often a replica backs itself up, and how many backups it keeps."""
    return Schedule(settings["backup-hours"], settings["backups"])


def make_service(options: NodeOptions) -> IService:
    """`build`, for twistd: what keeps the node from starting is printed in one line, exit code 1, no traceback."""
    try:
        return build(options)
    except usage.UsageError as error:
        raise SystemExit(one_line(options.role, error)) from None


def application_from_environment(plugin: NodePlugin) -> Any:
    """The `application` of a .tac file: no options, but variables, PYGMY_CLUSTER and so on, and pygmy.toml."""
    options = plugin.options()
    try:
        options.parseOptions([])
    except usage.UsageError as error:
        raise SystemExit(one_line(options.role, error)) from None
    application = Application(f"pygmy-{options.role}")
    plugin.make(options).setServiceParent(application)
    return application
