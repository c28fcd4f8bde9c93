"""The room of the disk: one SQLite file per replica, one thread, each commit durable before it is told."""

from pygmy.database.errors import BackupFailed, StoreBroken, StoreError, StoreLocked, StoreMismatch
from pygmy.database.store import Boot, Located, Store, Undo
from pygmy.messages.operations import Change

__all__ = [
    "BackupFailed",
    "Boot",
    "Change",
    "Located",
    "Store",
    "StoreBroken",
    "StoreError",
    "StoreLocked",
    "StoreMismatch",
    "Undo",
]
