"""The chain: each batch follows from the hash of the one before it, from the very first one on."""

from pygmy.audit.reports import Findings
from pygmy.messages.replication import GENESIS, Batch, Version
from pygmy.replication.log import GENESIS_HASH, chained, digest_of

HASH_BYTES = 16


class Chain:
    """The batches of one copy, one after the other: seq without gaps, epochs that never fall, hashes that follow.

    `trail` holds for each batch the hash that it should have, after the one that the batch before it has: copies are
    compared by these.  It ends where the batches are no longer in one piece.  16 bytes a batch: 16 MB for a million.
    """

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._whole = True
        self._mended = ""  # what the hash of the last batch should have been, if it was another
        self.head: Version = GENESIS
        self.hash = GENESIS_HASH
        self.trail = bytearray()

    def take(self, batch: Batch) -> None:
        """The next batch."""
        if self._follows(batch):
            self._check_hash(batch)
        else:  # there is no telling which hash is before it
            self._whole, self._mended = False, ""
        for entry in batch.entries:
            if entry.digest != (expected := digest_of(entry.operation)):
                self._findings.add(
                    f"{entry.op_id} has the digest {entry.digest}, but its operation makes {expected}", batch.seq
                )
        self.head, self.hash = batch.version, batch.hash

    def _follows(self, batch: Batch) -> bool:
        """True if it is the next one by number; what is wrong with its epochs is found, too."""
        epoch, seq = self.head
        if batch.seq != seq + 1:
            missing = f"{seq + 1}" if batch.seq == seq + 2 else f"{seq + 1} to {batch.seq - 1}"
            self._findings.add(f"expected batch {seq + 1} after {seq}: missing is {missing}", batch.seq)
        elif batch.base_epoch != epoch:
            self._findings.add(
                f"it says that it follows {batch.base_epoch}-{seq}, but the batch before it is {epoch}-{seq}",
                batch.seq,
            )
        if batch.epoch < epoch:
            self._findings.add(f"its epoch {batch.epoch} comes after epoch {epoch}: expected no lower one", batch.seq)
        if not batch.entries:
            self._findings.add("it has no entries: expected at least one", batch.seq)
        return batch.seq == seq + 1

    def _check_hash(self, batch: Batch) -> None:
        """Against the hash before it; if that was wrong, against what it should have been: one fault, one finding."""
        expected = chained(self.hash, batch.version, batch.base_epoch, batch.entries)
        if self._mended and batch.hash != expected:
            mended = chained(self._mended, batch.version, batch.base_epoch, batch.entries)
            expected = mended if batch.hash == mended else expected
        self._mended = "" if batch.hash == expected else expected
        if self._mended:
            self._findings.add(
                f"its hash is {batch.hash}, but what it says after batch {batch.seq - 1} makes {expected}", batch.seq
            )
        if self._whole:
            self.trail += bytes.fromhex(expected)


def length(trail: bytearray) -> int:
    """How many batches there are in it."""
    return len(trail) // HASH_BYTES


def first_difference(one: bytearray, other: bytearray) -> int | None:
    """The first seq at which both have a batch, but not the same one. None: one is the beginning of the other."""
    low, high = 0, min(length(one), length(other))
    if one[: high * HASH_BYTES] == other[: high * HASH_BYTES]:
        return None
    while high - low > 1:  # they are the same up to `low`, and differ somewhere up to `high`
        middle = (low + high) // 2
        same = one[low * HASH_BYTES : middle * HASH_BYTES] == other[low * HASH_BYTES : middle * HASH_BYTES]
        low, high = (middle, high) if same else (low, middle)
    return high
