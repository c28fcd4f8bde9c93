"""The whole store, end to end through its front ends, in memory: what its users are promised, with crashes."""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pygmy.messages.internal import Envelope, Execute, Fill, Invalidate, Invalidated
from pygmy.messages.replication import Update
from tests.support.cluster import ADMIN, MEMBER, Answer, MemoryCluster, answer_of, answered
from tests.support.shop import Asked

Opens = Callable[..., MemoryCluster]
OPENING_STOCK = {1: 1200, 2: 2000, 3: 3400, 4: 7000, 5: 5000, 6: 6000, 7: 8000}


@pytest.fixture
def opens() -> Iterator[Opens]:
    made: list[MemoryCluster] = []

    def open_one(*args: Any, **options: Any) -> MemoryCluster:
        made.append(MemoryCluster(*args, **options))
        return made[-1]

    yield open_one
    for cluster in made:
        cluster.close()


@pytest.fixture
def store(opens: Opens) -> MemoryCluster:
    return opens()


def agree(store: MemoryCluster) -> None:
    """Once it is quiet, the replicas of each tier hold the same bytes."""
    store.advance(3)
    for tier in (store.cluster.catalogs, store.cluster.orders):
        tables = {store.table(node.name) for node in tier}
        assert len(tables) == 1


def conserved(store: MemoryCluster, item: int = 1) -> int:
    """Opening stock = what is left + what was sold, and each sale has its one order; how many orders there are."""
    agree(store)
    orders = store.rows("order-0")
    assert [order["order_id"] for order in orders] == list(range(1, len(orders) + 1))
    assert max(Counter(order["op_id"] for order in orders).values(), default=1) == 1
    sold = sum(line["quantity"] for order in orders for line in order["lines"] if line["item"] == item)
    assert store.stock(item) + sold == OPENING_STOCK[item]
    return len(orders)


# ---- concurrency


def test_two_hundred_buyers_of_one_book_at_once_lose_nothing(store: MemoryCluster) -> None:
    under_way = [
        store.start_request(f"order-{n % 2}", "POST", "/books/1", {}, {**MEMBER, "Idempotency-Key": f"k{n}"})
        for n in range(200)
    ]
    store.until(lambda: all(map(answered, under_way)), "200 answers")
    answers = [answer_of(asked) for asked in under_way]
    assert Counter(answer.status for answer in answers) == {200: 200}
    assert sorted(answer.json["OrderId"] for answer in answers) == list(range(1, 201))
    assert conserved(store) == 200
    assert store.stock(1) == 1000


def test_the_last_copy_is_sold_once(store: MemoryCluster) -> None:
    assert store.patch("frontend-0", "/books/1", {"count": 1}).status == 200
    under_way = [store.start_request("frontend-0", "POST", "/books/1") for _ in range(10)]
    store.until(lambda: all(map(answered, under_way)), "10 answers")
    assert Counter(answer_of(asked).status for asked in under_way) == {200: 1, 409: 9}
    assert store.stock(1) == 0


def test_replicas_never_both_decide_on_a_book(store: MemoryCluster) -> None:
    """Local writes at both catalogs: every batch has one author at a time, so both end with the same log."""
    authors: dict[int, str] = {}

    def seen(sender: str, to: str, envelope: Envelope) -> None:
        for message in envelope.messages:
            if isinstance(message, Update) and sender.startswith("catalog"):
                assert authors.setdefault(message.batch.seq, sender) == sender

    store.wire.delivered = seen
    under_way = [
        store.start_request(f"catalog-{n % 2}", "PATCH", "/books/1", {"count": {"increment": -1}}, ADMIN)
        for n in range(60)
    ]
    store.until(lambda: all(map(answered, under_way)), "60 answers")
    assert set(authors.values()) == {"catalog-0", "catalog-1"}, "the primary copy never moved"
    agree(store)
    assert store.stock(1) == store.stock(1, "catalog-1") == 1140


# ---- replication


def test_books_that_are_added_changed_and_removed_are_so_on_every_replica(store: MemoryCluster) -> None:
    new = {"title": "Local writes", "topic": "distributed systems", "cost": 12.5, "count": 3}
    added = store.post("frontend-0", "/books", new, ADMIN)
    assert (added.status, added.headers["location"]) == (201, "/books/8")
    assert store.patch("frontend-0", "/books/8", {"title": "Local write"}).status == 200
    assert store.delete("frontend-0", "/books/2").status == 204
    for name in ("catalog-0", "catalog-1", "frontend-0"):
        assert store.get(name, "/books/8").json == {"id": 8, **new, "title": "Local write"}
        assert store.get(name, "/books/2").status == 404
        titles = [line["id"] for line in store.get(name, "/books?topic=distributed%20systems").json]
        assert titles == [1, 8]
    agree(store)


def test_the_id_of_a_removed_book_is_not_used_again_even_after_a_restart(store: MemoryCluster) -> None:
    assert store.delete("frontend-0", "/books/7").status == 204
    store.kill("catalog-0", "catalog-1")
    store.boot("catalog-0", "catalog-1")
    store.until(store.open, "open again")
    new = {"title": "New", "topic": "t", "cost": 1, "count": 1}
    assert store.post("frontend-0", "/books", new, ADMIN).json["id"] == 8


def test_a_replica_that_starts_again_never_puts_the_opening_stock_over_its_rows(store: MemoryCluster) -> None:
    store.buy(1)
    store.patch("frontend-0", "/books/2", {"cost": 99, "count": 5})
    store.delete("frontend-0", "/books/3")
    before = store.table("catalog-0")
    for names in (["catalog-0"], ["catalog-1"], ["catalog-0", "catalog-1"]):
        store.kill(*names)
        store.advance(3)
        store.boot(*names)
        store.until(store.open, "open again")
        agree(store)
        assert store.table("catalog-0") == before


# ---- front-end caches


def test_every_front_end_has_dropped_a_book_before_its_writer_is_answered(opens: Opens) -> None:
    store = opens(frontends=2)
    for name in ("frontend-0", "frontend-1"):
        store.get(name, "/books/1")
    dropped: list[tuple[str, float]] = []

    def seen(sender: str, to: str, envelope: Envelope) -> None:
        dropped.extend((sender, store.clock.seconds()) for m in envelope.messages if isinstance(m, Invalidated))

    store.wire.delivered = seen
    assert store.patch("frontend-0", "/books/1", {"cost": 31}).status == 200
    assert {name for name, _ in dropped} == {"frontend-0", "frontend-1"}
    assert store.get("frontend-1", "/books/1").json["cost"] == 31


def test_an_idle_front_end_serves_from_its_cache_and_asks_nobody(store: MemoryCluster) -> None:
    store.get("frontend-0", "/books/1")
    fills: list[Any] = []
    store.wire.delivered = lambda sender, to, envelope: fills.extend(
        call for call in envelope.calls if isinstance(call.body, Fill)
    )
    for _ in range(5):
        store.advance(1)
        assert store.get("frontend-0", "/books/1").json["count"] == 1200
    assert not fills


def test_a_front_end_that_is_cut_off_serves_nothing_stale_and_holds_no_writer_up_for_long(opens: Opens) -> None:
    store = opens(frontends=2)
    store.get("frontend-1", "/books/1")
    for name in ("catalog-0", "catalog-1"):
        store.cut("frontend-1", name)
    started = store.clock.seconds()
    assert store.patch("frontend-0", "/books/1", {"cost": 31}).status == 200
    assert store.clock.seconds() - started < 2
    assert store.get("frontend-1", "/books/1").status == 503  # its lease has lapsed: it knows that it does not know
    store.mend()
    store.advance(3)
    assert store.get("frontend-1", "/books/1").json["cost"] == 31


def test_a_fill_that_an_invalidation_overtakes_is_not_cached(store: MemoryCluster) -> None:
    """The fill reads the old row; while its answer is on the way, the row is changed."""
    asked_of: list[str] = []

    def seen(sender: str, to: str, envelope: Envelope) -> None:
        if any(isinstance(call.body, Fill) for call in envelope.calls):
            asked_of.append(to)
            store.wire.held.add((sender, to))

    store.wire.delivered = seen
    read = store.start_request("frontend-0", "GET", "/books/1")
    store.until(lambda: asked_of, "the fill")
    assert store.patch(asked_of[0], "/books/1", {"cost": 77}).status == 200
    assert not answered(read)
    store.wire.delivered = lambda *_: None
    store.wire.held.clear()
    store.until(lambda: answered(read), "the read's answer")
    assert answer_of(read).status == 200
    assert store.get("frontend-0", "/books/1").json["cost"] == 77


def test_an_invalidation_that_gets_lost_is_sent_again(store: MemoryCluster) -> None:
    store.get("frontend-0", "/books/1")
    told: list[int] = []

    def seen(sender: str, to: str, envelope: Envelope) -> None:
        for message in envelope.messages:
            if isinstance(message, Invalidate):
                told.append(message.number)

    for name in ("catalog-0", "catalog-1"):
        store.cut(name, "frontend-0")
    store.wire.delivered = seen
    writing = store.start_request("catalog-0", "PATCH", "/books/1", {"cost": 31}, ADMIN)
    store.advance(0.1)
    assert not answered(writing)
    assert not told
    store.mend()
    store.until(lambda: answered(writing), "the writer's answer")
    assert told
    assert answer_of(writing).status == 200


# ---- crashes


def kill_after_sale(store: MemoryCluster, *extra: str) -> list[str]:
    """The order server that has had a catalog sell something dies before it hears of it."""
    killed: list[str] = []

    def seen(sender: str, to: str, envelope: Envelope) -> None:
        sells = any(isinstance(call.body, Execute) for call in envelope.calls)
        if sells and not killed:
            killed.extend([sender, *extra])
            store.kill(*killed)

    store.wire.delivered = seen
    return killed


def test_a_sale_whose_order_server_dies_gets_its_order_and_its_buyer_the_same_answer(store: MemoryCluster) -> None:
    killed = kill_after_sale(store)
    answer = store.buy(1, "k1")
    assert killed
    assert answer.status == 200  # the front end has tried the other order server, under the same key
    assert answer.json["OrderId"] == 1
    assert store.buy(1, "k1").json == answer.json
    store.boot(*killed)
    store.until(store.open, "open again")
    assert conserved(store) == 1


def test_a_sale_that_nobody_asks_after_again_gets_its_order_within_seconds(store: MemoryCluster) -> None:
    killed = kill_after_sale(store)
    store.start_request("order-1", "POST", "/books/1", {}, {**MEMBER, "Idempotency-Key": "k1"})
    store.advance(0.1)
    assert killed == ["order-1"]
    assert store.stock(1) == 1199
    store.advance(6)
    assert [order["op_id"] for order in store.rows("order-0")] == ["c:k1"]
    order = store.rows("order-0")[0]
    answer = store.buy(1, "k1")
    assert (answer.json["OrderId"], answer.json["Total"] * 100) == (order["order_id"], order["total"])
    assert store.stock(1) == 1199


def test_a_retry_at_the_other_order_server_returns_the_same_order(store: MemoryCluster) -> None:
    headers = {**MEMBER, "Idempotency-Key": "k1"}
    first = store.post("order-0", "/books/1", {}, headers)
    second = store.post("order-1", "/books/1", {}, headers)
    assert first.json == second.json
    assert store.stock(1) == 1199


def test_a_client_that_hangs_up_does_not_undo_its_buy(store: MemoryCluster) -> None:
    asked = store.start_request("frontend-0", "POST", "/books/1", {}, {"Idempotency-Key": "k1"})
    store.advance(0.004)
    asked.exchange.addErrback(lambda _: None)
    asked.exchange.cancel()
    store.advance(2)
    assert conserved(store) == 1


def test_with_one_survivor_of_each_tier_the_store_goes_on(store: MemoryCluster) -> None:
    store.kill("catalog-0", "order-1")
    assert store.buy(1, "k1").status == 200
    store.kill("frontend-0")
    store.boot("frontend-0", "catalog-0", "order-1")
    store.until(store.open, "open again")
    store.kill("catalog-1", "order-0")
    assert store.buy(1, "k2").json["OrderId"] == 2
    store.boot("catalog-1", "order-0")
    store.until(store.open, "open again")
    assert conserved(store) == 2


def test_nobody_waits_for_a_heartbeat_to_read_in_a_new_view(store: MemoryCluster) -> None:
    """Leases are of one view, and without one there is no reading: a return must cost readers no half second."""
    store.kill("catalog-1")
    store.advance(3)
    store.boot("catalog-1")
    store.until(lambda: store.modes()["catalog-1"] == "RUNNING", "it has joined")
    assert all(store.get(name, "/health").json.get("lease", 0) > 0.9 for name in ("catalog-0", "catalog-1"))
    assert store.get("catalog-0", "/books/1").status == 200


def test_a_graceful_stop_hands_over_without_an_error(store: MemoryCluster) -> None:
    store.stop("catalog-0")
    started = store.clock.seconds()
    assert store.buy(1, "k1").status == 200
    assert store.clock.seconds() - started < 0.5
    store.stop("order-0")
    assert store.buy(1, "k2").json["OrderId"] == 2
    store.boot("catalog-0", "order-0")
    store.until(store.open, "open again")
    assert conserved(store) == 2


def test_a_whole_tier_that_lost_power_comes_back_with_everything_it_has_acknowledged(store: MemoryCluster) -> None:
    for number in range(5):
        store.buy(1, f"k{number}")
    store.kill(*store.modes())
    store.advance(2)
    store.boot(*store.modes())
    store.until(store.open, "open again")
    assert store.buy(1, "k3").json["OrderId"] == 4
    assert store.buy(1, "k5").json["OrderId"] == 6
    assert conserved(store) == 6


def test_a_replica_catches_up_from_the_peer_that_runs_whoever_else_is_there(opens: Opens) -> None:
    """Of three catalogs the first is empty and starting itself: the third still finds the second, which runs."""
    store = opens(catalogs=3, orders=1)
    store.kill("catalog-0", "catalog-2")
    store.until(lambda: len(store.nodes["catalog-1"].driver.replica.view.members) == 1, "alone")
    for number in range(3):
        assert store.buy(1, f"k{number}").status == 200
    store.nodes["catalog-0"].path.unlink()
    for rest in store.nodes["catalog-0"].path.parent.glob("catalog-0.sqlite-*"):
        rest.unlink()
    store.boot("catalog-0", "catalog-2")
    store.until(store.open, "open again")
    assert len({store.table(name) for name in ("catalog-0", "catalog-1", "catalog-2")}) == 1
    assert store.stock(1) == 1197
    synced = [line for line in store.log if line.startswith("sync from")]
    assert synced
    assert all("http://localhost:5003 (RUNNING)" in line for line in synced)


class Buyer:
    """Buys one copy after another, each under a key of its own, and retries under it until it is told how it went."""

    def __init__(self, store: MemoryCluster, name: str) -> None:
        self._store = store
        self._name = name
        self._number = 0
        self._asked: Asked | None = None
        self._open = False
        self.orders: dict[str, int] = {}

    @property
    def key(self) -> str:
        return f"{self._name}-{self._number}"

    def turn(self, more: bool = True) -> None:
        """Looks whether there is an answer; asks for the next copy, if there is to be one more."""
        if self._asked is None and (more or self._open):
            self._open = True
            self._asked = self._store.start_request(
                "frontend-0", "POST", "/books/1", {}, {"Idempotency-Key": self.key}
            )
        elif self._asked is not None and answered(self._asked):
            answer: Answer = answer_of(self._asked)
            self._asked = None
            if answer.status == 200:
                assert self.orders.setdefault(self.key, answer.json["OrderId"]) == answer.json["OrderId"]
                self._number += 1
                self._open = False
            else:
                assert answer.status == 503, answer
                assert answer.headers["idempotency-key"] == self.key

    def settles(self) -> bool:
        """Asks on until it has its answer; True once it has."""
        self.turn(more=False)
        return self._asked is None and not self._open


def kill_or_boot(store: MemoryCluster, chance: random.Random) -> None:
    """Something that one source of each tier survives; now and then a whole tier loses its power, disks intact."""
    name = chance.choice(list(store.modes()))
    tier = [node.name for node in store.cluster.tier(store.nodes[name].node.role)]
    if not store.nodes[name].up:
        store.boot(name)
    elif all(store.nodes[other].up and other in sources(store, other) for other in tier):
        dying = tier if chance.random() < 0.2 else [name]
        store.kill(*dying)
        if dying == tier:
            store.boot(*dying)


def sources(store: MemoryCluster, name: str) -> frozenset[str]:
    node = store.nodes[name]
    return node.driver.replica.view.sources if node.mode == "RUNNING" else frozenset()


@pytest.mark.parametrize("seed", range(2))
def test_whatever_dies_and_starts_again_everything_sold_is_ordered_once(opens: Opens, seed: int) -> None:
    store, chance = opens(), random.Random(seed)
    buyers = [Buyer(store, f"b{number}") for number in range(3)]
    end = store.clock.seconds() + 20
    next_event = store.clock.seconds() + 1
    while store.clock.seconds() < end:
        store.advance(chance.uniform(0.02, 0.2))
        for buyer in buyers:
            buyer.turn()
        if store.clock.seconds() > next_event:
            next_event += chance.uniform(0.3, 2)
            kill_or_boot(store, chance)
    store.boot(*(name for name in store.modes() if not store.nodes[name].up))
    store.until(store.open, "open again")
    store.until(lambda: all([buyer.settles() for buyer in buyers]), "settled")  # noqa: C419
    told = {key: number for buyer in buyers for key, number in buyer.orders.items()}
    assert len(told) >= 20
    assert len(set(told.values())) == len(told), "two buys got one order"
    for key in list(told)[::7]:
        assert store.buy(1, key).json["OrderId"] == told[key]
    assert conserved(store) == len(told)
    by_key = {order["op_id"]: order["order_id"] for order in store.rows("order-0")}
    assert {f"c:{key}": number for key, number in told.items()} == by_key
