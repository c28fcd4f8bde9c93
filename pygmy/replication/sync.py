"""Making two logs equal (V4): the follower names its last two versions, the other answers from where they differ.

The same exchange brings up a joiner outside any view (V6, `epoch` None) and a follower inside one.
"""

import msgspec

from pygmy.messages.condition import Recovery
from pygmy.messages.replication import Batch, Suffix, SuffixRequest, Version
from pygmy.replication.core import Core
from pygmy.replication.effects import Fetch, Note
from pygmy.replication.log import LogBroken
from pygmy.replication.progress import Progress

# Bytes of batches in one answer, unless a single batch has more. Far below what one request may carry (8 MiB), and
# little enough for what waits behind it: other messages on the link, writes behind the reading of it from the disk.
CHUNK_BYTES = 512 * 1024


# Chunks that a learner may hold in memory, its disk being slower than the others' and the network.
MOST_UNSTORED = 8
MOST_DOUBLINGS = 4


class Sync:
    """Both sides of the exchange."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.progress = Progress(core)
        self._asked: tuple[str, Version] | None = None  # what a learner has no answer to yet,
        self._asked_at = 0.0  # when it asked that last,
        self._repeats = 0  # and how often again

    # ---- asking

    def request(self, to: str, epoch: int | None) -> None:
        """Ask for what follows the head of this log."""
        log = self._core.log
        if epoch is None and not self._may_ask((to, log.head)):
            return
        self.progress.begin()
        self._core.send(to, SuffixRequest(epoch, log.head, log.previous))

    def _may_ask(self, question: tuple[str, Version]) -> bool:
        """A learner asks again ever later: on a slow line the answer takes its time, and each one is as long."""
        core = self._core
        patience = core.timing.register_poll * 2**self._repeats
        again = question == self._asked
        if len(core.stores) >= MOST_UNSTORED or (again and core.now - self._asked_at < patience):
            return False
        self._repeats = min(self._repeats + 1, MOST_DOUBLINGS) if again else 0
        self._asked, self._asked_at = question, core.now
        return True

    def apply(self, peer: str, suffix: Suffix) -> int:
        """Truncate and append in one transaction; the token to wait for. The caller has checked the head."""
        core = self._core
        self._asked = None
        if core.log.truncate(suffix.cut):
            core.effects.append(Note(f"dropped the unacknowledged batch {suffix.cut}, as {peer} has it otherwise"))
        changes = [change for batch in suffix.batches for change in core.log.append(batch)]
        self.progress.count(peer, suffix, len(changes))
        return core.store(suffix.cut, suffix.batches, changes)

    @property
    def recovery(self) -> Recovery | None:
        """How far this log has been brought up to date, or how it was last (None: not since this node started)."""
        return self.progress.recovery

    # ---- answering

    def answer(self, peer: str, request: SuffixRequest) -> None:
        """Answer from memory, or have the older batches fetched from the disk first."""
        log, chunk = self._core.log, self._core.timing.chunk
        if log.contains(request.head) and request.head[1] + 1 >= log.first:
            cut = request.head[1] + 1
            self._send(peer, request, cut, log.batches_from(cut, chunk))
        elif request.previous is not None and log.contains(request.previous) and request.head[1] >= log.first:
            cut = request.head[1]
            self._send(peer, request, cut, log.batches_from(cut, chunk))
        elif request.head[1] < log.first:
            first = max(1, request.head[1] - 1)
            self._core.effects.append(Fetch(peer, request.epoch, request.head, request.previous, first))
        else:
            self._differs(peer, request)

    def fetched(self, fetch: Fetch, batches: tuple[Batch, ...]) -> None:
        """The older batches are here: find where the logs differ and send what follows."""
        versions: set[Version] = {batch.version for batch in batches} | {(0, 0)}
        request = SuffixRequest(fetch.epoch, fetch.head, fetch.previous)
        if fetch.head in versions:
            cut = fetch.head[1] + 1
        elif fetch.previous in versions:
            cut = fetch.head[1]
        else:
            self._differs(fetch.peer, request)
            return
        self._send(fetch.peer, request, cut, tuple(batch for batch in batches if batch.seq >= cut))

    def _send(self, peer: str, request: SuffixRequest, cut: int, batches: tuple[Batch, ...]) -> None:
        """As much of these as goes at once. Only what ends with this log's head is the last of it."""
        core = self._core
        chunk = _fitting(batches)
        end = core.log.head[1]
        core.send(peer, Suffix(request.epoch, request.head, cut, chunk, cut - 1 + len(chunk) >= end, end))

    def _differs(self, peer: str, request: SuffixRequest) -> None:
        """In a view that must not be; a learner just gets no answer here."""
        text = f"{peer}'s log ends with {request.head}, which this log never had: it is not sent anything"
        if request.epoch is not None:
            raise LogBroken(text)
        self._core.effects.append(Note(text))


def _fitting(batches: tuple[Batch, ...]) -> tuple[Batch, ...]:
    """The first of these that together fit into a chunk, but always one."""
    size = 0
    for index, batch in enumerate(batches):
        size += len(msgspec.json.encode(batch))
        if index and size > CHUNK_BYTES:
            return batches[:index]
    return batches
