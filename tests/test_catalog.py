"""The catalog server over HTTP, in memory: what it serves, to whom, and the stock it opens with."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from pygmy.messages.internal import (
    Execute,
    Executed,
    Fill,
    Filled,
    Keyed,
    List,
    Listed,
    Orders,
    Renew,
    Renewed,
    Sales,
)
from pygmy.messages.operations import Line, NewBook, NoSuchBook, OpenStock, Sell
from pygmy.opened import Opening
from pygmy.opening import parts
from pygmy.peers import Link, http_client
from tests.support.cluster import ADMIN, CLIENT, MEMBER, MemoryCluster
from tests.support.shop import SECRETS

Opens = Callable[..., MemoryCluster]
WRONG = {"Authorization": "Bearer not-the-secret-at-all"}


@pytest.fixture
def opens() -> Iterator[Opens]:
    made: list[MemoryCluster] = []

    def open_one(*args: Any, **options: Any) -> MemoryCluster:
        made.append(MemoryCluster(*args, **options))
        return made[-1]

    yield open_one
    for cluster in made:
        cluster.close()


@pytest.fixture(scope="module")
def tier() -> Iterator[MemoryCluster]:
    """Two catalogs that tests only read from, or whose changes concern no other test."""
    cluster = MemoryCluster(catalogs=2, orders=1)
    yield cluster
    cluster.close()


def stock(count: int, title: str = "Book") -> tuple[NewBook, ...]:
    return tuple(NewBook(f"{title} {n}", "t", 100, 5, n) for n in range(1, count + 1))


# ---- reading


def test_a_book_by_its_id(tier: MemoryCluster) -> None:
    answer = tier.get("catalog-1", "/books/3")
    assert answer.status == 200
    assert answer.json == {
        "id": 3,
        "title": "Xen and the Art of Surviving Graduate School",
        "topic": "graduate school",
        "cost": 20.0,
        "count": 3400,
    }
    again = tier.get("catalog-0", "/books/3", {"If-None-Match": answer.headers["etag"]})
    assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize(
    ("path", "status"),
    [("/books/99", 404), ("/books/0", 400), ("/books/x", 400), ("/books?limit=0", 400), ("/nothing", 404)],
)
def test_errors_are_problems(tier: MemoryCluster, path: str, status: int) -> None:
    answer = tier.get("catalog-0", path)
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["status"] == status
    assert answer.json["request_id"] == answer.headers["x-request-id"]


def test_lists_by_id_and_topic(tier: MemoryCluster) -> None:
    everything = tier.get("catalog-0", "/books").json
    assert [line["id"] for line in everything] == [1, 2, 3, 4, 5, 6, 7]
    assert set(everything[0]) == {"id", "title"}
    assert [b["id"] for b in tier.get("catalog-1", "/books?topic=distributed%20systems").json] == [1, 2]
    assert tier.get("catalog-0", "/books?topic=none").json == []
    page = tier.get("catalog-0", "/books?limit=2&after=2")
    assert [line["id"] for line in page.json] == [3, 4]
    assert page.headers["link"] == '</books?limit=2&after=4>; rel="next"'


# ---- who may do what


@pytest.mark.parametrize(("method", "path"), [("PATCH", "/books/1"), ("GET", "/table"), ("POST", "/internal")])
@pytest.mark.parametrize(("headers", "status"), [({}, 401), (WRONG, 403)])
def test_secrets_are_asked_for(
    tier: MemoryCluster, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    answer = tier.ask("catalog-0", method, path, {"count": 1}, headers)
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert SECRETS.cluster not in answer.body.decode()
    assert SECRETS.admin not in answer.body.decode()


def test_the_admin_token_is_no_member_secret(tier: MemoryCluster) -> None:
    assert tier.get("catalog-0", "/table", ADMIN).status == 403
    assert tier.post("catalog-0", "/internal", {"sender": "x"}, ADMIN).status == 403
    assert tier.post("catalog-0", "/internal", {"sender": "x"}, MEMBER).status == 204


@pytest.mark.parametrize(("method", "path"), [("POST", "/books/1"), ("DELETE", "/books/1"), ("POST", "/orders")])
def test_a_catalog_sells_nothing_over_http(tier: MemoryCluster, method: str, path: str) -> None:
    assert tier.ask("catalog-0", method, path, None, ADMIN).status in (404, 405)


def test_a_change_takes_effect_once_per_key(tier: MemoryCluster) -> None:
    headers = {**ADMIN, "Idempotency-Key": "restock-7"}
    for name in ("catalog-0", "catalog-1", "catalog-0"):
        answer = tier.patch(name, "/books/7", {"count": {"increment": 5}}, headers)
        assert (answer.status, answer.json["count"]) == (200, 8005)
        assert answer.headers["idempotency-key"] == "restock-7"
    other = tier.patch("catalog-1", "/books/7", {"count": {"increment": 6}}, headers)
    assert other.status == 422
    assert tier.stock(7) == tier.stock(7, "catalog-1") == 8005


@pytest.mark.parametrize(
    ("body", "status"),
    [({}, 400), ({"count": -1}, 400), ({"cost": 1.234}, 400), ({"colour": "red"}, 400), ({"cost": 1.25}, 200)],
)
def test_a_change_is_checked_before_it_is_made(tier: MemoryCluster, body: Any, status: int) -> None:
    assert tier.patch("catalog-0", "/books/6", body).status == status


def test_a_count_below_zero_is_refused_and_says_what_there_is(tier: MemoryCluster) -> None:
    answer = tier.patch("catalog-0", "/books/5", {"count": {"increment": -5001}})
    assert (answer.status, answer.json["item"], answer.json["count"]) == (409, 5, 5000)
    assert tier.patch("catalog-0", "/books/99", {"count": 1}).status == 404


# ---- the table, and what the server says of itself


def test_the_table_is_the_same_bytes_on_every_replica(tier: MemoryCluster) -> None:
    tier.patch("catalog-1", "/books/4", {"cost": 26})
    tier.advance(1)
    assert tier.table("catalog-0") == tier.table("catalog-1")
    rows = tier.rows("catalog-0")
    assert [row["item"] for row in rows] == list(range(1, 8))
    assert rows[3]["cost"] == 2600
    assert (rows[3]["epoch"], rows[3]["seq"]) > (rows[0]["epoch"], rows[0]["seq"])
    assert tier.get("catalog-0", "/table", MEMBER).headers["content-type"] == "application/x-ndjson"


def test_a_replica_that_has_not_caught_up_has_no_table_and_serves_nothing(opens: Opens) -> None:
    cluster = opens(catalogs=2, orders=1)
    cluster.kill("catalog-0", "catalog-1")
    cluster.boot("catalog-0")
    cluster.until(lambda: cluster.nodes["catalog-0"].mode == "INIT", "INIT")
    table = cluster.get("catalog-0", "/table", MEMBER)
    assert (table.status, table.body) == (204, b"")
    book = cluster.get("catalog-0", "/books/1")
    assert (book.status, book.headers["retry-after"]) == (503, "1")
    health = cluster.get("catalog-0", "/health")
    assert (health.status, health.json["state"]) == (503, "INIT")
    assert "starting again" in health.json["message"]


def test_health_and_cluster_of_a_replica_that_serves(tier: MemoryCluster) -> None:
    health = tier.get("catalog-0", "/health")
    assert health.status == 200
    told = {"message": "Healthy", "role": "catalog", "node": "catalog-0", "state": "RUNNING", "epoch": 1}
    assert {**told, "redundancy": 2}.items() <= health.json.items()
    nodes = {node["node"]: node for node in tier.get("catalog-0", "/cluster").json["nodes"]}
    for name in ("catalog-0", "catalog-1"):
        assert (nodes[name]["state"], nodes[name]["lag"]) == ("RUNNING", 0)
    assert b"pygmy" in tier.get("catalog-0", "/metrics").body


@pytest.mark.parametrize("name", ["catalog-0", "order-0", "frontend-0"])
def test_the_document_lists_exactly_what_the_server_serves(tier: MemoryCluster, name: str) -> None:
    document = tier.get(name, "/openapi.json").json
    listed = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    url_map = tier.nodes[name].resource._app._app.url_map
    served = {
        (method, rule.rule.replace("<", "{").replace(">", "}"))
        for rule in url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    assert listed == served
    for method, path in listed:  # and none of them is a route in name only
        status = tier.ask(name, method, path.replace("{item}", "x").replace("{number}", "x")).status
        assert status not in (404, 405, 500), (method, path)


# ---- calls


def call(cluster: MemoryCluster, name: str, body: Any) -> Any:
    """A call over the internal path: its answer, or the failure's value."""
    node = cluster.nodes[name].node
    link = Link(node.url, "frontend-0", SECRETS.cluster, http_client(cluster.wire.agent(CLIENT)), cluster.clock)
    told: list[Any] = []
    link.call(body, "r", 3.0).addBoth(told.append)
    cluster.until(lambda: told, "the answer of a call")
    return getattr(told[0], "value", told[0])


def test_calls_are_answered_by_type(tier: MemoryCluster) -> None:
    filled = call(tier, "catalog-0", Fill(2))
    assert isinstance(filled, Filled)
    assert (filled.book.item, filled.session, filled.lease) == (2, None, 0.0)  # type: ignore[union-attr]
    held = call(tier, "catalog-0", Fill(2, "frontend-0"))
    assert held.session is not None
    assert 0 < held.lease <= 1
    assert call(tier, "catalog-0", Fill(99)).book is None
    listed = call(tier, "catalog-0", List("distributed systems", 1, 5))
    assert isinstance(listed, Listed)
    assert (listed.books, listed.more) == (((2, "RPCs for Dummies"),), False)
    renewed = call(tier, "catalog-0", Renew("frontend-0", held.session))
    assert isinstance(renewed, Renewed)
    assert renewed.lease > 0
    assert call(tier, "catalog-0", Renew("frontend-0", (9, 9))).lease == 0
    refused = call(tier, "catalog-0", Execute((Keyed("c:nothing", Sell((Line(99, 1),))),)))
    assert isinstance(refused, Executed)
    assert refused.result.outcome == NoSuchBook((99,))
    assert call(tier, "catalog-0", Orders(0, 1)).status == 404


def test_sales_are_the_outbox_of_the_orders(tier: MemoryCluster) -> None:
    sold = call(tier, "catalog-1", Execute((Keyed("c:out", Sell((Line(2, 3),))),))).results[0]
    tier.advance(1)
    page = call(tier, "catalog-0", Sales(sold.seq - 1, tier.wall(), 10))
    assert [(sale.op_id, sale.result) for sale in page.sales] == [("c:out", sold)]
    assert page.upto >= sold.seq
    assert call(tier, "catalog-0", Sales(sold.seq - 1, sold.at - 1, 10)).sales == ()


# ---- the opening stock


def warnings(cluster: MemoryCluster) -> list[str]:
    return [line for line in cluster.log if "opened with other books" in line]


def test_the_opening_stock_is_put_on_the_shelves_once_for_the_whole_tier(opens: Opens) -> None:
    cluster = opens(catalogs=3, orders=1, books=stock(3))
    assert [row["title"] for row in cluster.rows("catalog-2")] == ["Book 1", "Book 2", "Book 3"]
    assert len({cluster.table(name) for name in ("catalog-0", "catalog-1", "catalog-2")}) == 1
    assert cluster.nodes["catalog-0"].driver.replica.log.head == (1, 1)
    assert not warnings(cluster)


def test_a_store_may_open_without_a_book(opens: Opens) -> None:
    cluster = opens(catalogs=1, orders=1, books=())
    assert cluster.get("frontend-0", "/books").json == []
    new = {"title": "First", "topic": "t", "cost": 1, "count": 1}
    assert cluster.post("frontend-0", "/books", new, ADMIN).json["id"] == 1


@pytest.mark.parametrize("first", ["catalog-0", "catalog-1"])
@pytest.mark.parametrize(
    ("one", "other"),
    [(stock(3), stock(5, "Other")), (stock(3), stock(700, "Other")), (stock(700), stock(3, "Other"))],
    ids=["one part each", "a longer file second", "a shorter file second"],
)
def test_with_different_files_the_first_one_wins_and_the_other_server_says_so(
    opens: Opens, first: str, one: Sequence[NewBook], other: Sequence[NewBook]
) -> None:
    """The two servers run; `first` is the first one to see an empty catalog."""
    second = "catalog-1" if first == "catalog-0" else "catalog-0"
    cluster = opens(catalogs=2, orders=1, books={first: one, second: other}, start=False)
    opening = "an opened catalog"
    for node in cluster.nodes.values():
        node.start()
    cluster.until(lambda: cluster.nodes[second].server is not None, "a server")
    held, cluster.nodes[second].server.opener.stock = cluster.nodes[second].server.opener.stock, None
    cluster.until(lambda: cluster.nodes[first].server.opener.stock is None, opening)
    cluster.nodes[second].server.opener.stock = held
    cluster.until(cluster.open, "open")
    rows = cluster.rows(first)
    assert [row["title"] for row in rows] == [book.title for book in one]
    assert len(warnings(cluster)) == 1
    cluster.advance(1)
    assert cluster.table(first) == cluster.table(second)


def test_a_restart_with_another_file_changes_nothing(opens: Opens) -> None:
    cluster = opens(catalogs=1, orders=1, books=stock(3))
    before = cluster.table("catalog-0")
    for other in (stock(5, "Other"), stock(700, "Other")):
        cluster.kill("catalog-0")
        cluster.nodes["catalog-0"].books = other
        cluster.boot("catalog-0")
        cluster.until(cluster.open, "open again")
        assert cluster.table("catalog-0") == before
    assert len(warnings(cluster)) == 2


def test_a_long_stock_whose_server_died_half_way_is_completed(opens: Opens) -> None:
    """Three parts; after the first one the power fails."""
    cluster = opens(catalogs=1, orders=1, books=stock(1100), start=False)
    for node in cluster.nodes.values():
        node.start()
    node = cluster.nodes["catalog-0"]
    cluster.until(lambda: node.driver is not None and node.driver.replica.log.head[1] == 1, "the first part")
    cluster.kill("catalog-0")
    cluster.boot("catalog-0")
    cluster.until(cluster.open, "open")
    assert len(cluster.rows("catalog-0")) == 1100


def unread() -> tuple[OpenStock, ...]:
    raise AssertionError("the books were read")


def test_who_remembers_what_the_catalog_was_opened_with_reads_no_books(opens: Opens) -> None:
    cluster = opens(catalogs=2, orders=1, books=stock(700))
    cluster.kill("catalog-1")
    cluster.nodes["catalog-1"].opening = Opening(unread, remembered=2)
    cluster.boot("catalog-1")
    cluster.until(cluster.open, "open again")
    assert len(cluster.rows("catalog-1")) == 700


def test_who_remembers_what_never_came_to_be_opens_the_catalog_all_the_same(opens: Opens) -> None:
    """As after the restore of a backup that is older than the opening."""
    cluster = opens(catalogs=1, orders=1, start=False)
    cluster.nodes["catalog-0"].opening = Opening(lambda: parts(stock(700)), remembered=2)
    for node in cluster.nodes.values():
        node.start()
    cluster.until(cluster.open, "open")
    assert len(cluster.rows("catalog-0")) == 700


def test_the_leader_opens_a_large_catalog_and_the_others_let_it(opens: Opens) -> None:
    cluster = opens(catalogs=3, orders=1, books=stock(3000))
    assert len(cluster.rows("catalog-2")) == 3000
    assert not cluster.nodes["catalog-0"].driver.replica.counts.primary_moves, "the others have taken turns with it"
    assert cluster.nodes["catalog-0"].driver.replica.log.head[1] == 3, "the first part, the last, and what is between"


def test_nothing_is_served_before_the_stock_is_there(opens: Opens) -> None:
    cluster = opens(catalogs=1, orders=1, start=False)
    for node in cluster.nodes.values():
        node.start()
    cluster.until(lambda: cluster.running("catalog-0"), "running")
    assert cluster.nodes["catalog-0"].server.opener.stock is not None
    early = cluster.get("catalog-0", "/books/1")
    assert (early.status, early.json["detail"]) == (503, "The catalog is not open yet.")
    assert cluster.get("catalog-0", "/health").status == 503
    cluster.until(cluster.open, "open")
    assert cluster.get("catalog-0", "/books/1").status == 200
