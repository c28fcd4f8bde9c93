"""Lists of books through time, out of the shelves of a replay: in which gaps of the log a page was the truth.

A page is judged by what it shows, ids and titles: its book with the highest id (or, with no more to come, the end of
the list) bounds what it tells of.  A batch is one step: nobody may see a list as it was in the middle of it.
"""

from bisect import bisect_right
from collections.abc import Mapping

from msgspec import Struct

from pygmy.checker.history import Page
from pygmy.checker.linear import INFINITY
from pygmy.checker.replay import Shelf
from pygmy.messages.operations import Book
from pygmy.messages.replication import Version


class _Step(Struct):
    """What one batch does to a list: the places where that begins and ends, and titles by id (None: gone)."""

    first: int
    last: int
    titles: dict[int, str | None]


_Steps = dict[Version, _Step]
_Shown = tuple[str | None, int, tuple[tuple[int, str], ...], bool]


class Lists:
    """Every topic's list, and (topic None) that of all books. O(steps of the list) for each page that differs."""

    def __init__(self, shelves: Mapping[int, Shelf]) -> None:
        self._steps: dict[str | None, _Steps] = {}
        self._spans: dict[_Shown, list[tuple[int, float]]] = {}
        for item, shelf in shelves.items():
            self._take(item, shelf)

    def spans(self, page: Page) -> list[tuple[int, float]]:
        """Each [first gap, first gap no more) in which the page was the truth, in order."""
        shown = (page.topic, page.after, page.books, page.more)
        if shown not in self._spans:
            self._spans[shown] = self._find(page)
        return self._spans[shown]

    def _take(self, item: int, shelf: Shelf) -> None:
        before, first = None, 0
        for version, number in shelf.by_version.items():
            after = shelf.rows[number]
            for topic in _lists_of(before) | _lists_of(after):
                was, title = _title_in(topic, before), _title_in(topic, after)
                if was != title:
                    self._add(topic, version, _Step(shelf.places[first], shelf.places[number], {item: title}))
            before, first = after, number + 1

    def _add(self, topic: str | None, version: Version, step: _Step) -> None:
        there = self._steps.setdefault(topic, {}).setdefault(version, step)
        there.first, there.last = min(there.first, step.first), max(there.last, step.last)
        there.titles.update(step.titles)

    def _find(self, page: Page) -> list[tuple[int, float]]:
        wanted = dict(page.books)
        if list(wanted) != sorted(item for item, _ in page.books):
            return []  # not in order, or one of them twice
        bound = page.books[-1][0] if page.more and page.books else INFINITY
        wrong, beyond = set(wanted), set[int]()  # ids that differ from what is shown; ids that come after it
        spans: list[tuple[int, float]] = []
        begun: int | None = 0 if _fits(page, wrong, beyond) else None
        for _, step in sorted(self._steps.get(page.topic, {}).items()):
            for item, title in step.titles.items():
                if page.after < item <= bound:
                    (wrong.discard if title == wanted.get(item) else wrong.add)(item)
                elif item > bound:
                    (beyond.discard if title is None else beyond.add)(item)
            fits = _fits(page, wrong, beyond)
            if begun is not None and not fits:
                spans.append((begun, step.first))
                begun = None
            elif begun is None and fits:
                begun = step.last
        return spans if begun is None else [*spans, (begun, INFINITY)]


def earliest_in(spans: list[tuple[int, float]], gap: int) -> int | None:
    """The first gap from this one on that lies in a span."""
    number = bisect_right(spans, (gap, INFINITY)) - 1
    if number >= 0 and gap < spans[number][1]:
        return gap
    return spans[number + 1][0] if number + 1 < len(spans) else None


def _fits(page: Page, wrong: set[int], beyond: set[int]) -> bool:
    return not wrong and bool(beyond) == page.more


def _lists_of(book: Book | None) -> set[str | None]:
    return {None, book.topic} if book else set()


def _title_in(topic: str | None, book: Book | None) -> str | None:
    return book.title if book and topic in (None, book.topic) else None
