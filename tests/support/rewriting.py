"""Logs on disk, changed by hand: as consistent in themselves as before, and different from their peers'."""

import sqlite3
from pathlib import Path

from msgspec.structs import replace

from pygmy.database import log
from pygmy.messages.replication import Batch
from pygmy.replication.log import GENESIS_HASH, chained


def rewrite(path: Path, seq: int) -> None:
    """Give batch `seq` another time; hashes from there on are what they must be, so the log is sound in itself."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        cursor = connection.cursor()
        batches = log.read(cursor, 1, 1 << 30, 1 << 60)
        cursor.execute("BEGIN IMMEDIATE")
        cursor.execute("UPDATE entries SET at = at + 1 WHERE seq = ?", (seq,))
        before = GENESIS_HASH if seq == 1 else batches[seq - 2].hash
        for batch in batches[seq - 1 :]:
            before = _hash(batch, seq, before)
            cursor.execute("UPDATE batches SET hash = ? WHERE seq = ?", (before, batch.seq))
        cursor.execute("COMMIT")
    finally:
        connection.close()


def _hash(batch: Batch, changed: int, before: str) -> str:
    entries = batch.entries
    if batch.seq == changed:
        entries = tuple(replace(entry, at=entry.at + 1) for entry in entries)
    return chained(before, batch.version, batch.base_epoch, entries)
