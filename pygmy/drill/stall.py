"""Books of our own in a store that others run: added before a drill, removed after it."""

import contextlib
import secrets
from typing import Any

from pygmy.drill.answers import book_of
from pygmy.drill.foreign import ForeignStore
from pygmy.drill.shop import FEW, Wares
from pygmy.drill.wire import DEFINITE
from pygmy.messages.operations import Book
from pygmy.private import Headers, NeverCame, Reply, until

MANY = 100_000
TITLES = 3  # for buyers who ask for everything five times, and as many of which there are few
BOOK = 1  # what is bought where no book can be added


class Refused(Exception):
    """The store does not let us do it; str() has its words."""


class Stall:
    """Free of charge, so that they change no turnover. `token`: the shopkeeper's; `prefix` begins all our keys."""

    def __init__(self, store: ForeignStore, token: str, prefix: str, patience: float) -> None:
        self._store, self._prefix, self._patience = store, prefix, patience
        self._admin: Headers = {"Authorization": f"Bearer {token}"}
        self.topic = f"drill {prefix.rstrip('-')}"
        self.books: list[Book] = []

    def open(self) -> Wares:
        """Add the books. Raises Refused, NeverCame."""
        shelf, *own = (self._add(number, MANY) for number in range(1 + TITLES))
        few = [self._add(number, FEW) for number in range(1 + TITLES, 1 + 2 * TITLES)]
        return Wares([shelf], [self.topic], own, few, sole=True)

    def _add(self, number: int, count: int) -> int:
        title = f"Drill {number} (not for sale)"
        body = {"title": title, "topic": self.topic, "cost": 0, "count": count}
        reply = self._insist("POST", "/books", body, f"add-{number}")
        if reply.status != 201 or (book := book_of(reply)) is None:
            raise Refused(f"adding a book was answered with {reply.status} {_words(reply)}")
        self.books.append(book)
        return book.item

    def close(self) -> list[int]:
        """Remove the books; those that could not be removed."""
        left = []
        for book in self.books:
            with contextlib.suppress(NeverCame):
                if self._insist("DELETE", f"/books/{book.item}", None, f"remove-{book.item}").status in (204, 404):
                    continue
            left.append(book.item)
        return left

    def orders(self, after: int) -> tuple[Any, bool]:
        """A page of the orders after that number, as they are told, and whether there are more. Raises NeverCame."""
        reply = self._insist("GET", f"/orders?after={after}&limit=1000", None, "")
        if reply.status != 200:
            raise Refused(f"the orders were answered with {reply.status} {_words(reply)}")
        return reply.json, "link" in reply.headers

    def _insist(self, method: str, path: str, body: object, key: str) -> Reply:
        headers = {**self._admin, **({"Idempotency-Key": f"{self._prefix}{key}"} if key else {})}

        def look() -> Reply | None:
            reply = self._store.ask(method, path, body, headers, timeout=8.0)
            return reply if reply.status in DEFINITE or reply.status in (400, 401, 403) else None

        return until(look, f"an answer to {method} {path}", longest=self._patience)


def new_prefix() -> str:
    """Of the keys of one visit: nobody else has used them, nor will."""
    return f"drill-{secrets.token_hex(4)}-"


def _words(reply: Reply) -> str:
    try:
        return str(reply.json["detail"])
    except (ValueError, KeyError, TypeError):
        return ""
