"""Clients: they read, buy, restock, add and remove, try again under the same key, and write down what they saw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from pygmy.balancing.forwarding import Errand, Reply
from pygmy.caching.cache import BookOf, PageOf, Stored, Thing
from pygmy.checker.history import Orders as OrdersSeen
from pygmy.checker.history import Page, Read, Write
from pygmy.errors import Problem
from pygmy.messages.internal import (
    Bought,
    Buy,
    Call,
    Execute,
    Executed,
    Fill,
    Keyed,
    List,
    Listed,
    Orders,
    Refused,
)
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
    RemoveBook,
    Result,
    Reused,
    Sell,
    Short,
    SoldOut,
)
from pygmy.peers import problem_of
from tests.simulation.process import CatalogProcess, FrontEndProcess, OrderProcess, Process

if TYPE_CHECKING:
    from tests.simulation.cluster import Simulation

TRY_AGAIN = 0.25
MOST_TRIES = 9

Books = tuple[tuple[tuple[int, str], ...], bool]  # (ids and titles, whether there are more)


class Task:
    """One operation of a client: what it asks, and what it was told first."""

    def __init__(self, number: int, operation: Operation | None, op_id: str, invoked: float) -> None:
        self.client, self.operation, self.op_id, self.invoked = f"c{number}", operation, op_id, invoked
        self.tries = 0
        self.most_tries = MOST_TRIES
        self.most_looks = 3
        self.done = False


class Clients:
    """All clients of a history; `records` is what they saw."""

    def __init__(self, sim: Simulation, rate: float) -> None:
        self.sim, self.world, self._rate = sim, sim.world, rate
        self._told: dict[Task, tuple[Task, Write | None]] = {}
        self._recent: list[Task] = []
        self._reads: list[Read | Page | OrdersSeen] = []
        self._count = 0
        self.stopped = False

    def records(self) -> list[Any]:
        """The history as the clients know it."""
        told = [
            seen or Write(task.client, task.op_id, task.operation, task.invoked)
            for task, seen in self._told.values()
            if task.operation is not None
        ]
        return [*told, *self._reads]

    # ---- what to do

    @property
    def acknowledged(self) -> int:
        """How many writes and reads have been answered."""
        return sum(seen is not None for _, seen in self._told.values()) + len(self._reads)

    def start(self) -> None:
        self._tick()

    def _tick(self) -> None:
        if not self.stopped:
            random = self.world.random
            kinds = ["read", "buy", "crowd", "basket", "restock", "orders", "shelve", "browse"]
            weights = [10, 6, 0.5, 2, 1.6, 0.8 if self.sim.cluster.orders else 0, 0.8, 4]
            if self.sim.shape.hot:
                weights = [70, 6, 0.5, 0, 5, 0, 1, 15]
            kind = random.choices(kinds, weights)[0]
            getattr(self, kind)()
            self.world.at(random.expovariate(self._rate), self._tick)

    def _item(self) -> int:
        return self.world.random.choice(self.sim.items)

    def _task(self, operation: Operation | None) -> Task:
        self._count += 1
        return Task(self._count, operation, f"c:{self._count}", self.world.now)

    def read(self) -> Task:
        task = self._task(None)
        self._look(task, BookOf(self._item()))
        return task

    def browse(self) -> Task:
        """A look at a list: mostly at all of it, sometimes page by page."""
        random = self.world.random
        task = self._task(None)
        topic = random.choice(["t1", "t1", "t2", None])
        self._look(task, PageOf(topic, *random.choice([(0, 100), (0, 100), (0, 2), (2, 2)])))
        return task

    def read_one(self, item: int) -> Task:
        """A look that is sure to have an answer: nobody removes the first books."""
        task = self._task(None)
        task.most_looks = 100  # a disk may be late, and a member removed for it, after everything works again
        self._look(task, BookOf(item))
        return task

    def buy_one(self, item: int) -> Task:
        """A purchase that is sure to have an answer."""
        return self.write(self._task(Sell((Line(item, 1),))))

    def orders(self) -> Task:
        task = self._task(None)
        self._look_at_orders(task)
        return task

    def buy(self) -> Task:
        random = self.world.random
        task = self._task(Sell((Line(self._item(), random.choice([1, 1, 2])),)))
        if self._recent and random.random() < 0.03:  # misuse: another request under a used key
            task.op_id = random.choice(self._recent[-40:]).op_id
            task.operation = Sell((Line(self._item(), 1000 + self._count),))
        if random.random() < 0.3:  # some give up soon
            task.most_tries = random.choice([1, 2])
        return self.write(task)

    def crowd(self) -> None:
        """Some buy at one moment at one server, so that they go together from there on."""
        random = self.world.random
        node = self._choose(random.choice([OrderProcess, FrontEndProcess])) if self.sim.cluster.orders else None
        for _ in range(random.choice([2, 3, 5])):
            self.write(self._task(Sell((Line(self._item(), random.choice([1, 1, 2, 1000])),))), node)

    def basket(self) -> Task:
        items = self.world.random.sample(self.sim.items[:3], 2)
        return self.write(self._task(Sell(tuple(Line(item, 1) for item in items), True)))

    def restock(self) -> Task:
        increment = self.world.random.choice([3, 3, 3, -1])
        return self.write(self._task(ChangeBook(self._item(), increment=increment)))

    def shelve(self) -> Task:
        random = self.world.random
        number = self._count
        last = self.sim.items[-1]
        operation: Operation = random.choice(
            [
                AddBook(NewBook(f"new {number}", random.choice(["t1", "t2"]), 500, 2)),
                RemoveBook(random.choice([last, last + 1, last + 2])),  # those that came later, too, if they did
                ChangeBook(self._item(), topic=random.choice(["t1", "t2"]), cost=random.randrange(100, 900)),
                ChangeBook(self._item(), title=f"renamed {number}"),
            ]
        )
        return self.write(self._task(operation))

    # ---- where to try

    def _choose(self, kind: type[Process], frozen: bool = False) -> Any:
        nodes = [node for node in self.sim.nodes.values() if isinstance(node, kind) and node.up]
        up = [node for node in nodes if frozen or not node.frozen]
        return self.world.random.choice(up) if up else None

    def write(self, task: Task, node: Any = None) -> Task:
        """Try, at this node at first, and try again somewhere else, until there is an answer."""
        if task.operation is not None and not task.tries:
            self._recent.append(task)
            self._told[task] = (task, None)
        if task.done or task.tries >= task.most_tries:
            return task
        task.tries += 1
        random, operation = self.world.random, task.operation
        shop = bool(self.sim.cluster.orders) and isinstance(operation, Sell)
        there = FrontEndProcess if random.random() < 0.6 else OrderProcess if shop else CatalogProcess
        node = node or self._choose(there)
        if node is not None:
            self.ask(task, node)
        self.world.at(TRY_AGAIN * random.uniform(0.6, 1.6), self.write, task)
        return task

    def ask(self, task: Task, node: Any) -> None:
        """One try at one node."""
        operation = task.operation
        assert operation is not None
        self.world.say(f"{task.client} asks {node.name}: {task.op_id} {operation}")
        keyed: Any = Keyed(task.op_id, operation)
        buy = bool(self.sim.cluster.orders) and isinstance(operation, Sell)
        answer: Deferred[Any]
        if isinstance(node, FrontEndProcess) and buy:
            answer = node.server._writing._checkout.buy("", keyed)
            answer.addCallback(lambda order: Reply(node.name, Bought((Ordered(order),))))
        elif isinstance(node, FrontEndProcess):
            errand = Errand((), Execute((keyed,)), write=True)
            answer = Deferred.fromCoroutine(node.server._writing._catalog.forward(errand, Executed))
        else:
            answer = node.answer("", Call(0, "-", Buy((keyed,)) if buy else Execute((keyed,))))
            answer.addCallback(lambda body: Reply(node.name, body))
        answer.addCallbacks(self._told_write, self._refused, callbackArgs=(task,), errbackArgs=(task,))
        answer.addErrback(self._unexpected)

    def _told_write(self, reply: Reply[Any], task: Task) -> None:
        if isinstance(reply.answer, Bought):
            (outcome,) = reply.answer.outcomes
            if isinstance(outcome, Refused):
                self._refused(Failure(problem_of(outcome)), task)
            else:
                self._finish(task, outcome, None)
            return
        result: Result = reply.answer.results[0]
        if result.seq:
            self._finish(task, result.outcome, result)
        elif isinstance(result.outcome, Reused) or (reply.sure and task.tries == 1):
            # Of a refusal without a record this way is sure, but another try may still be under way elsewhere.
            self._finish(task, result.outcome, None)

    def _refused(self, failure: Failure, task: Task) -> None:
        problem = failure.value
        if not isinstance(problem, Problem):
            failure.raiseException()
        assert isinstance(problem, Problem)
        if problem.status == 409 and problem.title == "Out of stock":
            extra = problem.extra
            short = [extra] if "item" in extra else [{"item": s["id"], "count": s["count"]} for s in extra["items"]]
            self._finish(task, SoldOut(tuple(Short(s["item"], s["count"]) for s in short)), None)
        elif problem.status == 422:
            self._finish(task, Reused(), None)
        elif problem.status == 404 and task.tries == 1:
            items = problem.extra.get("items") or [problem.extra["item"]]
            self._finish(task, NoSuchBook(tuple(items)), None)
        elif problem.status not in (404, 503):
            self.world.violate(f"{task.op_id} was refused: {problem}")

    def _finish(self, task: Task, outcome: Outcome, result: Result | None) -> None:
        if task.done or task.operation is None:
            return
        task.done = True
        version = (result.epoch, result.seq) if result else None
        index = result.index if result else None
        self.world.say(f"{task.client} is told: {outcome} {version}")
        seen = Write(task.client, task.op_id, task.operation, task.invoked, self.world.now, outcome, version, index)
        self._told[task] = (task, seen)

    def _unexpected(self, failure: Failure) -> None:
        self.world.violate(f"a request failed: {failure.getTraceback()}")

    # ---- reads

    def _look(self, task: Task, thing: Thing) -> None:
        if task.done or task.tries >= task.most_looks:
            return
        task.tries += 1
        at_front_end = self.world.random.random() < (0.9 if self.sim.shape.hot else 0.6)
        node = self._choose(FrontEndProcess if at_front_end else CatalogProcess, frozen=True)
        if node is not None:  # a frozen one answers when it thaws
            node.clock.run(self.look, task, thing, node)
        self.world.at(TRY_AGAIN, self._look, task, thing)

    def look(self, task: Task, thing: Thing, node: Any) -> None:
        """One look at one node."""
        answer: Deferred[Any]
        if isinstance(node, FrontEndProcess):
            answer = node.server._lookups.look(thing, "", "-").addCallback(_shown)
        else:
            asked = Fill(thing.item) if isinstance(thing, BookOf) else List(thing.topic, thing.after, thing.limit)
            answer = node.answer("", Call(0, "-", asked))
            answer.addCallback(lambda told: told if isinstance(told, Listed) else told.book)
        saw = self._saw if isinstance(thing, BookOf) else self._saw_list
        answer.addCallbacks(saw, self._ignored, callbackArgs=(task, thing, node))
        answer.addErrback(self._unexpected)

    def _saw(self, seen: Any, task: Task, book: BookOf, node: Any) -> None:
        if task.done:
            return
        task.done = True
        self.world.say(f"{task.client} sees {seen} of book {book.item} at {node.name}")
        row = _book_in(*seen) if isinstance(seen, tuple) else seen
        version = (row.epoch, row.seq) if row else None
        self._reads.append(Read(task.client, book.item, task.invoked, self.world.now, version, row))

    def _saw_list(self, seen: Any, task: Task, page: PageOf, node: Any) -> None:
        if task.done:
            return
        task.done = True
        self.world.say(f"{task.client} sees {seen} of {page} at {node.name}")
        books, more = ((), False) if seen is None else _list_in(*seen) if isinstance(seen, tuple) else _listed(seen)
        if len(books) > page.limit or (more and len(books) < page.limit):
            self.world.violate(f"{node.name} answered {seen} to {page}")
        self._reads.append(Page(task.client, page.topic, page.after, books, more, task.invoked, self.world.now))

    def _look_at_orders(self, task: Task) -> None:
        if task.done or task.tries >= 3:
            return
        task.tries += 1
        node = self._choose(OrderProcess)
        if node is not None:
            limit = self.world.random.choice([1000, 1000, 5])
            answer = node.answer("", Call(0, "-", Orders(0, limit)))
            answer.addCallbacks(self._saw_orders, self._ignored, callbackArgs=(task,))
            answer.addErrback(self._unexpected)
        self.world.at(TRY_AGAIN, self._look_at_orders, task)

    def _saw_orders(self, page: Any, task: Task) -> None:
        if not task.done:
            task.done = True
            self._reads.append(OrdersSeen(task.client, 0, page.orders, page.more, task.invoked, self.world.now))

    def _ignored(self, failure: Failure) -> None:
        if not isinstance(failure.value, Problem) or failure.value.status != 503:
            failure.raiseException()


def _shown(stored: Stored | None) -> Any:
    """(body, ETag, link) of what a front end shows."""
    return None if stored is None else (stored.body, stored.etag, stored.link)


def _book_in(body: bytes, etag: str, _link: str) -> Book:
    shown = msgspec.json.decode(body)
    epoch, seq = map(int, etag.strip('"').split("-"))
    cents = round(shown["cost"] * 100)
    return Book(shown["id"], shown["title"], shown["topic"], cents, shown["count"], epoch, seq)


def _list_in(body: bytes, _etag: str, link: str) -> Books:
    return tuple((shown["id"], shown["title"]) for shown in msgspec.json.decode(body)), bool(link)


def _listed(listed: Listed) -> Books:
    return listed.books, listed.more
