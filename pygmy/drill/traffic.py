"""Steady traffic: readers and buyers, each at a pace of its own, who insist until they are answered.

Every try and every request is remembered with its times; what was answered goes into the history for the checker.
"""

import itertools
import random
import threading
from collections.abc import Iterator, Sequence
from urllib.parse import quote

from msgspec import Struct

from pygmy.checker.history import Page, Read, Write
from pygmy.drill.answers import book_of, outcome_of, request_of
from pygmy.drill.history import Recorder, now
from pygmy.drill.shop import PRIVATE, Shop, Wares
from pygmy.drill.wire import ANSWERED, NONE, WRONG, Said, Wire
from pygmy.messages.operations import Line, NoSuchBook, Ordered, OutOfRange, Sell
from pygmy.private import Headers

GLANCE = "glance"  # what clients do who do not insist, at one node
AGAIN = 0.05  # seconds before the next try
READING, BUYING = ("lookup", "lookup", "lookup", "lookup", "search"), ("buy",)
# Of these a refusal leaves no record: it counts only if no earlier try can still take effect.
UNRECORDED = (NoSuchBook, OutOfRange)


class Try(Struct, frozen=True):
    """One try at one node."""

    kind: str
    door: str
    begun: float
    ended: float
    outcome: str


class Request(Struct, frozen=True):
    """A whole request, all its tries together. `answered`: by a definite answer; else its client gave up."""

    kind: str
    begun: float
    ended: float
    tries: int
    answered: bool

    @property
    def seconds(self) -> float:
        """How long its client waited."""
        return self.ended - self.begun


class Diary:
    """All that clients did, as it comes. Any thread may write."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.tries: list[Try] = []
        self.requests: list[Request] = []
        self.first_order: int | None = None  # the least number of an order of ours

    def bought(self, order: int) -> None:
        """An order of ours has this number."""
        self.first_order = order if self.first_order is None else min(self.first_order, order)

    def since(self, moment: float, kind: str) -> list[Request]:
        """The requests of a kind that ended after that moment."""
        return [one for one in self.requests.copy() if one.kind == kind and one.ended >= moment]

    def answered(self, moment: float, kind: str) -> list[Request]:
        """Those of them that were begun after it, too, and answered."""
        return [one for one in self.since(moment, kind) if one.answered and one.begun >= moment]


class Client:
    """One client, in whatever thread calls it. `patience`: seconds for which it insists; 0: one try is enough."""

    def __init__(
        self, name: str, store: Shop, diary: Diary, doors: Sequence[str], patience: float, prefix: str = ""
    ) -> None:
        self.name, self._prefix = name, prefix
        self._diary, self._patience = diary, patience
        self._wire = Wire(store)
        self._doors = itertools.cycle(doors)
        self._door = next(self._doors)
        self._keys = itertools.count()

    def close(self) -> None:
        """Hang up."""
        self._wire.close()

    def lookup(self, item: int) -> Read | None:
        """One look at a book; None: it was not answered."""
        for begun, said in self._insist("lookup", "GET", f"/books/{item}"):
            if said.outcome == ANSWERED and said.reply is not None:
                book = book_of(said.reply)
                version = (book.epoch, book.seq) if book else None
                read = Read(self.name, item, begun, now(), version, book)
                self._diary.recorder.add(read)
                return read
        return None

    def search(self, topic: str) -> Page | None:
        """All books of a topic."""
        for begun, said in self._insist("search", "GET", f"/books?topic={quote(topic)}"):
            if said.outcome == ANSWERED and said.reply is not None:
                shown = tuple((line["id"], line["title"]) for line in said.reply.json)
                page = Page(self.name, topic, 0, shown, "link" in said.reply.headers, begun, now())
                self._diary.recorder.add(page)
                return page
        return None

    def buy(self, item: int, quantity: int = 1, key: str | None = None) -> Write:
        """Under one key until it is answered; `answered` None: it never was. `key`: as it is after our prefix."""
        operation = Sell((Line(item, quantity),))
        key = self._prefix + (key or f"{self.name}-{next(self._keys)}")
        asked = request_of(operation)
        invoked, written = now(), None
        headers = {"Idempotency-Key": key}
        for number, (_, said) in enumerate(self._insist("buy", asked.method, asked.path, asked.body, headers)):
            if said.outcome != ANSWERED or said.reply is None:
                continue
            outcome = outcome_of(operation, said.reply)
            if outcome is not None and (number == 0 or not isinstance(outcome, UNRECORDED)):
                public = isinstance(outcome, Ordered)
                if isinstance(outcome, Ordered):
                    self._diary.bought(outcome.order.order_id)
                written = Write(self.name, f"c:{key}", operation, invoked, now(), outcome, public=public)
        written = written or Write(self.name, f"c:{key}", operation, invoked)
        self._diary.recorder.add(written)
        return written

    def _insist(
        self, kind: str, method: str, path: str, body: object = None, headers: Headers = NONE
    ) -> Iterator[tuple[float, Said]]:
        """Tries until one is answered, each with when it began. After one that is not the next door is tried."""
        first = now()
        kind = kind if self._patience else GLANCE
        for tries in itertools.count(1):
            begun = now()
            door = self._door
            said = self._wire.ask(door, method, path, body, headers)
            ended = now()
            self._diary.tries.append(Try(kind, door, begun, ended, said.outcome))
            if said.outcome == WRONG and said.reply is not None:
                told = f"{door} answered {method} {path} with {said.reply.status}: {said.reply.body[:200]!r}"
                self._diary.recorder.wrong(told)
            answered = said.outcome == ANSWERED
            over = answered or ended > first + self._patience
            if over:
                self._diary.requests.append(Request(kind, first, ended, tries, answered))
            yield begun, said
            if over:
                return
            self._door = next(self._doors)
            threading.Event().wait(AGAIN)


class Customer:
    """A client in a thread of its own, who does something so many times a second, or as often as it can."""

    def __init__(
        self,
        client: Client,
        rng: random.Random,
        kinds: Sequence[str],
        pace: float,
        wares: Wares,
        over: threading.Event,
    ) -> None:
        self._client, self._rng, self._kinds, self._pause, self._over = client, rng, kinds, 1 / pace, over
        self._wares = wares
        self.thread = threading.Thread(target=self._run, name=client.name, daemon=True)
        self.broke: Exception | None = None

    def _run(self) -> None:
        due = now() + self._rng.uniform(0, self._pause)
        try:
            while not self._over.wait(max(0.0, due - now())):
                self._step()
                due = max(now(), due + self._pause)
        except Exception as error:
            self.broke = error
        finally:
            self._client.close()

    def _step(self) -> None:
        kind = self._rng.choice(self._kinds)
        if kind == "search":
            self._client.search(self._rng.choice(self._wares.topics))
        elif kind == "lookup":
            self._client.lookup(self._rng.choice(self._wares.shelf))
        else:
            self._client.buy(self._rng.choice(self._wares.shelf), self._rng.choice((1, 1, 2)))


class Traffic:
    """All customers. They begin when they are added. `prefix`: of all their keys, where others have theirs."""

    def __init__(
        self,
        store: Shop,
        diary: Diary,
        seed: object,
        patience: float,
        wares: Wares = PRIVATE,
        prefix: str = "",
    ) -> None:
        self._store, self._diary, self._seed, self._patience = store, diary, seed, patience
        self.wares, self._prefix = wares, prefix
        self._over = threading.Event()
        self._customers: list[Customer] = []

    def add(self, kinds: Sequence[str], number: int, pace: float, doors: Sequence[str], insist: bool = True) -> None:
        """So many customers who do these things, each `pace` times a second."""
        for _ in range(number):
            name = f"{kinds[-1]}er-{len(self._customers)}"
            rng = random.Random(f"{self._seed} {name}")
            turn = len(self._customers) % len(doors)
            client = self.client(name, (*doors[turn:], *doors[:turn]), insist=insist)
            self._customers.append(Customer(client, rng, kinds, pace, self.wares, self._over))
            self._customers[-1].thread.start()

    def client(self, name: str, doors: Sequence[str], *, insist: bool = True) -> Client:
        """A client for a drill's own use."""
        return Client(name, self._store, self._diary, doors, self._patience if insist else 0.0, self._prefix)

    def stop(self, wait: float) -> None:
        """Nothing new; what is under way is given this long to end."""
        self._over.set()
        deadline = now() + wait
        for customer in self._customers:
            customer.thread.join(max(0.0, deadline - now()))
            if customer.broke is not None:
                self._diary.recorder.wrong(f"a client broke: {customer.broke!r}")
