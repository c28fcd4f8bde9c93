"""How a store can fail. None of these is an answer to a user: the node's owner decides what to do."""


class StoreError(Exception):
    """The base of the others; str() is one sentence for a person, with the path in it."""


class StoreLocked(StoreError):
    """Another process has this file open."""


class StoreMismatch(StoreError):
    """A sound file that this code must not touch: newer, of the other tier, or not Pygmy's at all."""


class StoreBroken(StoreError):
    """The file or the disk under it fails, or what was to be written does not fit it.

    From the first one on the store refuses all work: what it has not confirmed may or may not be on disk.
    """


class BackupFailed(StoreError):
    """There is no new backup; the store itself goes on as before."""
