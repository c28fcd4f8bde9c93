"""`python -m tests.chaos.broken_node BUG ...`: twistd with one rule of the product left out.

It shows that the harness can fail.  The bugs are patches, in force in that process only; the product has no switches.
"""

import contextlib
import sys
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater

from pygmy.caching.cache import NEVER, Leases
from pygmy.cli import twistd
from pygmy.database.groups import GroupCommit
from pygmy.database.store import Store
from pygmy.replication.writes import Writes
from tests.simulation.hooks import around

BEHIND = 0.3  # seconds


def leases_ignored() -> list[Any]:
    """A front end serves what it holds, whether or not its lease has run out and its session has been left behind."""

    def until(original: Any, self: Leases, replica: str, session: Any) -> float:
        return float("inf") if replica in self._leases else NEVER

    return [around(Leases, "until", until)]


def ack_before_commit() -> list[Any]:
    """A commit is told of at once, and made a little later."""

    def commit(original: Any, self: Store, *args: Any) -> Deferred[None]:
        original(self, *args)
        return succeed(None)

    async def run_next(original: Any, self: GroupCommit) -> None:
        from twisted.internet import reactor  # noqa: TID251

        clock: Any = reactor
        if any(job.writes for job in self._waiting):  # mere searches are not kept waiting: many writes are to be lost
            await deferLater(clock, BEHIND)
        await original(self)

    return [around(Store, "commit", commit), around(GroupCommit, "_run_next", run_next)]


def no_dedup() -> list[Any]:
    """A retry is executed again. (The disk notices, and the node ends.)"""
    return [
        around(Writes, "_found", lambda original, self, waiting, fresh: None),
        around(Writes, "_answer_chosen", lambda original, self, waiting: False),
    ]


BUGS = {bug.__name__: bug for bug in (leases_ignored, ack_before_commit, no_dedup)}


def main() -> None:
    """Plant the bug that the first argument names, then be twistd."""
    bug = BUGS[sys.argv.pop(1)]
    with contextlib.ExitStack() as stack:
        for patch in bug():
            stack.enter_context(patch)
        twistd.main()


if __name__ == "__main__":
    main()
