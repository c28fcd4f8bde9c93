"""Making two logs equal (V4): the follower names its last two versions, the other answers from where they differ.

The same exchange brings up a joiner outside any view (V6, `epoch` None) and a follower inside one.
"""

import msgspec

from pygmy.messages.replication import Batch, Mode, Suffix, SuffixRequest, Version
from pygmy.replication.core import Core
from pygmy.replication.effects import Fetch, Note, Synced
from pygmy.replication.log import LogBroken


class Sync:
    """Both sides of the exchange."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._rows = self._batches = self._size = 0
        self._since: float | None = None  # when this log was first asked to be brought up to date

    # ---- asking

    def request(self, to: str, epoch: int | None) -> None:
        """Ask for what follows the head of this log."""
        log = self._core.log
        if self._since is None:
            self._since = self._core.now
        self._core.send(to, SuffixRequest(epoch, log.head, log.previous))

    def apply(self, peer: str, suffix: Suffix) -> int:
        """Truncate and append in one transaction; the token to wait for. The caller has checked the head."""
        core = self._core
        if core.log.truncate(suffix.cut):
            core.effects.append(Note(f"dropped the unacknowledged batch {suffix.cut}, as {peer} has it otherwise"))
        changes = [change for batch in suffix.batches for change in core.log.append(batch)]
        self._count(peer, suffix, len(changes))
        return core.store(suffix.cut, suffix.batches, changes)

    def _count(self, peer: str, suffix: Suffix, rows: int) -> None:
        """Tell people when a recovery is through."""
        self._batches += len(suffix.batches)
        self._rows += rows
        self._size += len(msgspec.json.encode(suffix.batches)) if suffix.batches else 0
        if not suffix.last:
            return
        if self._batches:
            mode: Mode = "RUNNING" if suffix.epoch is None else "SYNC"
            took = self._core.now - (self._since or self._core.now)
            self._core.effects.append(Synced(peer, mode, self._batches, self._rows, self._size, took))
        self._rows = self._batches = self._size = 0
        self._since = None

    # ---- answering

    def answer(self, peer: str, request: SuffixRequest) -> None:
        """Answer from memory, or have the older batches fetched from the disk first."""
        log = self._core.log
        if log.contains(request.head) and request.head[1] + 1 >= log.first:
            self._send(peer, request, request.head[1] + 1)
        elif request.previous is not None and log.contains(request.previous) and request.head[1] >= log.first:
            self._send(peer, request, request.head[1])
        elif request.head[1] < log.first:
            first = max(1, request.head[1] - 1)
            self._core.effects.append(Fetch(peer, request.epoch, request.head, request.previous, first))
        else:
            self._differs(peer, request)

    def _send(self, peer: str, request: SuffixRequest, cut: int) -> None:
        core = self._core
        batches = core.log.batches_from(cut, core.timing.chunk)
        last = cut - 1 + len(batches) >= core.log.head[1]
        core.send(peer, Suffix(request.epoch, request.head, cut, batches, last))

    def fetched(self, fetch: Fetch, batches: tuple[Batch, ...]) -> None:
        """The older batches are here: find where the logs differ and send what follows."""
        versions: set[Version] = {batch.version for batch in batches} | {(0, 0)}
        if fetch.head in versions:
            cut = fetch.head[1] + 1
        elif fetch.previous in versions:
            cut = fetch.head[1]
        else:
            self._differs(fetch.peer, SuffixRequest(fetch.epoch, fetch.head, fetch.previous))
            return
        rest = tuple(batch for batch in batches if batch.seq >= cut)
        last = bool(rest) and rest[-1].seq >= self._core.log.head[1]
        self._core.send(fetch.peer, Suffix(fetch.epoch, fetch.head, cut, rest, last))

    def _differs(self, peer: str, request: SuffixRequest) -> None:
        """In a view that must not be; a learner just gets no answer here."""
        text = f"{peer}'s log ends with {request.head}, which this log never had: it is not sent anything"
        if request.epoch is not None:
            raise LogBroken(text)
        self._core.effects.append(Note(text))
