"""The process whose disk is watched: it runs a workload, once or in a child of its own for each way to be killed.

    python -m tests.support.disk_child WORKLOAD SEED COUNT BUG DIRECTORY
    python -m tests.support.disk_child WORKLOAD SEED COUNT BUG          and on stdin lines of: DIRECTORY CALL MOMENT

The second one answers each line, when that child has ended, with its exit code (as `Popen.returncode`).
"""

import ctypes
import os
import sqlite3
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from pygmy.database import file, groups, pool
from pygmy.database.groups import Job
from tests.support.disk_notes import Notes, Workload
from tests.support.disk_workloads import WORKLOADS

# Small enough that a short workload meets checkpoints and a log that starts anew, and is cut.
SETTINGS = {"wal_autocheckpoint": "25", "journal_size_limit": "65536"}


def set_up(**settings: str) -> None:
    """The product's settings, but for these."""
    kept = [setting for setting in pool.SETTINGS if setting.split()[1] not in settings]
    changed = (f"PRAGMA {name} = {value}" for name, value in settings.items())
    pool.SETTINGS = (*kept, *changed)  # type: ignore[assignment]


# ---- deliberate bugs


def _acknowledge_early() -> None:
    groups.run_group = _run_group_acknowledging_early


def _run_group_acknowledging_early(connection: sqlite3.Connection, group: Sequence[Job[Any]]) -> list[Any]:
    with closing(connection.cursor()) as cursor:
        cursor.execute("BEGIN IMMEDIATE")
        outcomes = [job.work(cursor) for job in group]
        for job, outcome in zip(group, outcomes, strict=True):
            job.done.callback(outcome)
            job.done = Deferred()
        cursor.execute("COMMIT")
        return outcomes


def _commit_without_transaction() -> None:
    groups.run_group = _run_group_without_transaction


def _run_group_without_transaction(connection: sqlite3.Connection, group: Sequence[Job[Any]]) -> list[Any]:
    with closing(connection.cursor()) as cursor:
        return [job.work(cursor) for job in group]


def _open_unflushed() -> None:
    vars(file)["flush_database"] = lambda path: None


BUGS: dict[str, Callable[[], None]] = {
    "none": lambda: None,
    "synchronous NORMAL": lambda: set_up(synchronous="NORMAL"),
    "synchronous OFF": lambda: set_up(synchronous="OFF"),
    "acknowledged before COMMIT": _acknowledge_early,
    "no transaction": _commit_without_transaction,
    "opened unflushed": _open_unflushed,
}


# ---- the two ways to run


def run(workload: Workload, directory: Path) -> None:
    """To its end."""
    directory.mkdir(exist_ok=True)
    workload.run(directory, Notes(directory))


def run_and_be_killed(workload: Workload, directory: Path, call: int, moment: str) -> int:
    """In a child, which has everything loaded already, with SIGKILL at that call to the disk; its exit code."""
    child = os.fork()
    if not child:
        try:
            directory.mkdir(exist_ok=True)
            ctypes.CDLL(None).disk_trace_kill(ctypes.c_long(call), moment.encode())
            workload.run(directory, Notes(directory))
            os._exit(0)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(name: str, seed: str, count: str, bug: str, *rest: str) -> None:
    set_up(**SETTINGS)
    BUGS[bug]()
    workload = WORKLOADS[name](int(seed), int(count))
    if rest:
        run(workload, Path(rest[0]))
        return
    for line in sys.stdin:
        directory, call, moment = line.split()
        print(run_and_be_killed(workload, Path(directory), int(call), moment), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
