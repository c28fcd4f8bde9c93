"""The stock that one node was given for an empty catalog, and the memory of a catalog having been opened with it.

To read 100,000 books and check each takes a second or two. A node that starts again, in a catalog that was opened
with this very file long ago, need not do so: its bytes are the same.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

import msgspec

from pygmy.messages.operations import NewBook, OpenStock
from pygmy.opening import load_books, parse_books, parts, read_books

GROUP_BYTES = 512 * 1024
_REMEMBERED = re.compile(r"([0-9a-f]{32}) ([1-9][0-9]{0,8})\n")


class Opening:
    """An opening stock as the operations that put it on the shelves.

    `remembered`: how many operations those are, where a catalog was opened with them once (None: not known to have
    been). Whether this catalog was is for its log to tell.
    """

    def __init__(
        self,
        load: Callable[[], tuple[OpenStock, ...]],
        remembered: int | None = None,
        remember: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._load = load
        self.remembered = remembered
        self._remember = remember

    def operations(self) -> tuple[OpenStock, ...]:
        """See `pygmy.opening.parts`. BooksError where the file is read only now, and has changed."""
        return self._load()

    def opened(self, count: int) -> None:
        """A catalog has been opened with this stock, by so many operations: remember that for the next start."""
        if self.remembered != count:
            self.remembered = count
            self._remember(count)


def together(operations: Sequence[OpenStock]) -> Iterator[tuple[int, ...]]:
    """Which of these operations, by number, to ask for at once: commits cost less that way.

    What goes at once goes into one batch, and must fit into one message. The first operation and the last go alone:
    the first tells whether there is anything to do, and whoever finds the last may rely on all others.
    """
    last = len(operations) - 1
    group: list[int] = []
    size = 0
    for number, operation in enumerate(operations):
        more = len(msgspec.json.encode(operation))
        if group and (number in (1, last) or size + more > GROUP_BYTES):
            yield tuple(group)
            group, size = [], 0
        group.append(number)
        size += more
    if group:
        yield tuple(group)


def opening(books: Iterable[NewBook]) -> Opening:
    """Of these books, of which nothing is remembered."""
    operations = parts(books)
    return Opening(lambda: operations)


def opening_of(path: str | None, memory: Path) -> Opening:
    """The opening stock in the file at `path` (None: the packaged one). `memory`: where this node remembers it.

    BooksError as `load_books`, unless a catalog was opened with a file of the same bytes.
    """
    if path is None:
        return opening(load_books(None))
    data = read_books(path)
    digest = _digest(data, path)

    def remember(count: int) -> None:
        # Whatever becomes of it, in a power cut or on a full disk, costs the next start a second and no more.
        with suppress(OSError):
            memory.write_text(f"{digest} {count}\n")

    count = _recall(memory, digest)
    if count is not None:
        return Opening(lambda: parts(load_books(path)), count, remember)
    operations = parts(parse_books(data, path, Path(path).suffix))
    return Opening(lambda: operations, None, remember)


def check_stock(path: str, memories: Iterable[Path]) -> None:
    """BooksError as `load_books`, unless one of these memories is of a file of the same bytes."""
    data = read_books(path)
    digest = _digest(data, path)
    if all(_recall(memory, digest) is None for memory in memories):
        parse_books(data, path, Path(path).suffix)


def _digest(data: bytes, path: str) -> str:
    return blake2b(Path(path).suffix.encode() + b"\0" + data, digest_size=16).hexdigest()


def _recall(memory: Path, digest: str) -> int | None:
    try:
        found = _REMEMBERED.fullmatch(memory.read_text())
    except (OSError, UnicodeDecodeError):
        return None
    return int(found.group(2)) if found is not None and found.group(1) == digest else None
