"""Files and directories that survive a power cut, and files that are there whole or not at all."""

import os
import secrets
from pathlib import Path

PRIVATE = 0o600


def flush_file(path: str | Path) -> None:
    """Have a file's bytes, or a directory's names, on the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_durable(directory: Path) -> None:
    """Make the directory where it is missing, and have its own name survive a power cut. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    for place in (directory, *directory.parents[:2]):
        flush_file(place)


def write_whole(path: Path, content: bytes, mode: int = PRIVATE, owner: os.stat_result | None = None) -> None:
    """Put a file in place of what is there, at once, and so that it survives a power cut. Raises OSError.

    Until it is there nobody else can read it; then `mode` counts. Root can give it to an `owner`.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            if owner is not None:
                give_away(draft, owner)
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    flush_file(path.parent)


def give_away(path: Path, owner: os.stat_result) -> None:
    """Make the owner of one file that of another, if this is root; else nothing. Raises OSError."""
    if os.geteuid() == 0:
        os.chown(path, owner.st_uid, owner.st_gid)
