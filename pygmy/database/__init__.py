"""The room of the disk: SQLite files, a thread for each, and every commit durable before it is told of."""

from pygmy.database.ballots import Ballots, Witness
from pygmy.database.errors import StoreBroken, StoreError, StoreLocked, StoreMismatch
from pygmy.database.store import Boot, Identity, Located, Store, Undo
from pygmy.messages.operations import Change

__all__ = [
    "Ballots",
    "Boot",
    "Change",
    "Identity",
    "Located",
    "Store",
    "StoreBroken",
    "StoreError",
    "StoreLocked",
    "StoreMismatch",
    "Undo",
    "Witness",
]
