"""The catalog's ledger on replicas: reads from the rows in memory, under the read lease."""

from typing import Any, cast

from twisted.internet.defer import Deferred, fail

from pygmy.database import Boot, Store
from pygmy.errors import unavailable
from pygmy.ledger.driver import Driver, Place
from pygmy.ledger.seam import Read
from pygmy.messages.internal import Sale, Session
from pygmy.messages.operations import Book
from pygmy.state.stock import Stock, item_key, topic_key


class ReplicatedCatalog(Driver):
    """A `CatalogLedger`."""

    def __init__(self, place: Place, store: Store, boot: Boot, *args: Any, **settings: Any) -> None:
        books = (row for row in boot.rows if isinstance(row, Book))
        undo = ((int(u.key), cast("Book | None", u.before)) for u in boot.undo)
        self._stock = Stock(books, undo)
        super().__init__(place, store, boot, self._stock, *args, **settings)

    def read(self, items: tuple[int, ...], holder: str = "") -> Deferred[Read[Book | None]]:
        """These books, as a snapshot."""
        keys = frozenset(map(item_key, items))

        def now() -> Read[Book | None]:
            rows = tuple(self._stock.shelves.book(item) for item in items)
            return Read(rows, *self._let(holder if any(rows) else "", keys))

        return self._when_readable(keys, now)

    def page(self, topic: str | None, after: int, limit: int, holder: str = "") -> Deferred[Read[Book]]:
        """Books of one topic (None: of all), by id."""
        keys = frozenset({topic_key(topic)})

        def now() -> Read[Book]:
            rows, more = self._stock.shelves.page(topic, after, limit)
            return Read(tuple(rows), *self._let(holder if rows else "", keys), more)

        return self._when_readable(keys, now)

    def table(self) -> Deferred[Read[Book]]:
        """Every row, tombstones too, by id."""
        return self._when_readable(frozenset(), lambda: Read(tuple(self._stock.shelves.all_rows())))

    def renew(self, holder: str, session: Session | None) -> tuple[Session, float] | None:
        """Extend a front end's session; None: no answer just now."""
        return self.replica.renew(holder, session, self._now())

    def sales(self, after: int, until: int, limit: int) -> Deferred[tuple[tuple[Sale, ...], int]]:
        """Committed sales after a seq, made by `until`."""
        chosen = self.replica.chosen(self._now())
        if chosen is None:
            return fail(unavailable(self.replica.why()))
        return self._store.sales(after, until, chosen, limit)

    def _let(self, holder: str, keys: frozenset[str]) -> tuple[Session | None, float]:
        """What is not there is not let: strangers may ask for any number of such things."""
        return self.replica.fill(holder, keys, self._now()) if holder else (None, 0.0)
