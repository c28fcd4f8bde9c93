"""What a node is as a process of its own: its log file, its pid file, and the order in which it starts and stops."""

import gc
import os
import stat
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, TextIO, cast

from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.logger import ILogObserver, globalLogPublisher
from twisted.python.components import Componentized

from pygmy.errors import Problem
from pygmy.logs import file_observer, stream_observer
from pygmy.pidfile import PidFile
from pygmy.tap.logging import LogPlan, on_hangup
from pygmy.tap.options import describe

# Most of what a request makes goes with the request. Python looks for cycles after each 700 objects that stay, and
# among all that there are after each 70,000, which took a tenth of a node's time.
COLLECTED = (20_000, 20, 50)


class CannotStart(Exception):
    """A node cannot start, for a reason that one sentence tells; twistd shows it without a traceback."""


class NodeProcess(MultiService):
    """One node with its log and pid file.

    Given an application as parent, it becomes its log observer: twistd then writes no ./twistd.log, whether it was
    started by name or by a .tac file, as a daemon or not. What is not sent to /dev/null also gets the log on stdout;
    told to log there alone, it does. SIGHUP has it open its file again.
    """

    def __init__(self, service: IService, name: str, pid_file: PidFile, plan: LogPlan, reactor: Any) -> None:
        super().__init__()
        self.node = service
        self._pid_file = pid_file
        self._stdout = sys.stdout
        self._plan = plan
        self._log = file_observer(str(plan.path), reactor, plan.form, plan.rotation)
        self._reactor = reactor
        self._name = name

    def setServiceParent(self, parent: Any) -> None:
        """Join the application and take over its log."""
        if isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._log)
        super().setServiceParent(parent)

    def privilegedStartService(self) -> None:
        """Record the process (by now it is a daemon, if it is to be one) and open its ports."""
        self._pid_file.write()
        self._start_log()
        self._or_one_line(super().privilegedStartService)
        self._or_one_line(self.node.privilegedStartService)

    def _start_log(self) -> None:
        """By now it is known whether stdout leads anywhere: a daemon's does not."""
        if not _is_null(self._stdout):
            if self._plan.to_stdout:
                self._log.divert(self._stdout.fileno())
            else:
                observer = stream_observer(self._stdout, self._plan.form)
                globalLogPublisher.addObserver(cast(ILogObserver, observer))
        self._log.startService()
        on_hangup(self._reactor, self._log.reopen)

    def startService(self) -> None:
        """Start the node."""
        self._or_one_line(super().startService)
        self._or_one_line(self.node.startService)
        if not gc.isenabled():  # as `pygmy.cli.twistd` wants it
            gc.freeze()  # what is loaded stays
            gc.set_threshold(*COLLECTED)
            gc.enable()

    def stopService(self) -> "Deferred[None]":
        """Stop the node, then close its log, then give up the pid file: whoever waits for that finds all closed."""
        stopped = maybeDeferred(self.node.stopService)
        stopped.addBoth(self._node_stopped)
        return stopped

    def _node_stopped(self, result: object) -> object:
        self.running = False
        closed = maybeDeferred(self._log.stopService)
        closed.addBoth(lambda _: self._pid_file.release())
        closed.addCallback(lambda _: result)
        return closed

    def _or_one_line(self, start: Callable[[], object]) -> None:
        """Turn the reasons that a person can do something about into CannotStart."""
        try:
            start()
        except (CannotListenError, Problem, OSError, ValueError) as error:
            self._pid_file.release()
            sys.excepthook = _without_traceback
            raise CannotStart(f"{self._name} cannot start: {describe(error)}") from None


def _without_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """An excepthook that shows CannotStart as what it is: a sentence to a person."""
    if isinstance(error, CannotStart):
        print(error, file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


def _is_null(stream: TextIO | None) -> bool:
    """True if what is written there is lost, as in a daemon."""
    try:
        status = os.fstat(stream.fileno()) if stream is not None else None
    except (OSError, ValueError):
        return False
    return status is None or (stat.S_ISCHR(status.st_mode) and status.st_rdev == os.stat(os.devnull).st_rdev)
