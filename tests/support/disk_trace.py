"""`disk_trace.c` built and used: what a process does to its files, call by call, or its end at one of these calls."""

import os
import platform
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import pytest

SOURCE = Path(__file__).with_suffix(".c")
Moment = Literal["before", "during", "after", "unflushed"]
_HEAD = struct.Struct("=iiqII")


class Call(NamedTuple):
    """One call that succeeded. What `offset` is depends on the operation.

    `open` (its flags; `directory`: of one), `write` (of `data`), `size` (the new one), `sync`, `close`, `unlink` of
    `name`, `rename` of `name` to what `data` says.
    """

    operation: str
    descriptor: int
    offset: int
    name: str
    data: bytes


_OPERATIONS = {
    "o": "open",
    "d": "directory",
    "w": "write",
    "t": "size",
    "s": "sync",
    "c": "close",
    "u": "unlink",
    "r": "rename",
}


def built(directory: Path) -> Path:
    """The library, compiled into this directory; skips the test where that cannot be done."""
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc" or sys.maxsize < 1 << 32:
        pytest.skip("calls to the disk are traced on 64-bit Linux with glibc only")
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        pytest.skip("no C compiler (cc, gcc or clang) to build the tracer of disk calls with")
    library = directory / "disk_trace.so"
    command = [compiler, "-std=gnu11", "-O1", "-Wall", "-Wextra", "-shared", "-fPIC", "-pthread"]
    subprocess.run([*command, "-o", str(library), str(SOURCE)], check=True)
    return library


def environment(
    library: Path,
    below: str,
    *,
    trace: Path | None = None,
    kill: int = 0,
    moment: Moment = "before",
    armed: Path | None = None,
    hang: Path | None = None,
) -> dict[str, str]:
    """What a process is given to be watched; see the head of disk_trace.c."""
    found = {
        "LD_PRELOAD": " ".join(filter(None, [str(library), os.environ.get("LD_PRELOAD")])),
        "DISK_BELOW": below,
        "DISK_KILL": str(kill),
        "DISK_MOMENT": moment,
    }
    if trace is not None:
        found["DISK_TRACE"] = str(trace)
    if armed is not None:
        found["DISK_ARMED"] = str(armed)
    if hang is not None:
        found["DISK_HANG"] = str(hang)
    return found


def read_trace(path: Path) -> Iterator[Call]:
    """The calls of a process, over all its threads, in the order in which they took effect."""
    content = path.read_bytes()
    place = 0
    while place < len(content):
        operation, descriptor, offset, name_size, data_size = _HEAD.unpack_from(content, place)
        name_at = place + _HEAD.size
        data_at = name_at + name_size
        place = data_at + data_size
        name = content[name_at:data_at].decode()
        yield Call(_OPERATIONS[chr(operation)], descriptor, offset, name, content[data_at:place])
