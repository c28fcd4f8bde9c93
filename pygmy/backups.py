"""A replica's backups: made on a schedule and when asked for, counted, and the oldest removed."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from pygmy.database import StoreError
from pygmy.database.backup import discard, seal, settle
from pygmy.durable import make_durable
from pygmy.errors import Problem, unavailable
from pygmy.logs import Logger
from pygmy.messages.operations import Tier
from pygmy.routes.backup import BackupBody
from pygmy.schedule import Schedule
from pygmy.ticking import Ticking

log = Logger()

DRAFT = "draft.sqlite"
LOOKS = 20  # at so many moments of the time between two backups it is asked whether the next is due,
LEAST_SECONDS, MOST_SECONDS = 1.0, 300.0  # but within these bounds
TIME = "%Y%m%dT%H%M%SZ"
_NAME = re.compile(r"(.+)-([0-9]{8}T[0-9]{6}Z)-([0-9]{1,18})\.sqlite")


class Copies(Protocol):
    """What of a store matters here: see `pygmy.database.Store.copy_to`."""

    def copy_to(self, path: str) -> Deferred[None]:
        """Write a copy to this file."""


class InThread(Protocol):
    """Runs a function where it may take its time, neither in the reactor's nor in the database's thread."""

    def __call__(self, function: Callable[[], Any]) -> Deferred[Any]:
        """Fires with what the function returns or raises."""


class Kept(NamedTuple):
    """A backup that is there: when it was made (ms UTC, a whole second) and the seq of its last batch."""

    at: int
    seq: int
    path: Path


class Backups(Ticking):
    """Backs up the store of the replica `node` to the directory `home`, as `schedule` says and when asked to.

    Stopped, it makes no more by itself; one under way ends when its store is closed.

    `head` is the seq of the store's last batch, `wall` the time in ms.
    """

    def __init__(
        self,
        node: str,
        tier: Tier,
        home: Path,
        store: Copies,
        head: Callable[[], int],
        schedule: Schedule,
        clock: IReactorTime,
        wall: Callable[[], int],
        in_thread: InThread,
    ) -> None:
        self._period = schedule.hours * 3600
        # Not at its start: a node that comes and goes would do nothing else.
        looks = min(max(self._period / LOOKS, LEAST_SECONDS), MOST_SECONDS)
        super().__init__(self._make_if_due, clock, looks, now=False)
        self._node = node
        self._tier: Tier = tier
        self._home = home
        self._store = store
        self._head = head
        self._kept = schedule.kept
        self._clock = clock
        self._wall = wall
        self._in_thread = in_thread
        self._waiting: list[Deferred[BackupBody]] = []

    def startService(self) -> None:
        """Start the schedule, if there is one."""
        if self._period:
            super().startService()

    def back_up(self) -> Deferred[BackupBody]:
        """Make one now; who asks meanwhile shares it. Fails with a 503 `Problem`: there is none, and no harm done."""
        self._waiting.append(Deferred())
        asked = self._waiting[-1]
        if len(self._waiting) == 1:
            Deferred.fromCoroutine(self._make()).addBoth(self._tell)
        return asked

    def _tell(self, made: BackupBody | Failure) -> None:
        told, self._waiting = self._waiting, []
        for waiter in told:
            waiter.callback(made)

    def _make_if_due(self) -> None:
        head, now = self._head(), self._wall()
        kept = existing(self._home, self._node)
        # A date in the future, from a clock that was wrong, must not put all others off.
        recent = any(0 <= now - one.at < self._period * 1000 for one in kept)
        if head and not recent and all(one.seq != head for one in kept):
            self.back_up().addErrback(_told_already)

    async def _make(self) -> BackupBody:
        started, draft = self._clock.seconds(), self._home / DRAFT
        try:
            await self._in_thread(partial(_prepare, self._home, draft))
            await self._store.copy_to(str(draft))
            path, seq, size = await self._in_thread(partial(self._finish, draft))
        except (StoreError, OSError) as error:
            log.error("no backup: {why}", why=error)
            await self._in_thread(partial(_try_to_discard, draft))
            raise unavailable(f"{self._node} could not back itself up: {error}") from error
        seconds = round(self._clock.seconds() - started, 3)
        log.info("backup {path}: {size} bytes, {seconds} s", path=path, size=size, seconds=seconds)
        return BackupBody(self._node, str(path), size, seq, seconds)

    def _finish(self, draft: Path) -> tuple[Path, int, int]:
        """In a thread: the backup under its name, the seq of its last batch and its bytes."""
        at = self._wall()
        seq = seal(draft, self._node, self._tier, at).head[1]
        time = datetime.fromtimestamp(at // 1000, UTC).strftime(TIME)
        final = self._home / f"{self._node}-{time}-{seq}.sqlite"
        settle(draft, final)
        prune(self._home, self._node, self._kept, final)
        return final, seq, final.stat().st_size


def existing(home: Path, node: str) -> list[Kept]:
    """The backups of this node that are there, the oldest first; other files are nobody's business."""
    found = []
    for path in home.glob("*.sqlite"):
        name = _NAME.fullmatch(path.name)
        if name is not None and name[1] == node:
            try:
                at = datetime.strptime(name[2], TIME).replace(tzinfo=UTC)
            except ValueError:
                continue  # the 31st of June
            found.append(Kept(int(at.timestamp()) * 1000, int(name[3]), path))
    return sorted(found)


def prune(home: Path, node: str, count: int, newest: Path) -> None:
    """Remove the oldest backups of this node beyond `count`; never `newest`, whatever its date says."""
    others = [one.path for one in existing(home, node) if one.path != newest]
    for path in others[: max(0, len(others) + 1 - count)]:
        path.unlink(missing_ok=True)


def _told_already(failure: Failure) -> None:
    """Why there is no backup is in the log, and the next tick tries again."""
    if not failure.check(Problem):
        log.failure("a backup failed", failure)


def _prepare(home: Path, draft: Path) -> None:
    make_durable(home)
    discard(draft)  # of an earlier process


def _try_to_discard(draft: Path) -> None:
    """Half a backup is of no use, and its space is."""
    try:
        discard(draft)
    except OSError as error:
        log.warn("{draft} stays: {error}", draft=draft, error=error)
