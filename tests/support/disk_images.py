"""What a disk may hold after the power has failed at one point of a trace.

All that was flushed is there: a file's content and size as of its last fsync, a directory's names as of its own.
Of what came later, anything may be there: any of the sectors written, in any order and each perhaps in part; any of
the sizes that the file has had; any of the names made, removed and changed. So this disk is worse than most.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.support.disk_trace import Call

NOTES = "notes"
Keep = Callable[[int], bool]


class Write(NamedTuple):
    """Bytes in their place, not flushed yet."""

    offset: int
    data: bytes


class Size(NamedTuple):
    """The file was cut, or made longer with zeros; not flushed yet."""

    size: int


class Name(NamedTuple):
    """A name stands for a file from now on (None: for none); not flushed yet."""

    name: str
    file: "File | None"


class File:
    """An inode: what was flushed of it, and all that was done to it since, in order."""

    def __init__(self, content: bytes = b"") -> None:
        self.flushed = bytearray(content)
        self.unflushed: list[Write | Size] = []
        self._size = len(content)
        self._sizes = [self._size]

    def do(self, change: Write | Size) -> None:
        """As the process sees it."""
        if isinstance(change, Size):
            self._size = change.size
        else:
            self._size = max(self._size, change.offset + len(change.data))
        self._sizes.append(self._size)
        self.unflushed.append(change)

    def flush(self) -> None:
        """As after fsync."""
        self.flushed = self.seen()
        self.unflushed = []
        self._sizes = [self._size]

    def seen(self) -> bytearray:
        """As without any loss."""
        content = bytearray(self.flushed)
        for change in self.unflushed:
            _apply(content, change)
        return content

    def survivor(self, random: Random) -> bytearray:
        """As it may be found after the loss of power."""
        content = bytearray(self.flushed)
        if not self.unflushed:
            return content
        pieces = list(_pieces(self.unflushed, random.choice((512, 512, 4096))))
        keep = _manner(random, len(pieces))
        torn = random.choice((0.0, 0.0, 0.3))
        for place, piece in enumerate(pieces):
            if keep(place):
                _apply(content, piece)
            elif isinstance(piece, Write) and random.random() < torn:
                _apply(content, Write(piece.offset, piece.data[: random.randrange(len(piece.data) + 1)]))
        _apply(content, Size(random.choice((self._size, *self._sizes))))
        return content


def _apply(content: bytearray, change: Write | Size) -> None:
    if isinstance(change, Size):
        del content[change.size :]
        content.extend(bytes(change.size - len(content)))
    else:
        content.extend(bytes(max(0, change.offset - len(content))))
        content[change.offset : change.offset + len(change.data)] = change.data


def _pieces(changes: Iterable[Write | Size], sector: int) -> Iterator[Write | Size]:
    """The changes, each write as one for every sector that it touches."""
    for change in changes:
        if isinstance(change, Size):
            yield change
            continue
        start, end = change.offset, change.offset + len(change.data)
        while start < end:
            stop = min(end, start - start % sector + sector)
            yield Write(start, change.data[start - change.offset : stop - change.offset])
            start = stop


def _manner(random: Random, count: int) -> Keep:
    """Which of so many changes survive: each way of losing some finds another kind of mistake."""
    chosen = random.randrange(count)
    share = random.choice((0.1, 0.5, 0.9))
    return random.choice(
        (
            lambda place: False,
            lambda place: True,
            lambda place: place < chosen,
            lambda place: place > chosen,
            lambda place: place != chosen,
            lambda place: place == chosen,
            lambda place: random.random() < share,
            lambda place: random.random() < share,
        )
    )


class Disk:
    """One directory of files: what the process sees, and what is sure to be there afterwards.

    `files` are those that are there, flushed, before the first call. Directories further down are not followed.
    """

    def __init__(self, directory: Path, files: dict[str, bytes] | None = None) -> None:
        self._directory = str(directory)
        self._names = {name: File(content) for name, content in (files or {}).items()}
        self._flushed = dict(self._names)
        self._renamed: list[tuple[Name, ...]] = []
        self._open: dict[int, File | None] = {}  # None: the directory itself

    def do(self, call: Call) -> None:
        """Take part in the next call of the trace."""
        match call.operation:
            case "directory":
                if call.name == self._directory:
                    self._open[call.descriptor] = None
            case "open":
                self._open_file(call)
            case "close":
                self._open.pop(call.descriptor, None)
            case "write":
                self._file(call).do(Write(call.offset, call.data))
            case "size":
                self._file(call).do(Size(call.offset))
            case "sync":
                self._sync(call)
            case "unlink":
                self._name(Name(self._local(call.name), None))
            case "rename":
                old, new = self._local(call.name), self._local(call.data.decode())
                self._name(Name(old, None), Name(new, self._names[old]))
            case other:
                raise ValueError(f"the trace holds a call that is not known here: {other}")

    def _local(self, name: str) -> str:
        directory, _, local = name.rpartition("/")
        if directory != self._directory:
            raise ValueError(f"{name} is not in {self._directory}")
        return local

    def _open_file(self, call: Call) -> None:
        name = self._local(call.name)
        if name not in self._names:
            self._name(Name(name, File()))
        file = self._open[call.descriptor] = self._names[name]
        if call.offset & os.O_TRUNC:
            file.do(Size(0))

    def _file(self, call: Call) -> File:
        file = self._open[call.descriptor]
        assert file is not None, f"{call.operation} of a directory"
        return file

    def _name(self, *names: Name) -> None:
        _rename(self._names, names)
        self._renamed.append(names)

    def _sync(self, call: Call) -> None:
        if call.descriptor not in self._open:
            return  # a directory further up
        file = self._open[call.descriptor]
        if file is not None:
            file.flush()
            return
        self._flushed = dict(self._names)
        self._renamed = []

    def seen(self) -> dict[str, bytes]:
        """Every file as the process sees it."""
        return {name: bytes(file.seen()) for name, file in self._names.items()}

    def seen_file(self, name: str) -> bytes:
        """This file as the process sees it; empty if there is none."""
        file = self._names.get(name)
        return b"" if file is None else bytes(file.seen())

    def survivors(self, random: Random) -> dict[str, bytes]:
        """Every file that may be found after the loss of power, as it may be found."""
        names = dict(self._flushed)
        if self._renamed:
            keep = _manner(random, len(self._renamed))
            for place, renamed in enumerate(self._renamed):
                if keep(place):
                    _rename(names, renamed)
        return {name: bytes(file.survivor(random)) for name, file in names.items()}


def _rename(names: dict[str, File], changes: Iterable[Name]) -> None:
    for name, file in changes:
        if file is None:
            names.pop(name, None)
        else:
            names[name] = file


class Crash(NamedTuple):
    """A loss of power: its name, what is found afterwards, and what had been noted until then."""

    where: str
    files: dict[str, bytes]
    notes: bytes


def crashes(calls: Sequence[Call], directory: Path, count: int, seed: int) -> Iterator[Crash]:
    """So many losses of power, in the order of the trace of what was done to the directory, which was empty first."""
    times = Counter(_moments(calls, count, Random(seed)))
    disk = Disk(directory)
    for place, call in enumerate(calls):
        disk.do(call)
        for again in range(times[place]):
            where = f"{seed}/{place}/{again}"
            files = disk.survivors(Random(where))
            files.pop(NOTES, None)
            yield Crash(where, files, disk.seen_file(NOTES))


def _moments(calls: Sequence[Call], count: int, random: Random) -> Iterator[int]:
    """A third of them anywhere, a third next to calls of the rarer kinds, a third soon after a process began."""
    opened = [
        place for place, call in enumerate(calls) if call.operation == "open" and call.name.endswith(f"/{NOTES}")
    ]
    notes = {calls[place].descriptor for place in opened}
    rare = [place for place, call in enumerate(calls) if call.operation != "write" or call.descriptor in notes]
    for number in range(count):
        match number % 3:
            case 0:
                place = random.randrange(len(calls))
            case 1:
                place = random.choice(rare) + random.choice((-1, 0, 1))
            case _:
                place = random.choice(opened) + random.randrange(60)
        yield min(max(0, place), len(calls) - 1)


def written_to(directory: Path, files: dict[str, bytes]) -> None:
    """Make the directory hold these files and no others."""
    directory.mkdir(exist_ok=True)
    for file in directory.iterdir():
        file.unlink()
    for name, content in files.items():
        (directory / name).write_bytes(content)
