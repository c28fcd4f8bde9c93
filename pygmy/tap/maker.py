"""From options to a running node: what `makeService` of every role and the .tac files share."""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

from twisted.application.service import Application, IService
from twisted.python import usage

from pygmy.clock import count_steadily, sleep_through_cancelled
from pygmy.datadir import pid_path
from pygmy.errors import Problem
from pygmy.pidfile import PidFile
from pygmy.tap.options import NodeOptions, describe, one_line
from pygmy.tap.process import NodeProcess

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
    from twisted.internet import reactor  # noqa: TID251

    count_steadily(reactor)
    sleep_through_cancelled(reactor)
    if build_node is None:
        from pygmy.node import make_node

        build_node = make_node
    try:
        pid_file = PidFile(pid_path(options.data, options.node.name))
    except OSError as error:
        raise usage.UsageError(describe(error)) from None
    try:
        node = build_node(
            role=options.role,
            cluster=options.cluster,
            node=options.node,
            data=str(options.data),
            port=options.port,
            books=options.get("books"),
            cache=not options.get("no-cache"),
            backups=options.backups,
            reactor=reactor,
        )
        return NodeProcess(node, options.node, options.data, pid_file, reactor)
    except (OSError, ValueError, Problem) as error:
        pid_file.release()
        raise usage.UsageError(describe(error)) from None


def make_service(options: NodeOptions) -> IService:
    """`build`, for twistd: what keeps the node from starting is printed in one line, exit code 1, no traceback."""
    try:
        return build(options)
    except usage.UsageError as error:
        raise SystemExit(one_line(options.role, error)) from None


def application_from_environment(plugin: NodePlugin) -> Any:
    """The `application` of a .tac file: PYGMY_CLUSTER, PYGMY_BACKUP_HOURS and so on in place of the options."""
    options = plugin.options()
    arguments = [
        f"--{name}={value}"
        for name in ("cluster", "node", "data", "port", "books", "backup-hours", "backups")
        if (value := os.environ.get(f"PYGMY_{name.upper().replace('-', '_')}")) and name in options
    ]
    try:
        options.parseOptions(arguments)
    except usage.UsageError as error:
        raise SystemExit(one_line(options.role, error)) from None
    application = Application(f"pygmy-{options.role}")
    plugin.make(options).setServiceParent(application)
    return application
