"""How far this log has been brought up to date from another node's: for people, at no cost to the protocol."""

import msgspec

from pygmy.messages.condition import Counts, Recovery
from pygmy.messages.replication import Mode, Suffix
from pygmy.replication.core import Core
from pygmy.replication.effects import Synced, Syncing

# While it goes on it is told when so much more is done, or at least so often; never more often than each second.
STEP_PERCENT = 10
STEP_SECONDS = 10.0
PAUSE_SECONDS = 1.0


class Progress:
    """Counts what is taken over, chunk by chunk, from the first request to the last of it."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.recovery: Recovery | None = None
        self.counts = Counts()
        self._since: float | None = None  # when this log was first asked to be brought up to date
        self._told_at, self._told_percent = core.now, 0

    def begin(self) -> None:
        """Something is asked for. What is asked for again, or next, is part of the same recovery."""
        if self._since is None:
            self._since = self._told_at = self._core.now
            self._told_percent = 0

    def count(self, peer: str, suffix: Suffix, rows: int) -> None:
        """A chunk has been appended; `rows` changed with it."""
        if suffix.batches:
            self._add(peer, suffix, rows)
        if suffix.last:
            self._end(peer, suffix)
        elif self.recovery is not None:
            self._tell(self.recovery)

    def _add(self, peer: str, suffix: Suffix, rows: int) -> None:
        before, upto = self._open(suffix), self._core.log.head[1]
        size = len(msgspec.json.encode(suffix.batches))
        self.recovery = Recovery(
            source=peer,
            state=_mode(suffix),
            batches=before.batches + len(suffix.batches),
            rows=before.rows + rows,
            size=before.size + size,
            seconds=self._seconds(),
            first=before.first,
            upto=upto,
            of=max(upto, suffix.of),
            done=False,
        )
        counts = self.counts
        counts.recovery_batches += len(suffix.batches)
        counts.recovery_rows += rows
        counts.recovery_bytes += size
        counts.recovery_seconds += self.recovery.seconds - before.seconds

    def _open(self, suffix: Suffix) -> Recovery:
        """The recovery under way, or one that begins."""
        if self.recovery is not None and not self.recovery.done:
            return self.recovery
        start = suffix.cut - 1
        return Recovery("", "", 0, 0, 0, 0.0, start, start, start, False)

    def _end(self, peer: str, suffix: Suffix) -> None:
        found = self.recovery
        if found is not None and not found.done:
            took = self._seconds()
            self.counts.recoveries += 1
            self.counts.recovery_seconds += took - found.seconds
            self.recovery = msgspec.structs.replace(found, source=peer, state=_mode(suffix), seconds=took, done=True)
            synced = Synced(peer, _mode(suffix), found.batches, found.rows, found.size, took)
            self._core.effects.append(synced)
        self._since = None

    def _tell(self, recovery: Recovery) -> None:
        """A line for people, if the last one is old enough."""
        passed = self._core.now - self._told_at
        further = recovery.percent - self._told_percent >= STEP_PERCENT
        if passed >= PAUSE_SECONDS and (further or passed >= STEP_SECONDS):
            self._told_at, self._told_percent = self._core.now, recovery.percent
            self._core.effects.append(Syncing(recovery))

    def _seconds(self) -> float:
        return self._core.now - (self._core.now if self._since is None else self._since)


def _mode(suffix: Suffix) -> Mode:
    """The mode that the sender is in: learners ask RUNNING members, followers their frozen leader."""
    return "RUNNING" if suffix.epoch is None else "SYNC"
