"""What a node logs of each batch, once: how long its steps took. `pygmy trace` puts them together.

The node that wrote it, as it answers, and every other member, as it acknowledges:

    batch 1-7: 1 entry, asked for 3.1 ms before; on disk 1.9 ms, catalog-1 3.2 ms, chosen 3.4 ms
    batch 1-7 from catalog-0: on disk 1.8 ms, acknowledged 2.1 ms

All times but the first count from the moment at which the batch was decided (P4) or arrived.
"""

from collections.abc import Callable

from pygmy.logs import Logger
from pygmy.messages.replication import Batch, Version

log = Logger()


class Trail:
    """The steps of the one batch that is under way."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._version: Version | None = None
        self._entries = 0
        self._since = self._stored = 0.0
        self._acks: list[str] = []

    def begun(self, batch: Batch) -> None:
        """It was decided here, or has arrived."""
        self._version, self._entries, self._since = batch.version, len(batch.entries), self._now()
        self._stored, self._acks = 0.0, []

    def stored(self, version: Version) -> None:
        """It is on this node's disk."""
        if version == self._version:
            self._stored = self._elapsed()

    def acked(self, peer: str, version: Version) -> None:
        """Another member has it."""
        if version == self._version:
            self._acks.append(f"{peer} {self._elapsed():.1f} ms, ")

    def acknowledge(self, version: Version, owner: str) -> None:
        """This node tells the owner that it has it."""
        if version == self._version:
            self._version = None
            log.info(
                "batch {batch} from {owner}: on disk {stored:.1f} ms, acknowledged {acked:.1f} ms",
                batch=f"{version[0]}-{version[1]}",
                owner=owner,
                stored=self._stored,
                acked=self._elapsed(),
            )

    def chosen(self, version: Version, asked: float) -> None:
        """All members have it, and its first answer goes out to who asked at `asked`."""
        if version == self._version:
            self._version = None
            log.info(
                "batch {batch}: {entries}, asked for {before:.1f} ms before; on disk {stored:.1f} ms, {acks}chosen"
                " {chosen:.1f} ms",
                batch=f"{version[0]}-{version[1]}",
                entries="1 entry" if self._entries == 1 else f"{self._entries} entries",
                before=1000 * (self._since - asked),
                stored=self._stored,
                acks="".join(self._acks),
                chosen=self._elapsed(),
            )

    def _elapsed(self) -> float:
        return 1000 * (self._now() - self._since)
