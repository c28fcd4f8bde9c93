"""Histories: what clients asked and were told, and the logs that the store kept. As files, JSON lines.

Each line is an object whose `type` tells what it is (times are seconds of one clock, of any origin):

    {"type":"write","client":"c1","op_id":"c:k1","operation":{"type":"sell","lines":[{"item":1,"quantity":2}]},
     "invoked":1.25,"answered":1.31,"outcome":{"type":"sold",...},"version":[1,7],"index":0}
    {"type":"read","client":"c2","item":1,"invoked":1.4,"answered":1.41,"version":[1,7],"book":{"item":1,...}}
    {"type":"list","client":"c2","topic":"t","after":0,"books":[[1,"a"]],"more":false,"invoked":1.4,"answered":1.5}
    {"type":"orders","client":"c2","after":0,"orders":[...],"more":false,"invoked":1.5,"answered":1.52}
    {"type":"logged","tier":"catalog","version":[1,7],"index":0,"entry":{"op_id":"c:k1",...}}
    {"type":"stock","node":"catalog-0","books":[...]}

`write`: one operation from its first try to its first definite answer. A purchase through both tiers is a `sell`
whose outcome, when it succeeded, is `ordered`. `answered` null: its client never learned what came of it; whether it
took effect is looked up in the log. `version` and `index` say where the answer claims to stand in the log (null: it
does not say).  `list`: one page of a topic's list (null: of the list of all books), as ids and titles.  It carries no
version, for no answer does: it has to be the list as it stood after some batch, before any or between two, and that
moment must agree with real time as that of a `read` must.  How many books were asked for does not matter: with `more`
there must have been a further one, without it none.  `logged`: every entry of both logs, in order.  `stock`: the
books as a copy holds them at the end.

`public` true, of a `write` or of `orders`, says that the orders in it are as the public interface tells them: their
times (`at`) in whole seconds, and without an op_id.
"""

from collections.abc import Iterable, Iterator
from typing import BinaryIO

import msgspec
from msgspec import Struct

from pygmy.messages.operations import Book, Operation, Order, Outcome, Tier
from pygmy.messages.replication import Entry, Version


class Write(Struct, frozen=True, tag="write"):
    """One operation, from its first try to its first definite answer (None: there never was one)."""

    client: str
    op_id: str
    operation: Operation
    invoked: float
    answered: float | None = None
    outcome: Outcome | None = None
    version: Version | None = None
    index: int | None = None
    public: bool = False


class Read(Struct, frozen=True, tag="read"):
    """One answered look at a book (None: there is no such book)."""

    client: str
    item: int
    invoked: float
    answered: float
    version: Version | None = None
    book: Book | None = None


class Page(Struct, frozen=True, tag="list"):
    """One answered look at a topic's books (None: at all) with id > `after`; `more`: there were further ones."""

    client: str
    topic: str | None
    after: int
    books: tuple[tuple[int, str], ...]
    more: bool
    invoked: float
    answered: float


class Orders(Struct, frozen=True, tag="orders"):
    """One answered look at the orders with id > `after`; `more`: there were further ones."""

    client: str
    after: int
    orders: tuple[Order, ...]
    more: bool
    invoked: float
    answered: float
    public: bool = False


class Logged(Struct, frozen=True, tag="logged"):
    """One entry of a tier's log."""

    tier: Tier
    version: Version
    index: int
    entry: Entry


class Stock(Struct, frozen=True, tag="stock"):
    """All books that one copy holds at the end, removed ones too or not."""

    node: str
    books: tuple[Book, ...]


Record = Write | Read | Page | Orders | Logged | Stock

_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Record)


class HistoryError(ValueError):
    """A line is not what it must be; str() names it."""


def dump(records: Iterable[Record], file: BinaryIO) -> None:
    """Write a history as JSON lines."""
    file.writelines(_ENCODER.encode(record) + b"\n" for record in records)


def load(file: BinaryIO) -> Iterator[Record]:
    """Read a history. `HistoryError` names the first line that is wrong."""
    for number, line in enumerate(file, 1):
        if line.strip():
            try:
                yield _DECODER.decode(line)
            except msgspec.DecodeError as error:
                raise HistoryError(f"line {number}: {error}") from None
