"""The catalog's state machine: books, their prices and their stock."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Hashable, Iterable
from typing import Any, cast

from msgspec.structs import replace

from pygmy.messages.operations import (
    MOST_COPIES,
    AddBook,
    Book,
    Change,
    ChangeBook,
    NewBook,
    NoSuchBook,
    Opened,
    OpenStock,
    Operation,
    Outcome,
    OutOfRange,
    Recorded,
    RecordForced,
    RemoveBook,
    Removed,
    Row,
    Sell,
    Shelved,
    Short,
    Sold,
    SoldLine,
    SoldOut,
)
from pygmy.messages.replication import Version
from pygmy.state.machine import Journal

ALL_BOOKS = "books"


def item_key(item: int) -> str:
    """The cache key of a lookup."""
    return f"item {item}"


def topic_key(topic: str | None) -> str:
    """The cache key of a topic's list (None: of the list of all books)."""
    return ALL_BOOKS if topic is None else f"topic {topic}"


class Shelves(Journal):
    """Books by id, with the ids of each topic and of the whole store in order."""

    def __init__(self) -> None:
        super().__init__()
        self._ids: list[int] = []
        self._topics: dict[str, list[int]] = {}

    def load(self, rows: Iterable[tuple[Hashable, Row]], undo: Iterable[tuple[Hashable, Row | None]]) -> None:
        """As `Journal.load`, into empty shelves. At once: row by row it takes four times as long."""
        self._rows = dict(rows)
        self._before = dict(undo)
        topics = self._topics
        for item, row in cast("dict[int, Book]", self._rows).items():
            if not row.removed:
                self._ids.append(item)
                try:
                    topics[row.topic].append(item)
                except KeyError:
                    topics[row.topic] = [item]
        for ids in (self._ids, *topics.values()):
            ids.sort()

    def book(self, item: int) -> Book | None:
        """The book, unless there never was one or it is removed."""
        book = cast("Book | None", self._rows.get(item))
        return None if book is None or book.removed else book

    def next_id(self) -> int:
        """One more than the highest id ever used: a removed book's row stays, so that its id does."""
        return cast("int", next(reversed(self._rows), 0)) + 1

    def page(self, topic: str | None, after: int, limit: int) -> tuple[list[Book], bool]:
        """Up to `limit` books with id > `after`, by id, and whether there are more."""
        ids = self._ids if topic is None else self._topics.get(topic, [])
        start = bisect_right(ids, after)
        return [cast("Book", self._rows[i]) for i in ids[start : start + limit]], start + limit < len(ids)

    def all_rows(self) -> list[Book]:
        """Every row, the tombstones too, by id."""
        return [cast("Book", row) for row in self._rows.values()]

    def place(self, key: Hashable, row: Row | None) -> None:
        """Set the row and keep the two indexes true."""
        item = cast("int", key)
        old, new = self.book(item), cast("Book | None", row)
        super().place(key, row)
        if new is not None and new.removed:
            new = None
        if (old and old.topic) == (new and new.topic):
            return
        if old is not None:
            _discard(self._topics[old.topic], item)
            if not self._topics[old.topic]:
                del self._topics[old.topic]
        if new is not None:
            _insert(self._topics.setdefault(new.topic, []), item)
        if old is None:
            _insert(self._ids, item)
        elif new is None:
            _discard(self._ids, item)


def _insert(ids: list[int], item: int) -> None:
    if not ids or ids[-1] < item:  # as nearly always
        ids.append(item)
    else:
        insort(ids, item)


def _discard(ids: list[int], item: int) -> None:
    del ids[bisect_left(ids, item)]


class Stock:
    """The fold of the catalog's log. Rows are `Book`s; see `pygmy.state.machine.Machine` for the contract."""

    def __init__(self, rows: Iterable[Book] = (), undo: Iterable[tuple[int, Book | None]] = ()) -> None:
        self.shelves = Shelves()
        self.shelves.load(((row.item, row) for row in rows), undo)

    def begin(self) -> None:
        """Start a batch."""
        self.shelves.begin()

    def changes(self, seq: int) -> list[Change]:
        """What the batch has done to the books."""
        return self.shelves.changes(seq)

    def rollback(self) -> None:
        """Undo the batch begun last."""
        self.shelves.rollback()

    def touched(self) -> frozenset[str]:
        """Each changed book's key; of lists only those whose ids or titles changed."""
        keys: set[str] = set()
        topics: set[str] = set()
        for key, row in self.shelves.before().items():
            item = cast("int", key)
            keys.add(item_key(item))
            before = cast("Book | None", row)
            if before is not None and before.removed:
                before = None
            after = self.shelves.book(item)
            if before and after and (before.title, before.topic) == (after.title, after.topic):
                continue
            if before is not None:
                topics.add(before.topic)
            if after is not None:
                topics.add(after.topic)
        if topics:
            keys.add(ALL_BOOKS)
            keys.update(map(topic_key, topics))
        return frozenset(keys)

    def apply(self, op_id: str, operation: Operation, at: int, version: Version) -> Outcome:
        """Carry out one operation of the catalog."""
        match operation:
            case Sell():
                return self._sell(operation, version)
            case AddBook():
                return Shelved(self._add(operation.book, version))
            case ChangeBook():
                return self._change(operation, version)
            case RemoveBook():
                return self._remove(operation, version)
            case OpenStock():
                fresh = [book for book in operation.books if self.shelves.get(book.item) is None]
                for book in fresh:
                    self._add(book, version)
                return Opened(len(fresh))
            case RecordForced():
                return Recorded()
            case _:
                raise TypeError(f"not an operation of the catalog: {type(operation).__name__}")

    def _put(self, book: Book, version: Version, **changes: Any) -> Book:
        book = replace(book, epoch=version[0], seq=version[1], **changes)
        self.shelves.put(book.item, book)
        return book

    def _sell(self, operation: Sell, version: Version) -> Outcome:
        wanted: dict[int, int] = {}
        for line in operation.lines:
            wanted[line.item] = wanted.get(line.item, 0) + line.quantity
        books: list[tuple[Book, int]] = []
        unknown: list[int] = []
        short: list[Short] = []
        for item, quantity in wanted.items():
            book = self.shelves.book(item)
            if book is None:
                unknown.append(item)
            elif book.count < quantity:
                short.append(Short(item, book.count))
            else:
                books.append((book, quantity))
        if unknown:
            return NoSuchBook(tuple(unknown))
        if short:
            return SoldOut(tuple(short))
        sold: list[SoldLine] = []
        total = 0
        for book, quantity in books:
            left = book.count - quantity
            self._put(book, version, count=left)
            sold.append(SoldLine(book.item, quantity, book.cost, left))
            total += quantity * book.cost
        return Sold(tuple(sold), total)

    def _add(self, new: NewBook, version: Version) -> Book:
        item = new.item or self.shelves.next_id()
        book = Book(item, new.title, new.topic, new.cost, new.count, *version)
        self.shelves.put(item, book)
        return book

    def _change(self, change: ChangeBook, version: Version) -> Outcome:
        book = self.shelves.book(change.item)
        if book is None:
            return NoSuchBook((change.item,))
        count = book.count if change.count is None else change.count
        count += change.increment or 0
        if not 0 <= count <= MOST_COPIES:
            return OutOfRange(change.item, book.count)
        given = {"title": change.title, "topic": change.topic, "cost": change.cost}
        values = {name: value for name, value in given.items() if value is not None}
        return Shelved(self._put(book, version, count=count, **values))

    def _remove(self, operation: RemoveBook, version: Version) -> Outcome:
        book = self.shelves.book(operation.item)
        if book is None:
            return NoSuchBook((operation.item,))
        self._put(book, version, removed=True)
        return Removed(operation.item)
