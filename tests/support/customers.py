"""People who buy and look things up in a store of real processes, and what must be true of what they were told."""

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from uuid import uuid4

from tests.support.processes import Processes, Reply, until

PLENTY = 100_000  # copies on the shelf at the opening
SHORT_WAY = 0.05  # seconds


def buy(store: Processes, item: int, key: str | None = None, to: str = "frontend-0", rid: str = "-") -> Reply:
    headers = {"Idempotency-Key": key or f"k-{uuid4()}", "X-Request-ID": rid}
    return store.post(to, f"/books/{item}", headers=headers | dict(store.member if to[0] == "o" else {}))


def customer(store: Processes, item: int, doors: Sequence[str] = ()) -> Callable[[], tuple[str, int]]:
    """Someone who insists: asks again, under the same key, until the store answers.

    `doors` are the front ends that they take in turn (by default all).
    """
    names = doors or [node.name for node in store.cluster.frontends]

    def insist() -> tuple[str, int]:
        key = f"k-{uuid4()}"
        turns = itertools.cycle(names)

        def tried() -> Reply | None:
            reply = buy(store, item, key, next(turns))
            return reply if reply.status != 503 else None

        reply = until(tried, f"an answer to {key}", store.hints)
        assert reply.status == 200, reply
        return key, reply.json["OrderId"]

    return insist


def ledger_agrees(store: Processes, item: int, bought: list[tuple[str, int]]) -> None:
    """What customers were told, what the orders say and what is left on the shelf are one and the same."""
    told = dict(bought)
    assert len(told) == len(bought) == len(set(told.values())), "one order answered two customers"
    written = [order["OrderId"] for order in store.orders() if order["ID"] == item]
    assert sorted(written) == sorted(told.values())
    assert store.count(item) == PLENTY - len(told)
    key, number = bought[0]
    assert buy(store, item, key, "frontend-1").json["OrderId"] == number


class Prices:
    """What some books cost, as far as the store has acknowledged it; prices only ever rise here."""

    def __init__(self, store: Processes, items: Sequence[int]) -> None:
        self.items = tuple(items)
        self._store = store
        self._lock = threading.Lock()
        self._known = dict.fromkeys(items, 0.0)

    def known(self, item: int) -> float:
        with self._lock:
            return self._known[item]

    def raise_all(self, door: str, items: Sequence[int] = (), *, patient: bool = False) -> None:
        """Raise these prices (by default all) through one node. Who is patient asks again after each 503."""
        for item in items or self.items:
            price = (self.known(item) or self._answered(patient, door, "GET", item).json["cost"]) + 1
            self._answered(patient, door, "PATCH", item, {"cost": price})
            with self._lock:
                self._known[item] = price

    def _answered(self, patient: bool, door: str, method: str, item: int, body: object = None) -> Reply:
        def tried() -> Reply | None:
            reply = self._store.ask(door, method, f"/books/{item}", body, self._store.admin)
            return None if patient and reply.status == 503 else reply

        reply = until(tried, f"an answer to {method} {item} at {door}", self._store.hints)
        assert reply.status == 200, reply
        return reply

    def look(self, door: str, item: int) -> Reply:
        """Look a book up: it must not show an older price than was known before. It may have no answer (503)."""
        known = self.known(item)
        reply = self._store.get(door, f"/books/{item}")
        assert_fresh(reply, known, f"{door} on book {item}")
        return reply

    def reader(self, door: str, *, patient: bool = False) -> Callable[[], bool]:
        """Someone who looks up one book after the other. Who is patient comes back after a 503; others want none."""
        items = itertools.cycle(self.items)

        def look() -> bool:
            reply = self.look(door, next(items))
            assert patient or reply.status == 200, reply
            if reply.status == 503:
                time.sleep(SHORT_WAY)
            return True

        return look


def assert_fresh(reply: Reply, known: float, whose: str) -> None:
    """A price that is not older than the one known when it was asked for; or no answer."""
    assert reply.status in (200, 503), reply
    if reply.status == 200:
        assert reply.json["cost"] >= known, f"an old price: {whose} told {reply.json['cost']} after {known}"
