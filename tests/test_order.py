"""The order server over HTTP, in memory: buys, retries, refusals, and the reconciler behind it."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.defer import fail
from twisted.logger import formatEvent, globalLogPublisher

from pygmy.errors import unavailable
from pygmy.messages.internal import Envelope, Execute
from pygmy.messages.operations import MarkReconciled, RecordOrder, Sell
from pygmy.messages.replication import Update, Version
from tests.support.cluster import ADMIN, MEMBER, Answer, MemoryCluster, answer_of, answered

Opens = Callable[..., MemoryCluster]
WRONG = {"Authorization": "Bearer not-the-secret-at-all"}
CATALOGS = ("catalog-0", "catalog-1")
ORDERS = ("order-0", "order-1")


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
def tier(opens: Opens) -> MemoryCluster:
    return opens()


@pytest.fixture(scope="module")
def shop() -> Iterator[MemoryCluster]:
    """For tests that change nothing that another one looks at."""
    cluster = MemoryCluster(catalogs=1, orders=2)
    yield cluster
    cluster.close()


def buy(cluster: MemoryCluster, name: str, item: int, key: str, quantity: int = 1) -> Answer:
    headers = {**MEMBER, "Idempotency-Key": key}
    return cluster.post(name, f"/books/{item}", {"quantity": quantity}, headers)


def basket(cluster: MemoryCluster, name: str, key: str, *items: tuple[int, int]) -> Answer:
    body = {"items": [{"id": item, "quantity": quantity} for item, quantity in items]}
    return cluster.post(name, "/orders", body, {**MEMBER, "Idempotency-Key": key})


def sell_one(cluster: MemoryCluster, op_id: str) -> None:
    """A copy of the first book, at catalog-0, by nobody who would write an order."""
    operation = {"type": "sell", "lines": [{"item": 1, "quantity": 1}]}
    body = {"type": "execute", "operations": [{"op_id": op_id, "operation": operation}]}
    envelope = {"sender": "order-0", "calls": [{"id": 1, "request_id": "r", "body": body}]}
    assert cluster.post("catalog-0", "/internal", envelope, MEMBER).status == 200


# ---- buying


def test_a_buy_is_answered_with_its_order(tier: MemoryCluster) -> None:
    answer = buy(tier, "order-0", 2, "k", 3)
    assert answer.status == 200
    date = answer.json.pop("Date")
    assert re.fullmatch(r"Nov-14-2023 22:\d\d:\d\d", date), "the moment of the sale, UTC, by the catalog's clock"
    assert answer.json == {"OrderId": 1, "ID": 2, "Order status": "Success", "Quantity": 3, "Total": 105.0}
    assert answer.headers["location"] == "/orders/1"
    assert answer.headers["idempotency-key"] == "k"
    assert tier.stock(2) == 1997


def test_all_sales_go_to_one_catalog_and_find_the_primary_copy_there(tier: MemoryCluster) -> None:
    """In turn, each of them would have the primary copy moved first."""

    def moves() -> list[int]:
        return [tier.nodes[name].driver.condition().counts.primary_moves for name in CATALOGS]

    for name in ORDERS:  # by now each has heard of both catalogs
        assert [buy(tier, name, 1, f"{name}-{number}").status for number in range(2)] == [200, 200]
    before = moves()
    for number in range(6):
        assert buy(tier, ORDERS[number % 2], 1, f"k{number}").status == 200
    assert moves() == before


def test_order_ids_have_no_gaps_whichever_server_takes_the_buy(tier: MemoryCluster) -> None:
    ids = [buy(tier, ORDERS[n % 2], 1, f"k{n}").json["OrderId"] for n in range(8)]
    assert ids == list(range(1, 9))
    under_way = [
        tier.start_request(ORDERS[n % 2], "POST", "/books/1", {}, {**MEMBER, "Idempotency-Key": f"more{n}"})
        for n in range(30)
    ]
    tier.until(lambda: all(map(answered, under_way)), "30 answers")
    assert sorted(answer_of(asked).json["OrderId"] for asked in under_way) == list(range(9, 39))


def test_buys_that_go_together_are_told_of_each_under_its_own_request(tier: MemoryCluster) -> None:
    catalogs = tier.nodes["order-0"].server.catalogs.tier
    tier.until(lambda: len(catalogs.running()) == 2, "a server that has heard of both")
    events: list[Any] = []
    globalLogPublisher.addObserver(events.append)
    tier.kill("catalog-0")
    under_way = [
        tier.start_request("order-0", "POST", f"/books/{item}", {}, {**MEMBER, "X-Request-ID": f"r{item}"})
        for item in (1, 2, 3)
    ]
    tier.until(lambda: all(map(answered, under_way)), "3 answers")
    globalLogPublisher.removeObserver(events.append)
    assert [answer_of(asked).status for asked in under_way] == [200] * 3
    told = [(event.get("rid"), formatEvent(event)) for event in events]
    first, last = (tier.cluster.node(name).url for name in CATALOGS)
    for item in (1, 2, 3):
        about = [text for rid, text in told if rid == f"r{item}"]
        assert about[0] == f"forward SELL 1x{item} -> {first}"
        assert about[1].startswith(f"down {first} (")
        assert f"forward SELL 1x{item} -> {last}" in about
        assert about[-1].startswith("order ")


def test_a_retry_at_the_other_order_server_is_the_same_order(tier: MemoryCluster) -> None:
    first = buy(tier, "order-0", 1, "k")
    for name in ("order-1", "order-0"):
        again = buy(tier, name, 1, "k")
        assert (again.status, again.json) == (200, first.json)
    assert tier.stock(1) == 1199
    assert len(tier.rows("order-0")) == 1


def test_retries_at_both_order_servers_at_once_are_one_order(tier: MemoryCluster) -> None:
    headers = {**MEMBER, "Idempotency-Key": "k"}
    under_way = [tier.start_request(ORDERS[n % 2], "POST", "/books/1", {}, headers) for n in range(6)]
    tier.until(lambda: all(map(answered, under_way)), "6 answers")
    assert Counter(answer_of(asked).body for asked in under_way).most_common()[0][1] == 6
    assert tier.stock(1) == 1199
    assert len(tier.rows("order-0")) == 1


@pytest.mark.parametrize("name", ORDERS)
def test_a_key_used_for_another_request_is_422(tier: MemoryCluster, name: str) -> None:
    buy(tier, "order-0", 1, "k")
    for answer in (buy(tier, name, 2, "k"), buy(tier, name, 1, "k", 2), basket(tier, name, "k", (1, 1))):
        assert (answer.status, answer.headers["content-type"]) == (422, "application/problem+json")
    assert [order["op_id"] for order in tier.rows("order-1")] == ["c:k"]
    assert (tier.stock(1), tier.stock(2)) == (1199, 2000)


def test_a_key_whose_buy_was_refused_stays_refused_after_a_restock(tier: MemoryCluster) -> None:
    assert buy(tier, "order-0", 1, "k", 1000).status == 200
    refused = buy(tier, "order-0", 1, "k2", 500)
    assert (refused.status, refused.json["item"], refused.json["count"]) == (409, 1, 200)
    assert tier.patch("frontend-0", "/books/1", {"count": 9000}).status == 200
    again = buy(tier, "order-1", 1, "k2", 500)
    assert (again.status, again.json["count"]) == (409, 200)
    assert buy(tier, "order-1", 1, "k3", 500).status == 200


# ---- baskets


def test_a_basket_is_one_order(tier: MemoryCluster) -> None:
    answer = basket(tier, "order-1", "k", (1, 2), (6, 1))
    assert answer.status == 200
    assert answer.json["OrderId"] == 1
    assert answer.json["Items"] == [{"id": 1, "quantity": 2, "cost": 30.0}, {"id": 6, "quantity": 1, "cost": 40.0}]
    assert answer.json["Total"] == 100.0
    assert basket(tier, "order-0", "k", (1, 2), (6, 1)).json == answer.json
    assert (tier.stock(1), tier.stock(6)) == (1198, 5999)


def test_a_basket_that_cannot_be_filled_sells_nothing_and_names_every_short_book(tier: MemoryCluster) -> None:
    for item in (1, 3):
        tier.patch("frontend-0", f"/books/{item}", {"count": item})
    answer = basket(tier, "order-0", "k", (1, 2), (2, 1), (3, 4))
    assert answer.status == 409
    assert answer.json["items"] == [{"id": 1, "count": 1}, {"id": 3, "count": 3}]
    assert [tier.stock(item) for item in (1, 2, 3)] == [1, 2000, 3]
    assert tier.rows("order-0") == []


# ---- refusals


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/books/99", {}, 404),
        ("/books/x", {}, 400),
        ("/books/1", {"quantity": 0}, 400),
        ("/books/1", {"quantity": 1001}, 400),
        ("/books/1", {"number": 1}, 400),
        ("/orders", {"items": []}, 400),
        ("/orders", {"items": [{"id": 1}, {"id": 1}]}, 400),
        ("/orders", {"items": [{"id": 1}, {"id": 99}]}, 404),
    ],
)
def test_what_cannot_be_bought_is_refused_and_sells_nothing(
    shop: MemoryCluster, path: str, body: Any, status: int
) -> None:
    before = shop.table("catalog-0")
    answer = shop.post("order-0", path, body, MEMBER)
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert shop.table("catalog-0") == before


@pytest.mark.parametrize(("method", "path"), [("POST", "/books/1"), ("POST", "/orders"), ("GET", "/table")])
@pytest.mark.parametrize(("headers", "status"), [({}, 401), (WRONG, 403), (ADMIN, 403)])
def test_buying_at_an_order_server_is_for_members_only(
    shop: MemoryCluster, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    before = shop.table("catalog-0")
    assert shop.ask("order-0", method, path, None, headers).status == status
    assert shop.table("catalog-0") == before


@pytest.mark.parametrize("path", ["/orders", "/orders/1"])
def test_orders_are_for_admins(shop: MemoryCluster, path: str) -> None:
    assert shop.get("order-0", path).status == 401
    assert shop.get("order-0", path, WRONG).status == 403
    assert shop.get("order-0", path, ADMIN).status in (200, 404)


@pytest.mark.parametrize(("method", "path"), [("GET", "/books"), ("PATCH", "/books/1"), ("DELETE", "/orders/1")])
def test_an_order_server_keeps_no_books(shop: MemoryCluster, method: str, path: str) -> None:
    assert shop.ask("order-0", method, path, None, ADMIN).status in (404, 405)


# ---- reading orders


def test_orders_by_number_and_in_pages(tier: MemoryCluster) -> None:
    bought = [buy(tier, ORDERS[n % 2], 1, f"k{n}").json for n in range(5)]
    tier.advance(0.5)
    for name in ORDERS:
        assert tier.get(name, "/orders", ADMIN).json == bought
        assert tier.get(name, "/orders/3", ADMIN).json == bought[2]
        page = tier.get(name, "/orders?limit=2&after=1", ADMIN)
        assert page.json == bought[1:3]
        assert page.headers["link"] == '</orders?limit=2&after=3>; rel="next"'
        assert "link" not in tier.get(name, "/orders?limit=2&after=3", ADMIN).headers
    assert tier.get("order-0", "/orders/6", ADMIN).status == 404
    assert tier.get("order-0", "/orders/0", ADMIN).status == 400
    assert tier.get("frontend-0", "/orders/3", ADMIN).json == bought[2]


def test_the_table_is_the_same_bytes_on_both_servers_and_none_while_init(tier: MemoryCluster) -> None:
    for number in range(4):
        buy(tier, ORDERS[number % 2], 1 + number, f"k{number}", 2)
    tier.advance(3)
    assert tier.table("order-0") == tier.table("order-1")
    assert [row["order_id"] for row in tier.rows("order-1")] == [1, 2, 3, 4]
    tier.kill(*ORDERS)
    tier.boot("order-0")
    tier.until(lambda: tier.nodes["order-0"].mode == "INIT", "INIT")
    assert tier.get("order-0", "/table", MEMBER).status == 204
    assert tier.get("order-0", "/health").status == 503
    assert buy(tier, "order-0", 1, "k9").status == 503


def test_a_table_of_many_pages_is_whole(tier: MemoryCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pygmy.order.TABLE_PAGE", 2)
    for number in range(5):
        buy(tier, "order-0", 1, f"k{number}")
    assert [row["order_id"] for row in tier.rows("order-0")] == [1, 2, 3, 4, 5]


# ---- when the catalog or the order tier is in trouble


def test_a_buy_finds_a_catalog_that_serves(tier: MemoryCluster) -> None:
    tier.kill("catalog-0")
    for number in range(3):
        assert buy(tier, ORDERS[number % 2], 1, f"k{number}").status == 200


def test_without_a_catalog_a_buy_is_refused_at_once_and_nothing_is_unknown(tier: MemoryCluster) -> None:
    tier.kill("catalog-0", "catalog-1")
    tier.advance(2)
    started = tier.clock.seconds()
    answer = buy(tier, "order-0", 1, "k")
    assert (answer.status, answer.json["title"], answer.headers["retry-after"]) == (503, "Unavailable", "1")
    assert tier.clock.seconds() - started < 0.5


def test_a_sale_without_an_answer_is_unknown_and_its_key_settles_it(tier: MemoryCluster) -> None:
    def seen(sender: str, to: str, envelope: Envelope) -> None:
        if any(isinstance(call.body, Execute) for call in envelope.calls):
            for catalog in ("catalog-0", "catalog-1"):
                tier.cut("order-0", catalog)

    tier.wire.delivered = seen
    answer = buy(tier, "order-0", 1, "k")
    assert answer.status == 503
    assert answer.json["title"] == "Outcome unknown"
    assert answer.headers["idempotency-key"] == "k"
    tier.wire.delivered = lambda *_: None
    tier.mend()
    tier.advance(2)
    settled = buy(tier, "order-1", 1, "k")
    assert (settled.status, settled.json["OrderId"]) == (200, 1)
    assert tier.stock(1) == 1199


def test_a_key_of_another_sale_is_refused_for_good_though_one_catalog_gave_no_answer(tier: MemoryCluster) -> None:
    """That sale is in the log, so nothing that is still under way can come to be."""
    sell_one(tier, "c:k")
    silent: list[str] = []

    def seen(sender: str, to: str, envelope: Envelope) -> None:
        if not silent and any(isinstance(call.body, Execute) for call in envelope.calls):
            silent.append(to)
            tier.cut(sender, to)

    tier.wire.delivered = seen
    answer = buy(tier, "order-0", 2, "k")
    assert silent
    assert (answer.status, answer.json["type"]) == (422, "urn:pygmy:problem:key-already-used")


def test_sold_but_not_yet_ordered_is_unknown_too(tier: MemoryCluster) -> None:
    """The other order server is silent: the order waits for a view without it."""
    tier.freeze("order-1")
    tier.nodes["order-0"].disk.seconds = 9.0
    answer = buy(tier, "order-0", 1, "k")
    assert answer.json["title"] == "Outcome unknown"
    assert tier.stock(1) == 1199
    tier.nodes["order-0"].disk.seconds = 0.002
    tier.kill("order-1")
    tier.mend()
    tier.boot("order-1")
    tier.until(tier.open, "open again")
    assert buy(tier, "order-0", 1, "k").json["OrderId"] == 1
    assert len(tier.rows("order-0")) == 1


# ---- the reconciler


def orders_written(envelope: Envelope) -> list[RecordOrder]:
    return [
        entry.operation
        for message in envelope.messages
        if isinstance(message, Update)
        for entry in message.batch.entries
        if isinstance(entry.operation, RecordOrder)
    ]


@pytest.mark.parametrize("dying", [("order-0",), ("order-1",), ORDERS])
def test_a_sale_whose_order_server_died_gets_its_order_within_seconds(tier: MemoryCluster, dying: Any) -> None:
    """Nobody retries: the sale in the catalog's log is enough."""
    killed: list[str] = []

    def seen(sender: str, to: str, envelope: Envelope) -> None:
        if not killed and any(isinstance(call.body, Execute) for call in envelope.calls):
            killed.extend(dying)
            tier.kill(*dying)

    tier.wire.delivered = seen
    asked = tier.start_request(dying[0], "POST", "/books/1", {"quantity": 2}, {**MEMBER, "Idempotency-Key": "k"})
    asked.exchange.addErrback(lambda _: None)
    tier.until(lambda: killed, "the sale")
    tier.advance(0.1)
    assert tier.stock(1) == 1198
    if len(dying) == 2:
        tier.boot(*dying)
        tier.wait_running(*dying)
    tier.advance(4)
    survivor = next(name for name in ORDERS if tier.nodes[name].up)
    (order,) = tier.rows(survivor)
    assert (order["op_id"], order["total"], order["lines"][0]["quantity"]) == ("c:k", 6000, 2)
    assert buy(tier, survivor, 1, "k", 2).json["OrderId"] == 1
    assert tier.stock(1) == 1198


def test_there_are_never_more_orders_than_sales(tier: MemoryCluster) -> None:
    """At every moment each order has its sale, with price and time of that sale."""
    sold: dict[str, Any] = {}

    def look() -> None:
        for name in ("catalog-0", "catalog-1"):
            for batch in tier.nodes[name].driver.replica.log._batches:
                sold.update({e.op_id: e for e in batch.entries if isinstance(e.operation, Sell)})
        for name in ORDERS:
            for batch in tier.nodes[name].driver.replica.log._batches:
                for entry in batch.entries:
                    if isinstance(entry.operation, RecordOrder):
                        sale = sold[entry.op_id]
                        assert entry.operation.at == sale.at
                        assert entry.operation.total == sale.outcome.total

    under_way = [
        tier.start_request(ORDERS[n % 2], "POST", "/books/1", {}, {**MEMBER, "Idempotency-Key": f"k{n}"})
        for n in range(40)
    ]

    def done() -> bool:
        look()
        return all(map(answered, under_way))

    tier.until(done, "40 answers")
    tier.patch("frontend-0", "/books/1", {"cost": 99})
    tier.advance(3)
    look()
    assert len(tier.rows("order-0")) == len(sold) == 40


def test_the_mark_moves_behind_the_sales_so_that_they_are_looked_at_once(tier: MemoryCluster) -> None:
    for number in range(3):
        buy(tier, "order-0", 1, f"k{number}")
    tier.advance(4)
    marks = [tier.nodes[name].driver.reconciled_upto() for name in ORDERS]
    head = tier.nodes["catalog-0"].driver.replica.log.head[1]
    assert marks == [head, head]
    before = tier.nodes["order-0"].driver.replica.log.head
    tier.advance(5)
    assert tier.nodes["order-0"].driver.replica.log.head == before, "a quiet store writes nothing"


def test_however_many_sales_there_are_they_are_gone_through_at_once(
    tier: MemoryCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page a second would fall behind for as long as more are sold than a page takes."""
    monkeypatch.setattr("pygmy.reconciler.PAGE", 2)
    for number in range(9):
        sell_one(tier, f"c:k{number}")
    tier.advance(2.1)
    assert len(tier.rows("order-0")) == 9


def test_a_ledger_that_cannot_tell_just_now_is_asked_again(
    tier: MemoryCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    sell_one(tier, "c:k")
    asked: list[str] = []
    monkeypatch.setattr(
        tier.nodes["order-0"].driver, "find", lambda *ids: asked.extend(ids) or fail(unavailable("Not just now."))
    )
    tier.advance(2.5)
    assert asked
    assert not [line for line in tier.log if line.startswith("reconciling failed")]
    monkeypatch.undo()
    tier.advance(2)
    assert len(tier.rows("order-0")) == 1


def test_one_server_reconciles_and_leaves_young_sales_alone(tier: MemoryCluster) -> None:
    assert [tier.nodes[name].driver.reconciles() for name in ORDERS] == [True, False]
    batches: dict[Version, list[str]] = {}  # an UPDATE may be repeated

    def seen(sender: str, to: str, envelope: Envelope) -> None:
        for message in envelope.messages:
            if isinstance(message, Update) and sender.startswith("order"):
                entries = message.batch.entries
                batches[message.batch.version] = [
                    entry.op_id for entry in entries if not isinstance(entry.operation, MarkReconciled)
                ]

    tier.wire.delivered = seen
    buy(tier, "order-1", 1, "k")
    tier.advance(3)
    assert [op_ids for op_ids in batches.values() if "c:k" in op_ids] == [["c:k"]]
    assert not [line for line in tier.log if line.startswith("reconciled the sale")]


def test_a_young_sale_is_given_time_to_get_its_order_from_whoever_sold_it(tier: MemoryCluster) -> None:
    tier.advance(0.4)  # the reconciler looks each second: in between
    sell_one(tier, "c:k")
    assert tier.stock(1) == 1199
    tier.advance(0.97)
    assert tier.rows("order-0") == []
    tier.advance(2)
    assert [order["op_id"] for order in tier.rows("order-0")] == ["c:k"]
