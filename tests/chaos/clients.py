"""Buyers, shopkeepers and readers: threads that ask, ask again under the same key, and write down what they saw."""

import http.client
import json
import random
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from pygmy.checker.history import Orders, Page, Read, Write
from pygmy.drill.answers import book_of, order_of, outcome_of, request_of
from pygmy.drill.history import Recorder, now
from pygmy.messages.operations import (
    AddBook,
    Book,
    ChangeBook,
    Line,
    NewBook,
    NoSuchBook,
    Operation,
    Ordered,
    Outcome,
    OutOfRange,
    RemoveBook,
    Sell,
    Shelved,
    SoldOut,
)
from pygmy.private import LONGEST, Reply
from tests.chaos.store import Store

TOPICS = ("fiction", "cookery")
HOT, SCARCE, PLENTY = (1,), (2, 3, 4), (5, 6, 7, 8)
COPIES = {**dict.fromkeys(HOT, 5), **dict.fromkeys(SCARCE, 60), **dict.fromkeys(PLENTY, 10_000_000)}
BOOKS: list[dict[str, object]] = [
    {"id": item, "title": f"Book {item}", "topic": TOPICS[item % 2], "cost": 10.25 + item, "count": count}
    for item, count in COPIES.items()
]
# Of these a refusal leaves no record: it counts only if no earlier try can still take effect.
UNRECORDED = (NoSuchBook, OutOfRange)
NONE: Mapping[str, str] = {}
EXPECTED = frozenset({200, 201, 204, 304, 404, 409, 422, 503})
WRITES = {"buy": 60, "basket": 12, "restock": 12, "alter": 4, "shelve": 3, "again": 6, "misuse": 3}
READS = {"book": 76, "books": 16, "orders": 8}


class Connections:
    """One client's connections, one to each node that it has talked to."""

    def __init__(self, store: Store, recorder: Recorder, rng: random.Random) -> None:
        self._store, self._recorder, self._rng = store, recorder, rng
        self._open: dict[str, http.client.HTTPConnection] = {}

    def ask(
        self, name: str, method: str, path: str, body: Any = None, headers: Mapping[str, str] = NONE
    ) -> Reply | None:
        """The answer; None if none came, or none in the time that this client had."""
        timeout = self._rng.choice([0.7, 2.0, 6.0, 6.0])
        data = None if body is None else json.dumps(body).encode()
        fields = dict(headers) if body is None else {"Content-Type": "application/json", **headers}
        connection = self._open.pop(name, None) or http.client.HTTPConnection(
            "127.0.0.1", self._store.node(name).port
        )
        connection.timeout = timeout
        try:
            if connection.sock is not None:
                connection.sock.settimeout(timeout)
            connection.request(method, path, data, fields)
            response = connection.getresponse()
            reply = Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            self._recorder.count(_how(error))
            return None
        self._open[name] = connection
        self._recorder.count(f"{reply.status}{' unknown' if b'outcome_unknown' in reply.body else ''}")
        if reply.status not in EXPECTED:
            self._recorder.wrong(f"{name} answered {method} {path} with {reply.status}: {reply.body[:300]!r}")
        return reply

    def close(self) -> None:
        for connection in self._open.values():
            connection.close()


def _how(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    return "no answer in time" if isinstance(error, TimeoutError) else "connection lost"


class Shop:
    """What clients know in common: the store, the keys that were used, the books that were added."""

    def __init__(self, store: Store, recorder: Recorder, seed: int, patience: float) -> None:
        self.store, self.recorder, self.seed, self.patience = store, recorder, seed, patience
        self.used: deque[tuple[str, Operation]] = deque(maxlen=300)
        self.added: deque[int] = deque(maxlen=5)
        self.last_order = 0
        self.over = threading.Event()
        self.healed: float | None = None  # when

    @property
    def late(self) -> bool:
        """True when everything has been well for so long that nothing may be left unanswered."""
        return self.healed is not None and now() > self.healed + self.patience


class Client:
    """One client. `pause`: seconds between its steps, on average."""

    def __init__(self, shop: Shop, number: int, kinds: Mapping[str, int], pause: float) -> None:
        self.name = f"c{number}"
        self._shop, self._kinds, self._pause = shop, kinds, pause
        self._rng = random.Random(f"{shop.seed} {number}")
        self._connections = Connections(shop.store, shop.recorder, self._rng)
        self._count = 0
        self._known: dict[int, tuple[str, Book]] = {}  # by book: the last ETag, and what it stood for
        cluster = shop.store.cluster
        self._frontends = [node.name for node in cluster.frontends]
        self._catalogs = [node.name for node in cluster.catalogs]
        self._orders = [node.name for node in cluster.orders]
        self.thread = threading.Thread(target=self._run, name=self.name, daemon=True)

    def _run(self) -> None:
        try:
            while not self._shop.over.wait(self._rng.expovariate(1 / self._pause)):
                (kind,) = self._rng.choices(list(self._kinds), list(self._kinds.values()))
                step: Callable[[], object] = getattr(self, kind)
                step()
        except Exception as error:
            self._shop.recorder.wrong(f"client {self.name} broke: {error!r}")
            raise
        finally:
            self._connections.close()

    def _item(self) -> int:
        (shelf,) = self._rng.choices([HOT, SCARCE, PLENTY, tuple(self._shop.added) or PLENTY], [40, 20, 35, 5])
        return self._rng.choice(shelf)

    # ---- writes

    def buy(self) -> None:
        self.write(Sell((Line(self._item(), self._rng.choice([1, 1, 1, 2, 3])),)))

    def basket(self) -> None:
        items = self._rng.sample([*HOT, *SCARCE, *PLENTY], self._rng.randint(1, 3))
        self.write(Sell(tuple(Line(item, self._rng.choice([1, 2])) for item in items), True))

    def restock(self) -> None:
        item = self._rng.choice([*HOT, *HOT, *SCARCE])
        self.write(ChangeBook(item, increment=self._rng.choice([4, 8, 20, -1])))

    def alter(self) -> None:
        item, number = self._rng.choice([*HOT, *SCARCE, *PLENTY]), f"{self.name}-{self._count}"
        change = ChangeBook(item, cost=self._rng.randint(100, 5000))
        renamed = ChangeBook(item, title=f"Book {item}, {number}")
        moved = ChangeBook(item, topic=self._rng.choice(TOPICS), count=self._rng.choice([5, 60]))
        self.write(self._rng.choice([change, renamed, moved] if item not in PLENTY else [change, renamed]))

    def shelve(self) -> None:
        if self._shop.added and self._rng.random() < 0.6:
            self.write(RemoveBook(self._rng.choice(list(self._shop.added))))
        else:
            self.write(AddBook(NewBook(f"New {self.name}-{self._count}", self._rng.choice(TOPICS), 725, 3)))

    def again(self) -> None:
        """The same request under the same key has the same answer for ever."""
        if self._shop.used:
            key, operation = self._rng.choice(list(self._shop.used))
            self.write(operation, key)

    def misuse(self) -> None:
        """Another request under a used key has no effect."""
        if self._shop.used:
            key, _ = self._rng.choice(list(self._shop.used))
            self.write(Sell((Line(self._rng.choice(PLENTY), self._rng.randint(500, 1000)),)), key)

    def write(self, operation: Operation, key: str | None = None) -> Write:
        """Until there is a definite answer, through one door after the other; a few give up before."""
        self._count += 1
        own = key is None
        key = key or f"{self._shop.seed}-{self.name}-{self._count}"
        most = self._rng.choice([1, 2]) if self._rng.random() < 0.1 else 1_000_000
        written = self._until_answered(operation, key, most)
        self._shop.recorder.add(written)
        if written.outcome is not None and not isinstance(written.outcome, UNRECORDED):
            self._remember(key, written, own)
        return written

    def _remember(self, key: str, written: Write, own: bool) -> None:
        if own:
            self._shop.used.append((key, written.operation))
        if isinstance(written.outcome, Ordered):
            self._shop.last_order = max(self._shop.last_order, written.outcome.order.order_id)
        if isinstance(written.outcome, Shelved) and isinstance(written.operation, AddBook):
            self._shop.added.append(written.outcome.book.item)
        if own and isinstance(written.outcome, Ordered | Shelved) and written.answered is not None:
            self._shop.recorder.took_effect(written.answered)

    def _until_answered(self, operation: Operation, key: str, most: int) -> Write:
        asked = request_of(operation)
        invoked, tries = now(), 0
        while tries < most:
            if self._shop.late:
                self._shop.recorder.wrong(
                    f"{key} has no answer {self._shop.patience:g} s after everything was healed"
                )
                break
            name, headers = self._door(operation)
            tries += 1
            headers = {**headers, "Idempotency-Key": key, "X-Request-ID": f"{key}-{tries}"}
            reply = self._connections.ask(name, asked.method, asked.path, asked.body, headers)
            answered = now()
            outcome = None if reply is None else outcome_of(operation, reply)
            if outcome is not None and (tries == 1 or not isinstance(outcome, UNRECORDED)):
                return self._written(operation, key, invoked, answered, outcome)
            if isinstance(outcome, UNRECORDED) and tries > 5:
                break  # it was refused again and again, which proves nothing
            self._shop.over.wait(self._rng.uniform(0.02, 0.3))
        return self._written(operation, key, invoked, None, None)

    def _written(
        self, operation: Operation, key: str, invoked: float, answered: float | None, outcome: Outcome | None
    ) -> Write:
        public = isinstance(outcome, Ordered)
        return Write(self.name, f"c:{key}", operation, invoked, answered, outcome, public=public)

    def _door(self, operation: Operation) -> tuple[str, Mapping[str, str]]:
        """Where to try next, and with which secret."""
        store = self._shop.store
        if isinstance(operation, Sell):
            if self._rng.random() < 0.15:
                return self._rng.choice(self._orders), store.member
            return self._rng.choice(self._frontends), {}
        if isinstance(operation, ChangeBook) and self._rng.random() < 0.2:
            return self._rng.choice(self._catalogs), store.admin
        return self._rng.choice(self._frontends), store.admin

    # ---- reads

    def _reader_door(self) -> str:
        return self._rng.choice(self._frontends if self._rng.random() < 0.8 else self._catalogs)

    def book(self) -> Read | None:
        return self.look(self._item(), self._reader_door())

    def look(self, item: int, name: str) -> Read | None:
        """One look at a book, now and then only to ask whether it has changed."""
        known = self._known.get(item) if self._rng.random() < 0.15 else None
        headers = {"If-None-Match": known[0]} if known else {}
        invoked = now()
        reply = self._connections.ask(name, "GET", f"/books/{item}", None, headers)
        answered = now()
        if reply is None or reply.status not in (200, 304, 404):
            return None
        book = known[1] if known and reply.status == 304 else book_of(reply)
        if book is not None:
            self._known[item] = (reply.headers["etag"], book)
        version = (book.epoch, book.seq) if book else None
        read = Read(self.name, item, invoked, answered, version, book)
        self._shop.recorder.add(read)
        return read

    def books(self) -> None:
        topic = self._rng.choice([*TOPICS, None])
        after, limit = self._rng.choice([(0, 100), (0, 100), (0, 3), (3, 3)])
        words = [f"topic={quote(topic)}"] if topic else []
        words += [f"after={after}", f"limit={limit}"] if (after, limit) != (0, 100) else []
        path = "/books" + ("?" + "&".join(words) if words else "")
        invoked = now()
        reply = self._connections.ask(self._reader_door(), "GET", path)
        answered = now()
        if reply is None or reply.status != 200:
            return
        shown = tuple((line["id"], line["title"]) for line in reply.json)
        more = "link" in reply.headers
        if len(shown) > limit or (more and len(shown) < limit):
            self._shop.recorder.wrong(f"{path} was answered with {len(shown)} books (more: {more})")
        self._shop.recorder.add(Page(self.name, topic, after, shown, more, invoked, answered))

    def orders(self) -> None:
        name = self._rng.choice(self._frontends + self._orders)
        after = max(0, self._shop.last_order - self._rng.choice([0, 5, 40]))
        limit = self._rng.choice([5, 100])
        invoked = now()
        reply = self._connections.ask(
            name, "GET", f"/orders?after={after}&limit={limit}", None, self._shop.store.admin
        )
        answered = now()
        if reply is None or reply.status != 200:
            return
        found = tuple(map(order_of, reply.json))
        more = "link" in reply.headers
        self._shop.recorder.add(Orders(self.name, after, found, more, invoked, answered, public=True))


class Crowd:
    """All clients at work, with about `rate` requests a second in all."""

    def __init__(
        self, store: Store, recorder: Recorder, seed: int, rate: float, patience: float = LONGEST, each: int = 6
    ) -> None:
        self.shop = Shop(store, recorder, seed, patience)
        pause = 2 * each / rate
        self._clients = [
            Client(self.shop, number, kinds, pause) for number, kinds in enumerate([WRITES] * each + [READS] * each)
        ]

    def start(self) -> None:
        for client in self._clients:
            client.thread.start()

    def finish(self) -> None:
        """Let everybody bring to an end what is under way; there is a limit to that once all is healed."""
        self.shop.over.set()
        for client in self._clients:
            client.thread.join(2 * LONGEST)
            if client.thread.is_alive():
                self.shop.recorder.wrong(f"client {client.name} does not come to an end")

    def probe(self) -> list[str]:
        """One purchase and one look-up through each front end: what went wrong with them."""
        prober = Client(self.shop, 1000, READS, 1.0)
        problems = []
        for node in self.shop.store.cluster.frontends:
            item = PLENTY[0]
            operation = Sell((Line(item, 1),))
            asked = request_of(operation)
            invoked, key = now(), f"{self.shop.seed}-probe-{node.name}"
            try:
                reply = self.shop.store.post(node.name, asked.path, asked.body, {"Idempotency-Key": key})
                outcome = outcome_of(operation, reply)
            except (OSError, http.client.HTTPException) as error:
                problems.append(f"a purchase through {node.name} after everything was healed: {error!r}")
                continue
            if not isinstance(outcome, Ordered | SoldOut):
                problems.append(f"a purchase through {node.name} after everything was healed: {reply}")
                continue
            write = Write("probe", f"c:{key}", operation, invoked, now(), outcome, public=True)
            self.shop.recorder.add(write)
            if prober.look(item, node.name) is None:
                problems.append(f"a look-up through {node.name} after everything was healed was not answered")
        return problems
