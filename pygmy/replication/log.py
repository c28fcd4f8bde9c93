"""A tier's log: always the chosen prefix plus at most one tentative batch, and the rows it folds into.

Only a window of the newest batches is in memory; the rest is on disk, where the driver looks things up.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from hashlib import blake2b

import msgspec

from pygmy.messages.operations import Change, OpenStock, Operation, Result
from pygmy.messages.replication import GENESIS, Batch, Entry, Version
from pygmy.replication.opids import OpIds
from pygmy.state.machine import Machine

_encoder = msgspec.json.Encoder()
GENESIS_HASH = "0" * 32


class LogBroken(Exception):
    """The log does not continue as it must: this copy differs from what was chosen. The node has to stop."""


class Diverged(LogBroken):
    """The same versions stand for different histories in two copies."""


def chained(before: str, version: Version, base_epoch: int, entries: Sequence[Entry]) -> str:
    """The hash of a batch: over the one before it and everything it says (32 hex digits)."""
    body = _encoder.encode((before, version, base_epoch, entries))
    return blake2b(body, digest_size=16).hexdigest()


def digest_of(operation: Operation) -> str:
    """What tells two requests under one op_id apart (32 hex digits)."""
    return blake2b(_encoder.encode(operation), digest_size=16).hexdigest()


def batch_weight(batch: Batch) -> int:
    """How much a batch takes in a message: about one per book or operation that it names."""
    return sum(len(e.operation.books) if isinstance(e.operation, OpenStock) else 1 for e in batch.entries)


def result_of(entry: Entry, version: Version, index: int) -> Result:
    """The answer that this entry gives, to whoever asks and whenever."""
    return Result(entry.outcome, entry.at, version[0], version[1], index)


class Log:
    """The newest batches of the log and its fold, the tier's state machine.

    `older` are the op_ids that are on disk only; whoever makes a log of one that was there before completes them.
    """

    def __init__(self, machine: Machine, newest: Iterable[Batch] = (), window: int = 8192) -> None:
        """`newest` are the last batches on disk (at least two where there are two), already in `machine`."""
        self.machine = machine
        self._window = window
        self._batches: deque[Batch] = deque()
        self._entries = 0
        self._recent: dict[str, tuple[Entry, Version, int]] = {}
        self.older = OpIds(complete=False)
        for batch in newest:
            self._take_in(batch)
        self.older.complete = self.first == 1

    @property
    def head(self) -> Version:
        """The version of the last batch."""
        return self._batches[-1].version if self._batches else GENESIS

    @property
    def head_hash(self) -> str:
        """The hash of the last batch, which vouches for all before it."""
        return self._batches[-1].hash if self._batches else GENESIS_HASH

    @property
    def previous(self) -> Version | None:
        """The version of the last batch but one (None: there is none)."""
        return self._batches[-1].base if self._batches else None

    @property
    def first(self) -> int:
        """The seq of the oldest batch in memory (head + 1 when there is none)."""
        return self._batches[0].seq if self._batches else self.head[1] + 1

    @property
    def last_at(self) -> int:
        """When the newest entry was decided (ms; 0: none)."""
        return self._batches[-1].entries[-1].at if self._batches else 0

    def batch(self, seq: int) -> Batch | None:
        """The batch with this seq, if it is in memory."""
        index = seq - self.first
        return self._batches[index] if 0 <= index < len(self._batches) else None

    def contains(self, version: Version) -> bool:
        """True if the batch is in this log. Versions below the window's are not known here: False."""
        if version == GENESIS:
            return True
        batch = self.batch(version[1])
        if batch is not None:
            return batch.version == version
        return bool(self._batches) and self._batches[0].base == version

    def stands(self, result: Result) -> bool:
        """Whether the batch that this recorded answer comes from is still in the log: the last one may be dropped."""
        return result.seq < self.first or self.contains((result.epoch, result.seq))

    def batches_from(self, seq: int, weight: int) -> tuple[Batch, ...]:
        """Batches from this seq on, which must not be below the window: at least one, up to this weight."""
        chosen: list[Batch] = []
        for index in range(seq - self.first, len(self._batches)):
            weight -= batch_weight(self._batches[index])
            if chosen and weight < 0:
                break
            chosen.append(self._batches[index])
        return tuple(chosen)

    def result(self, op_id: str) -> tuple[Entry, Result] | None:
        """The recorded entry under this op_id, if it is in the window."""
        found = self._recent.get(op_id)
        return None if found is None else (found[0], result_of(*found))

    def lacks(self, op_id: str) -> bool:
        """True if there is surely no entry under this op_id, neither in memory nor on disk."""
        return self.older.complete and op_id not in self._recent and op_id not in self.older

    def append(self, batch: Batch) -> list[Change]:
        """Append a batch that another replica decided; the changes it makes to the rows.

        Carrying it out again must give the outcomes it names: `LogBroken` if not, or if it does not follow;
        `Diverged`, with nothing done, if it continues another history.
        """
        if batch.base != self.head:
            raise LogBroken(f"batch {batch.version} follows {batch.base}, but this log ends with {self.head}")
        if batch.hash != chained(self.head_hash, batch.version, batch.base_epoch, batch.entries):
            raise Diverged(
                f"the copies have diverged: batch {batch.version} does not follow from the hash of {self.head}"
            )
        self.machine.begin()
        for entry in batch.entries:
            outcome = self.machine.apply(entry.op_id, entry.operation, entry.at, batch.version)
            if outcome != entry.outcome:
                raise LogBroken(f"{entry.op_id} in batch {batch.version} came out otherwise here")
        self._take_in(batch)
        return self.machine.changes(batch.seq)

    def append_own(self, batch: Batch) -> list[Change]:
        """Append the batch that was just decided on this very machine."""
        self._take_in(batch)
        return self.machine.changes(batch.seq)

    def truncate(self, cut: int) -> bool:
        """Drop the batches with seq >= cut: at most the last one. True if there was one."""
        if cut > self.head[1]:
            return False
        if cut < self.head[1]:
            raise LogBroken(f"more than the last batch would be dropped: from {cut}, head {self.head}")
        dropped = self._batches.pop()
        self._entries -= len(dropped.entries)
        for entry in dropped.entries:
            self._recent.pop(entry.op_id, None)
        self.machine.rollback()
        if not self._batches and dropped.base != GENESIS:
            raise LogBroken("the batch before the dropped one is not in memory")
        return True

    def _take_in(self, batch: Batch) -> None:
        self._batches.append(batch)
        self._entries += len(batch.entries)
        for index, entry in enumerate(batch.entries):
            self._recent[entry.op_id] = (entry, batch.version, index)
        while self._entries > self._window and len(self._batches) > 2:
            oldest = self._batches.popleft()
            self._entries -= len(oldest.entries)
            for entry in oldest.entries:
                self._recent.pop(entry.op_id, None)
                self.older.add(entry.op_id)
