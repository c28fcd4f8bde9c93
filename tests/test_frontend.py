"""The front end against back ends that are real on the wire and scripted behind it; one clock, no socket."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock

from pygmy.balancing.forwarding import Patience
from pygmy.caching.cache import BookOf
from pygmy.errors import Problem, no_such_book, outcome_unknown, unavailable
from pygmy.frontend import Settings
from pygmy.messages.internal import (
    Bought,
    Buy,
    Execute,
    Executed,
    Fill,
    Invalidate,
    List,
    Orders,
    OrdersPage,
    Renew,
)
from pygmy.messages.operations import (
    AddBook,
    ChangeBook,
    Line,
    NoSuchBook,
    Ordered,
    OutOfRange,
    RemoveBook,
    Removed,
    Result,
    Reused,
    Sell,
    Shelved,
)
from pygmy.peers import as_refused, http_client
from pygmy.routes.shortcut import asked_for
from pygmy.routes.writing import Writing
from pygmy.web.app import make_app, root_resource
from pygmy.web.metrics import Metrics
from pygmy.web.status import Health
from tests.support.shop import ADMIN, MEMBER, SECRETS, Asked, Shop, book, filled, listed, order, renewed

SOLD_OUT = Problem(409, "Out of stock", "There are too few copies.", item=1, count=0)


@pytest.fixture
def open_shop() -> Iterator[Callable[..., Shop]]:
    shops: list[Shop] = []

    def open_one(*args: Any, **options: Any) -> Shop:
        shops.append(Shop(*args, **options))
        return shops[-1]

    yield open_one
    for shop in shops:
        shop.close()


@pytest.fixture
def shop(open_shop: Callable[..., Shop]) -> Shop:
    made = open_shop()
    made.all_answer(Fill, lambda body: filled(body.item))
    made.all_answer(Buy, lambda body: bought(body, 79))
    return made


def bought(body: Buy, order_id: int = 1) -> Bought:
    sales = [(one.op_id, one.operation.lines[0]) for one in body.sales]
    return Bought(tuple(Ordered(order(order_id, op_id, line.item, line.quantity)) for op_id, line in sales))


def op_ids_bought(shop: Shop) -> set[str]:
    return {one.op_id for back in shop.backs.values() for body in back.bodies(Buy) for one in body.sales}


def refuse(problem: Problem) -> Callable[[Any], Any]:
    def answer(_: Any) -> Any:
        raise problem

    return answer


def silence(_: Any) -> "Deferred[Any]":
    return Deferred()


# ---- lookups


def test_a_lookup_answers_in_the_contracts_fields(shop: Shop) -> None:
    answer = shop.get("/books/1")
    assert (answer.status, answer.json) == (
        200,
        {"id": 1, "title": "Book 1", "topic": "graduate school", "cost": 30.0, "count": 10},
    )
    assert answer.header("ETag") == '"3-7"'
    assert answer.header("X-Request-ID")


def test_a_second_lookup_is_a_hit_and_logs_nothing(shop: Shop) -> None:
    first = shop.get("/books/1")
    assert shop.lines("forward") == ["forward GET /books/1 -> http://a:5000"]
    assert shop.lines("cached") == ["cached item 1"]
    before = list(shop.log)
    second = shop.get("/books/1")
    assert (second.status, second.body, second.header("ETag")) == (200, first.body, first.header("ETag"))
    assert shop.log == before
    assert len(shop.backs["catalog-0"].bodies(Fill)) == 1


@pytest.mark.parametrize("tag", ['"3-7"', 'W/"3-7"', '"1-1", "3-7"', "*"])
def test_a_client_that_has_the_version_gets_304(shop: Shop, tag: str) -> None:
    answer = shop.get("/books/1", {"If-None-Match": tag})
    assert (answer.status, answer.body, answer.header("ETag")) == (304, b"", '"3-7"')
    assert shop.get("/books/1", {"If-None-Match": '"3-8"'}).status == 200


def test_an_unknown_book_is_404_and_not_cached(shop: Shop) -> None:
    shop.all_answer(Fill, lambda body: filled(body.item).__class__(None, (1, 0), 1.0))
    for _ in range(2):
        answer = shop.get("/books/99")
        assert (answer.status, answer.json["item"]) == (404, 99)
        assert answer.header("Content-Type") == "application/problem+json"
    assert sum(len(back.bodies(Fill)) for back in shop.backs.values()) == 2


@pytest.mark.parametrize("item", ["0", "-1", "x", "1.5", "01", "%31%20"])
def test_a_book_id_is_a_positive_integer(shop: Shop, item: str) -> None:
    assert shop.get(f"/books/{item}").status == 400
    assert not shop.lines("forward")


def test_a_list_is_cached_by_page_and_names_the_next(shop: Shop) -> None:
    shop.all_answer(List, lambda body: listed(3, 4, more=True))
    for _ in range(2):
        answer = shop.get("/books?topic=graduate+school&limit=2")
        assert answer.json == [{"id": 3, "title": "Book 3"}, {"id": 4, "title": "Book 4"}]
        assert answer.header("Link") == '</books?topic=graduate+school&limit=2&after=4>; rel="next"'
    asked = [body for back in shop.backs.values() for body in back.bodies(List)]
    assert asked == [List("graduate school", 0, 2, "frontend-0")]
    assert shop.lines("cached") == ["cached topic graduate school"]
    shop.get("/books?after=4")
    assert shop.backs["catalog-1"].bodies(List) == [List(None, 4, 100, "frontend-0")]


def test_an_empty_list_is_not_cached(shop: Shop) -> None:
    shop.all_answer(List, lambda body: listed())
    for _ in range(2):
        answer = shop.get("/books?topic=nothing")
        assert (answer.status, answer.json, answer.header("Link")) == (200, [], None)
    assert sum(len(back.bodies(List)) for back in shop.backs.values()) == 2


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=x", "after=-1", "after=9223372036854775808", "limit=1&limit=2", "colour=red"],
)
def test_bad_query_parameters_are_400(shop: Shop, query: str) -> None:
    assert shop.get(f"/books?{query}").status == 400


def test_concurrent_misses_share_one_fill(shop: Shop) -> None:
    pending: list[Deferred[Any]] = []
    shop.all_answer(Fill, lambda _: pending.append(Deferred()) or pending[-1])  # type: ignore[func-returns-value]
    readers = [shop.get("/books/1") for _ in range(5)]
    assert len(pending) == 1
    pending[0].callback(filled())
    shop.settle()
    assert [reader.status for reader in readers] == [200] * 5


def test_misses_that_share_a_failed_fill_are_all_told(shop: Shop) -> None:
    pending: list[Deferred[Any]] = []
    shop.all_answer(Fill, lambda _: pending.append(Deferred()) or pending[-1])  # type: ignore[func-returns-value]
    readers = [shop.get("/books/1") for _ in range(2)]
    pending[0].errback(Problem(400, "Bad request", "Not so."))
    shop.settle()
    assert [reader.status for reader in readers] == [400, 400]
    shop.all_answer(Fill, lambda body: filled(body.item))
    assert shop.get("/books/1").status == 200


def test_without_caches_every_lookup_asks_and_nobody_is_named_as_holder(open_shop: Callable[..., Shop]) -> None:
    shop = open_shop(caching=False)
    shop.all_answer(Fill, lambda body: filled(body.item))
    assert [shop.get("/books/1").status for _ in range(4)] == [200] * 4
    for name in ("catalog-0", "catalog-1"):
        assert shop.backs[name].bodies(Fill) == [Fill(1, ""), Fill(1, "")]
    shop.advance(1.0)
    assert not shop.backs["catalog-0"].bodies(Renew)
    assert shop.front.shortcut is None


# ---- invalidation


def test_an_invalidation_drops_the_book_and_is_acknowledged_by_its_number(shop: Shop) -> None:
    """Each front end answers for itself, by number: the catalog waits for all of them, not for the first."""
    shop.get("/books/1")
    shop.tell("catalog-0", Invalidate(41, ("item 1",)))
    assert shop.lines("invalidated") == ["invalidated item 1"]
    assert (shop.backs["catalog-0"].acked, shop.backs["catalog-1"].acked) == ([41], [])
    shop.all_answer(Fill, lambda body: filled(body.item, count=9))
    assert shop.get("/books/1").json["count"] == 9


def test_an_invalidation_is_acknowledged_each_time_it_comes_and_also_without_a_cache(
    open_shop: Callable[..., Shop],
) -> None:
    shop = open_shop(caching=False)
    for _ in range(2):
        shop.tell("catalog-1", Invalidate(42, ("item 5", "books")))
    assert shop.backs["catalog-1"].acked == [42, 42]


def test_a_catalog_may_take_back_all_that_it_let(shop: Shop) -> None:
    for item in (1, 2, 3, 4):
        shop.get(f"/books/{item}")
    cache = shop.front.cache
    assert cache is not None
    assert cache.size("books") == 4
    shop.tell("catalog-1", Invalidate(44, None))
    assert cache.size("books") == 2
    assert shop.lines("invalidated") == ["invalidated all that catalog-1 let"]
    assert shop.backs["catalog-1"].acked == [44]
    shop.tell("catalog-0", Invalidate(45, None))
    assert cache.size("books") == 0


def test_a_fill_under_way_is_not_stored_when_all_is_taken_back(shop: Shop) -> None:
    pending: list[Deferred[Any]] = []
    shop.all_answer(Fill, lambda _: pending.append(Deferred()) or pending[-1])  # type: ignore[func-returns-value]
    asked = shop.get("/books/1")
    shop.tell("catalog-1", Invalidate(46, None))
    pending[0].callback(filled())
    shop.settle()
    assert asked.status == 200
    assert shop.front.cache is not None
    assert shop.front.cache.size("books") == 0


def test_only_a_catalog_may_invalidate(shop: Shop) -> None:
    shop.tell("order-0", Invalidate(43, ("item 1",)))
    assert not shop.lines("invalidated")
    assert shop.backs["order-0"].acked == []


def test_a_fill_that_races_an_invalidation_does_not_cache_old_stock(shop: Shop) -> None:
    pending: list[Deferred[Any]] = []
    shop.all_answer(Fill, lambda _: pending.append(Deferred()) or pending[-1])  # type: ignore[func-returns-value]
    before = shop.get("/books/1")
    shop.tell("catalog-0", Invalidate(44, ("item 1",)))
    after = shop.get("/books/1")
    assert len(pending) == 2  # who came after the invalidation has a fill of their own
    pending[0].callback(filled(count=10))
    shop.settle()
    assert (before.status, before.json["count"], after.status) == (200, 10, 0)
    shop.all_answer(Fill, lambda _: filled(count=9))
    pending[1].callback(filled(count=9))
    shop.settle()
    assert after.json["count"] == 9
    assert shop.get("/books/1").json["count"] == 9


def test_who_shares_a_fill_without_a_lease_too_late_gets_another(shop: Shop) -> None:
    pending: list[Deferred[Any]] = []
    shop.all_answer(Fill, lambda _: pending.append(Deferred()) or pending[-1])  # type: ignore[func-returns-value]
    first, second = shop.get("/books/1"), shop.get("/books/1")
    pending[0].callback(filled(count=10, session=None, lease=0.0))
    shop.settle()
    assert (first.json["count"], second.status, len(pending)) == (10, 0, 2)
    pending[1].callback(filled(count=9))
    shop.settle()
    assert second.json["count"] == 9


def test_a_book_can_be_dropped_by_hand_by_members_only(shop: Shop) -> None:
    shop.get("/books/1")
    assert [shop.ask("DELETE", "/cache/1", headers=headers).status for headers in ({}, ADMIN)] == [401, 403]
    assert shop.ask("DELETE", "/cache/1", headers=MEMBER).status == 204
    shop.get("/books/1")
    assert sum(len(back.bodies(Fill)) for back in shop.backs.values()) == 2


# ---- leases


def test_an_entry_is_not_served_beyond_its_lease(shop: Shop) -> None:
    shop.get("/books/1")
    shop.advance(1.1)
    shop.get("/books/1")
    assert sum(len(back.bodies(Fill)) for back in shop.backs.values()) == 2


def test_renewals_keep_an_entry_and_go_only_where_a_session_is_held(shop: Shop) -> None:
    shop.all_answer(Renew, lambda _: renewed())
    shop.get("/books/1")
    shop.advance(3.0)
    shop.get("/books/1")
    assert len(shop.backs["catalog-0"].bodies(Fill)) == 1
    assert 11 <= len(shop.backs["catalog-0"].bodies(Renew)) <= 13
    assert shop.backs["catalog-0"].bodies(Renew)[0] == Renew("frontend-0", (1, 0))
    assert not shop.backs["catalog-1"].calls


def test_a_renewal_that_names_a_new_session_voids_what_the_old_one_cached(shop: Shop) -> None:
    shop.get("/books/1")
    shop.all_answer(Renew, lambda _: renewed((1, 1), 0.0))
    shop.advance(0.3)
    shop.get("/books/1")
    assert sum(len(back.bodies(Fill)) for back in shop.backs.values()) == 2


# ---- buying


def test_a_buy_answers_in_the_contracts_fields(shop: Shop) -> None:
    answer = shop.ask("POST", "/books/1")
    assert (answer.status, answer.json) == (
        200,
        {
            "OrderId": 79,
            "ID": 1,
            "Date": "Apr-30-2021 17:44:44",
            "Order status": "Success",
            "Quantity": 1,
            "Total": 30.0,
        },
    )
    assert answer.header("Location") == "/orders/79"
    assert shop.lines("forward") == ["forward POST /books/1 -> http://a:5001"]


def test_a_quantity_and_a_basket_go_as_they_are(shop: Shop) -> None:
    shop.ask("POST", "/books/2", {"quantity": 3}, {"Idempotency-Key": "k1"})
    shop.ask("POST", "/orders", {"items": [{"id": 1, "quantity": 2}, {"id": 5}]}, {"Idempotency-Key": '"k2"'})
    assert [(one.op_id, one.operation) for body in shop.backs["order-0"].bodies(Buy) for one in body.sales] == [
        ("c:k1", Sell((Line(2, 3),))),
        ("c:k2", Sell((Line(1, 2), Line(5, 1)), basket=True)),
    ]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/books/1", {"quantity": 0}, 400),
        ("/books/1", {"quantity": 1001}, 400),
        ("/books/x", None, 400),
        ("/orders", None, 400),
        ("/orders", {"items": []}, 400),
        ("/orders", {"items": [{"id": 1}, {"id": 1}]}, 400),
    ],
)
def test_a_bad_buy_is_refused_here(shop: Shop, path: str, body: Any, status: int) -> None:
    assert shop.ask("POST", path, body).status == status
    assert shop.ask("POST", "/books/1", headers={"Idempotency-Key": "two words"}).status == 400
    assert not shop.lines("forward")


def test_the_key_that_a_buy_without_one_returns_names_the_same_operation(shop: Shop) -> None:
    key = shop.ask("POST", "/books/1").header("Idempotency-Key")
    assert key is not None
    assert uuid.UUID(key).version == 7
    assert shop.ask("POST", "/books/1", headers={"Idempotency-Key": key}).header("Idempotency-Key") == key
    assert len(shop.backs["order-0"].bodies(Buy)) == 2
    assert len(op_ids_bought(shop)) == 1


def test_buys_of_one_turn_go_together_and_each_is_mentioned_and_counted(shop: Shop) -> None:
    def answer(body: Buy) -> Bought:
        return Bought((as_refused(SOLD_OUT), *bought(body, 79).outcomes[1:]))

    shop.all_answer(Buy, answer)
    asked = [
        Asked(shop.client.post(f"http://front.example/books/{item}", headers={"X-Request-ID": f"r{item}"}))
        for item in (1, 2, 3)
    ]
    shop.settle()
    assert [one.status for one in asked] == [409, 200, 200]
    assert [one.json.get("ID") for one in asked] == [None, 2, 3]
    assert len({one.header("Idempotency-Key") for one in asked}) == 3
    assert [len(body.sales) for body in shop.backs["order-0"].bodies(Buy)] == [3]
    told = {(event.get("rid"), event.get("what")) for event in shop.events if event.get("what")}
    assert told == {(f"r{item}", f"POST /books/{item}") for item in (1, 2, 3)}
    metrics = shop.get("/metrics").body.decode()
    assert 'pygmy_forwards_total{result="ok",target="order-0"} 3.0' in metrics


@pytest.mark.parametrize("problem", [SOLD_OUT, no_such_book((1,)), Problem(422, "Key already used", "Used.")])
def test_a_refused_buy_is_not_tried_again_elsewhere(shop: Shop, problem: Problem) -> None:
    shop.all_answer(Buy, refuse(problem))
    answer = shop.ask("POST", "/books/1", headers={"Idempotency-Key": "k"})
    assert (answer.status, answer.json["title"]) == (problem.status, problem.title)
    assert answer.header("Idempotency-Key") == "k"
    shop.advance(6)
    assert [len(shop.backs[f"order-{index}"].bodies(Buy)) for index in (0, 1)] == [1, 0]


def test_an_unanswered_buy_goes_on_to_the_next_order_server_under_the_same_op_id(shop: Shop) -> None:
    shop.backs["order-0"].answers[Buy] = silence
    answer = shop.ask("POST", "/books/1")
    shop.advance(2.9)
    assert answer.status == 0
    shop.advance(0.2)
    assert answer.status == 200
    tries = [shop.backs[f"order-{index}"].bodies(Buy) for index in (0, 1)]
    assert tries[0] == tries[1]
    assert "down http://a:5001 (timeout), next http://b:5004" in shop.log


def test_a_replica_that_refuses_connections_costs_no_time(shop: Shop) -> None:
    shop.backs["catalog-0"].up = False
    answer = shop.get("/books/1")
    assert answer.status == 200
    assert shop.lines("down") == ["down http://a:5000 (refused), next http://b:5003"]
    shop.ask("DELETE", "/cache/1", headers=MEMBER)
    shop.get("/books/1")
    assert len(shop.lines("down")) == 1  # it is left out until a heartbeat finds it


@pytest.mark.parametrize(("method", "path"), [("GET", "/books/1"), ("POST", "/books/1")])
def test_with_every_replica_down_it_answers_503_at_once_and_does_not_spin(shop: Shop, method: str, path: str) -> None:
    for back in shop.backs.values():
        back.up = False
    for _ in range(2):
        answer = shop.ask(method, path)
        assert (answer.status, answer.header("Retry-After")) == (503, "1")
        assert "outcome_unknown" not in answer.json
    assert len(shop.lines("forward")) == 2


def test_a_buy_answers_503_at_once_when_no_catalog_can_be_reached(shop: Shop) -> None:
    """The order servers are well, but can do nothing: waiting for them would help nobody."""

    def refuse(_: Any) -> Any:
        raise unavailable("No catalog server can be reached.")

    shop.all_answer(Buy, refuse)
    shop.backs["catalog-0"].up = shop.backs["catalog-1"].up = False
    shop.advance(1.1)
    answer = shop.ask("POST", "/books/1")
    assert answer.status == 503
    assert "catalog" in answer.json["detail"]
    assert [len(shop.backs[name].bodies(Buy)) for name in ("order-0", "order-1")] == [1, 1]


def test_an_order_server_is_not_glued_to_the_catalog_with_its_index(shop: Shop) -> None:
    shop.backs["order-0"].up = shop.backs["catalog-1"].up = False
    shop.advance(1.1)
    assert [shop.get(f"/books/{item}").status for item in (1, 2)] == [200, 200]
    assert [shop.ask("POST", "/books/1").status for _ in (1, 2)] == [200, 200]
    assert len(shop.backs["catalog-0"].bodies(Fill)) == 2
    assert len(shop.backs["order-1"].bodies(Buy)) == 2


def test_lookups_and_orders_take_turns_of_their_own_and_buys_none(shop: Shop) -> None:
    shop.all_answer(Orders, lambda _: OrdersPage((), False))
    for item in range(1, 5):
        shop.get(f"/books/{item}")
        shop.ask("POST", f"/books/{item}")
        shop.ask("GET", f"/orders/{item}", headers=ADMIN)
    counts = {
        name: len([c for c in back.calls if not isinstance(c.body, Renew)]) for name, back in shop.backs.items()
    }
    assert counts == {"catalog-0": 2, "catalog-1": 2, "order-0": 4 + 2, "order-1": 2}


# ---- what is known of a write that failed


def test_a_buy_of_unknown_outcome_names_its_key(shop: Shop) -> None:
    shop.all_answer(Buy, silence)
    answer = shop.ask("POST", "/books/1")
    shop.advance(5.1)
    key = answer.header("Idempotency-Key")
    assert key is not None
    assert (answer.status, answer.json["outcome_unknown"], answer.json["idempotency_key"]) == (503, True, key)
    assert key in answer.json["detail"]
    assert answer.header("Retry-After") == "1"
    (op_id,) = op_ids_bought(shop)
    shop.all_answer(Buy, bought)
    assert shop.ask("POST", "/books/1", headers={"Idempotency-Key": key}).status == 200
    assert op_ids_bought(shop) == {op_id}


@pytest.mark.parametrize("unknown", [True, False])
def test_buys_that_fail_together_are_each_told_their_own_key(shop: Shop, unknown: bool) -> None:
    shop.all_answer(Buy, silence if unknown else refuse(no_such_book((1,))))
    asked = [
        Asked(shop.client.post(f"http://front.example/books/{key}", headers={"Idempotency-Key": f"k{key}"}))
        for key in (1, 2)
    ]
    shop.settle()
    shop.advance(5.1)
    assert [one.header("Idempotency-Key") for one in asked] == ["k1", "k2"]
    assert [one.json.get("idempotency_key") for one in asked] == (["k1", "k2"] if unknown else [None, None])
    assert [f"k{key}" in one.json["detail"] for key, one in zip((1, 2), asked, strict=True)] == [unknown] * 2


def test_a_buy_that_was_surely_not_accepted_anywhere_is_a_plain_503(shop: Shop) -> None:
    shop.backs["order-0"].up = False
    shop.backs["order-1"].answers[Buy] = refuse(Problem(503, "Unavailable", "In SYNC."))
    answer = shop.ask("POST", "/books/1")
    shop.advance(5.5)
    assert (answer.status, answer.json["title"]) == (503, "Unavailable")
    assert "outcome_unknown" not in answer.json


def test_a_clean_refusal_after_an_unanswered_try_leaves_the_outcome_unknown(shop: Shop) -> None:
    shop.backs["order-0"].answers[Buy] = silence
    shop.backs["order-1"].answers[Buy] = refuse(Problem(503, "Unavailable", "In SYNC."))
    answer = shop.ask("POST", "/books/1")
    shop.advance(5.5)
    assert (answer.status, answer.json["outcome_unknown"]) == (503, True)


def test_an_outcome_that_the_order_server_does_not_know_is_not_known_here(shop: Shop) -> None:
    """And the key to retry with is the client's: the order server's name for the operation would buy again."""
    shop.backs["order-0"].answers[Buy] = refuse(outcome_unknown("c:k is lost."))
    shop.backs["order-1"].up = False
    answer = shop.ask("POST", "/books/1", headers={"Idempotency-Key": "k"})
    shop.backs["order-0"].up = False
    shop.advance(5.5)
    assert (answer.status, answer.json["outcome_unknown"], answer.json["idempotency_key"]) == (503, True, "k")
    assert "c:k" not in answer.body.decode()


def test_a_server_that_answers_its_own_errands_names_the_clients_key_too() -> None:
    class Unsure:
        def forward(self, errand: Any, expected: Any) -> Any:
            return fail(outcome_unknown("Lost."))

    clock = Clock()
    routes = Writing(Unsure(), Unsure(), clock).routes()
    app = make_app(routes, secrets=SECRETS, metrics=Metrics("order", "order-0"))
    agent = RequestTraversalAgent(root_resource(app))
    asked = Asked(http_client(agent).post("http://order.example/books/1", headers={"Idempotency-Key": "k"}))
    clock.advance(0)
    agent.flush()
    assert (asked.status, asked.json["idempotency_key"], asked.header("Idempotency-Key")) == (503, "k", "k")
    assert "c:k" not in asked.body.decode()


@pytest.mark.parametrize(
    ("problem", "unknown"),
    [(SOLD_OUT, False), (Problem(422, "Key already used", "Used."), False), (no_such_book((1,)), True)],
)
def test_after_an_unanswered_try_only_a_recorded_refusal_settles_it(
    shop: Shop, problem: Problem, unknown: bool
) -> None:
    """404 is not recorded: the first try may still be under way, and find the book that was added meanwhile."""
    shop.backs["order-0"].answers[Buy] = silence
    shop.backs["order-1"].answers[Buy] = refuse(problem)
    answer = shop.ask("POST", "/books/1")
    shop.advance(5.5)
    assert (answer.status, answer.json.get("outcome_unknown", False)) == (503 if unknown else problem.status, unknown)


def test_it_goes_round_again_while_a_replica_may_come_to_serve_with_pauses(shop: Shop) -> None:
    shop.all_answer(Buy, refuse(Problem(503, "Unavailable", "In SYNC.")))
    answer = shop.ask("POST", "/books/1")
    shop.advance(2.0)
    assert answer.status == 0
    assert 4 <= sum(len(back.bodies(Buy)) for back in shop.backs.values()) <= 30
    shop.all_answer(Buy, bought)
    shop.advance(0.5)
    assert answer.status == 200


def test_patience_ends_after_five_seconds(shop: Shop) -> None:
    shop.all_answer(Fill, refuse(Problem(503, "Unavailable", "In SYNC.")))
    answer = shop.get("/books/1")
    shop.advance(4.4)
    assert answer.status == 0
    shop.advance(0.6)
    assert answer.status == 503


def test_a_read_is_given_a_second_at_each_replica(shop: Shop) -> None:
    shop.backs["catalog-0"].answers[Fill] = silence
    answer = shop.get("/books/1")
    shop.advance(0.9)
    assert answer.status == 0
    shop.advance(0.2)
    assert answer.status == 200


def test_a_write_goes_on_when_its_client_goes_away(shop: Shop) -> None:
    shop.backs["order-0"].answers[Buy] = silence
    asked = shop.ask("POST", "/books/1")
    asked.exchange.cancel()
    shop.advance(3.1)
    assert len(shop.backs["order-1"].bodies(Buy)) == 1


@pytest.mark.parametrize("sold", [True, False])
def test_what_became_of_a_buy_whose_client_has_gone_is_logged_if_it_failed(shop: Shop, sold: bool) -> None:
    waiting: list[Deferred[Any]] = []
    shop.all_answer(Buy, lambda buy: waiting.append(Deferred()) or waiting[-1])
    shop.ask("POST", "/books/1").exchange.cancel()
    refused = as_refused(Problem(409, "Out of stock", "There is none left."))
    (buy,) = shop.backs["order-0"].bodies(Buy)
    waiting[0].callback(bought(buy) if sold else Bought((refused,)))
    shop.settle()
    assert [line for line in shop.log if "after its client had gone" in line] == (
        [] if sold else ["after its client had gone: 409 Out of stock: There is none left."]
    )
    assert 'status="499"} 1' in shop.metrics.render().decode()


def test_more_requests_than_may_be_under_way_are_refused(open_shop: Callable[..., Shop]) -> None:
    shop = open_shop(settings=Settings(in_flight=1))
    shop.all_answer(Buy, silence)
    shop.ask("POST", "/books/1")
    refused = shop.ask("POST", "/books/2")
    assert (refused.status, refused.header("Retry-After")) == (503, "1")
    shop.advance(5.1)
    shop.all_answer(Buy, bought)
    assert shop.ask("POST", "/books/2").status == 200


def test_stopping_waits_for_what_is_under_way(shop: Shop) -> None:
    shop.all_answer(Buy, silence)
    asked = shop.ask("POST", "/books/1")
    stopped: list[None] = []
    shop.front.stopService().addCallback(stopped.append)
    assert not stopped
    shop.advance(5.1)
    assert (asked.status, stopped) == (503, [None])
    assert not [call for call in shop.clock.getDelayedCalls() if call.getTime() > shop.clock.seconds() + 4]
    before = len(shop.log)
    shop.advance(3)
    assert not [line for line in shop.log[before:] if line.startswith("heartbeat")]


# ---- the shelves


def shelved(count: int = 10, seq: int = 9) -> Executed:
    return Executed((Result(Shelved(book(8, count, seq)), 0, 3, seq),))


def test_books_are_added_changed_and_removed_by_admins_only(shop: Shop) -> None:
    shop.all_answer(Execute, lambda _: shelved())
    new = {"title": "T", "topic": "t", "cost": 27.5, "count": 3}
    assert [shop.ask("POST", "/books", new, headers).status for headers in ({}, {"Authorization": "Bearer x"})] == [
        401,
        403,
    ]
    added = shop.ask("POST", "/books", new, ADMIN)
    assert (added.status, added.header("Location"), added.json["id"]) == (201, "/books/8", 8)
    changed = shop.ask("PATCH", "/books/8", {"count": {"increment": 5}}, {**ADMIN, "Idempotency-Key": "k"})
    assert (changed.status, changed.header("ETag"), changed.header("Idempotency-Key")) == (200, '"3-9"', "k")
    shop.all_answer(Execute, lambda _: Executed((Result(Removed(8), 0, 3, 10),)))
    assert shop.ask("DELETE", "/books/8", headers=ADMIN).status == 204
    asked = [
        one.operation for back in shop.backs.values() for body in back.bodies(Execute) for one in body.operations
    ]
    assert {type(operation) for operation in asked} == {AddBook, ChangeBook, RemoveBook}
    assert ChangeBook(8, increment=5) in asked


@pytest.mark.parametrize(("outcome", "status"), [(NoSuchBook((8,)), 404), (OutOfRange(8, 4), 409), (Reused(), 422)])
def test_a_change_that_is_refused_says_why_and_is_not_repeated(shop: Shop, outcome: Any, status: int) -> None:
    shop.all_answer(Execute, lambda _: Executed((Result(outcome, 0),)))
    answer = shop.ask("PATCH", "/books/8", {"count": 1}, ADMIN)
    assert answer.status == status
    assert answer.header("Idempotency-Key")
    if status == 409:
        assert (answer.json["count"], answer.json["detail"]) == (
            4,
            "Book 8 has 4 copies; the change would leave it outside 0..1,000,000,000.",
        )
    assert len(shop.backs["catalog-1"].bodies(Execute)) == 0


@pytest.mark.parametrize(("outcome", "status"), [(NoSuchBook((8,)), 503), (OutOfRange(8, 4), 503), (Reused(), 422)])
def test_an_unrecorded_refusal_after_an_unanswered_try_settles_nothing(shop: Shop, outcome: Any, status: int) -> None:
    shop.backs["catalog-0"].answers[Execute] = silence
    shop.backs["catalog-1"].answers[Execute] = lambda _: Executed((Result(outcome, 0),))
    answer = shop.ask("PATCH", "/books/8", {"count": 1}, ADMIN)
    shop.advance(3.1)
    assert (answer.status, answer.json.get("outcome_unknown", False)) == (status, status == 503)


def test_orders_are_shown_to_admins_only(shop: Shop) -> None:
    page = OrdersPage((order(1, "c:a"), order(2, "c:b", 2, 3)), more=True)
    shop.all_answer(Orders, lambda body: page if body.limit > 1 else OrdersPage(page.orders[body.after :][:1], False))
    assert [shop.get(path).status for path in ("/orders", "/orders/1")] == [401, 401]
    answer = shop.get("/orders?limit=2", ADMIN)
    assert [one["OrderId"] for one in answer.json] == [1, 2]
    assert answer.header("Link") == '</orders?limit=2&after=2>; rel="next"'
    assert shop.get("/orders/2", ADMIN).json["Total"] == 90.0
    assert [shop.get(f"/orders/{number}", ADMIN).status for number in ("3", "0", "x")] == [404, 400, 400]


# ---- heartbeats, health and the rest


def test_heartbeats_decide_where_requests_go(shop: Shop) -> None:
    assert "heartbeat http://a:5000 200 RUNNING" in shop.log
    shop.backs["catalog-0"].up = False
    shop.advance(1.1)
    assert shop.lines("heartbeat http://a:5000")[-1] == "heartbeat http://a:5000 refused"
    assert shop.get("/books/1").status == 200
    assert not shop.lines("down")
    shop.backs["catalog-0"].up = True
    shop.advance(1.1)
    assert [shop.get(f"/books/{item}").status for item in (2, 3)] == [200, 200]
    assert len(shop.backs["catalog-0"].bodies(Fill)) == 1


def beats(shop: Shop, seconds: float) -> int:
    before = len(shop.lines("heartbeat http://b:5003"))
    shop.advance(seconds)
    return len(shop.lines("heartbeat http://b:5003")) - before


@pytest.mark.parametrize("path", ["/books/1", "/health", "/cluster", ""])
def test_heartbeats_become_rare_while_nobody_asks_for_anything_and_all_is_well(shop: Shop, path: str) -> None:
    """A store at rest costs next to nothing."""
    assert beats(shop, 29.5) == 29
    beats(shop, 5.0)
    assert beats(shop, 50.0) == 10
    if path:
        shop.get(path)
    else:  # a replica is found to be ill
        shop.backs["catalog-0"].up = False
        shop.advance(5.0)
    assert beats(shop, 20.0) == 20


def test_a_replica_that_syncs_is_asked_last(shop: Shop) -> None:
    back = shop.backs["catalog-0"]
    back.health = back.health.__class__("In SYNC.", "catalog", "catalog-0", "SYNC", 3, 2)
    shop.advance(1.1)
    assert shop.lines("heartbeat http://a:5000")[-1] == "heartbeat http://a:5000 503 SYNC"
    assert [shop.get(f"/books/{item}").status for item in (1, 2)] == [200, 200]
    assert not back.bodies(Fill)


def test_a_frozen_replica_holds_up_neither_heartbeats_nor_requests_for_long(shop: Shop) -> None:
    shop.backs["catalog-0"].frozen = True
    shop.advance(4.1)
    assert shop.lines("heartbeat http://a:5000")[-1] == "heartbeat http://a:5000 timeout"
    assert len(shop.lines("heartbeat http://b:5003")) == 5
    assert shop.get("/books/1").status == 200


def test_a_stranger_on_a_replicas_port_gets_no_requests(shop: Shop) -> None:
    back = shop.backs["catalog-0"]
    back.health = back.health.__class__("Healthy", "catalog", "catalog-7", "RUNNING", 3, 2)
    shop.advance(1.1)
    assert shop.front.tiers[back.node.role].running() == ("catalog-1",)


@pytest.mark.parametrize("tier", ["catalog", "order"])
def test_health_says_which_tier_it_cannot_reach(shop: Shop, tier: str) -> None:
    assert shop.get("/health").json == {
        "message": "Healthy",
        "role": "frontend",
        "node": "frontend-0",
        "state": "RUNNING",
        "epoch": 3,
        "redundancy": 2,
    }
    for name, back in shop.backs.items():
        back.up = not name.startswith(tier)
    shop.advance(1.1)
    answer = shop.get("/health")
    assert answer.status == 503
    assert answer.json["message"].startswith(f"No {tier} server can be reached")


def test_health_is_init_until_every_back_end_was_asked(open_shop: Callable[..., Shop]) -> None:
    shop = open_shop(start=False)
    answer = shop.get("/health")
    assert (answer.status, answer.json["state"]) == (503, "INIT")


def test_epoch_and_redundancy_are_the_least_of_the_tiers(shop: Shop) -> None:
    for name in ("order-0", "order-1"):
        back = shop.backs[name]
        back.health = back.health.__class__("Healthy", "order", name, "RUNNING", 2, 1)
    shop.advance(1.1)
    health = shop.get("/health").json
    assert (health["epoch"], health["redundancy"]) == (2, 1)


def test_the_cluster_as_seen_from_here(shop: Shop) -> None:
    shop.backs["order-1"].up = False
    shop.advance(1.1)
    nodes = {node["node"]: node for node in shop.get("/cluster").json["nodes"]}
    assert list(nodes) == ["catalog-0", "catalog-1", "order-0", "order-1", "frontend-0"]
    assert (nodes["catalog-0"]["state"], nodes["catalog-0"]["url"]) == ("RUNNING", "http://a:5000")
    down = nodes["order-1"]
    assert (down["state"], down["why"], down["heartbeat"]) == ("DOWN", "refused", 1.1)
    assert nodes["order-0"]["heartbeat"] < 0.2


def test_how_far_a_replica_is_behind_those_that_serve(shop: Shop) -> None:
    shop.backs["order-0"].health = Health("Healthy", "order", "order-0", "RUNNING", 3, 2, head=90)
    shop.backs["order-1"].health = Health("Catching up.", "order", "order-1", "SYNC", 3, 2, head=70)
    shop.advance(1.1)
    nodes = {node["node"]: node for node in shop.get("/cluster").json["nodes"]}
    lags = {name: nodes[name]["lag"] for name in ("order-0", "order-1", "catalog-1")}
    assert lags == {"order-0": 0, "order-1": 20, "catalog-1": None}


def test_other_front_ends_are_seen_and_matter_to_nobody(open_shop: Callable[..., Shop]) -> None:
    shop = open_shop("a\na\na, b, c\n")
    shop.backs["frontend-2"].up = False
    shop.advance(1.1)
    nodes = {node["node"]: node for node in shop.get("/cluster").json["nodes"]}
    states = [(nodes[f"frontend-{number}"]["state"], nodes[f"frontend-{number}"]["why"]) for number in range(3)]
    assert states == [("RUNNING", ""), ("RUNNING", ""), ("DOWN", "refused")]
    assert shop.get("/health").status == 200


def test_log_lines_and_calls_carry_the_clients_request_id(shop: Shop) -> None:
    answer = shop.get("/books/1", {"X-Request-ID": "trace-7"})
    assert answer.header("X-Request-ID") == "trace-7"
    assert shop.backs["catalog-0"].calls[0].request_id == "trace-7"
    tied = [event["log_format"].split()[0] for event in shop.events if event.get("rid") == "trace-7"]
    assert tied == ["forward", "cached"]


def test_metrics_count_hits_misses_and_forwards(shop: Shop) -> None:
    for _ in range(3):
        shop.get("/books/1")
    shop.advance(0.3)
    text = shop.get("/metrics").body.decode()
    assert 'pygmy_cache_hits_total{cache="books"} 2.0' in text
    assert 'pygmy_cache_misses_total{cache="books"} 1.0' in text
    assert 'pygmy_forwards_total{result="ok",target="catalog-0"} 1.0' in text


def test_the_document_names_every_call_of_the_contract(shop: Shop) -> None:
    paths = shop.get("/openapi.json").json["paths"]
    calls = {f"{method.upper()} {path.split('{')[0]}" for path, methods in paths.items() for method in methods}
    assert calls == {
        "GET /books", "GET /books/", "POST /books/", "POST /orders", "GET /orders", "GET /orders/", "POST /books",
        "PATCH /books/", "DELETE /books/", "DELETE /cache/", "GET /health", "GET /cluster", "GET /metrics",
        "GET /openapi.json",
    }  # fmt: skip


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/x", 404), ("PUT", "/books/1", 405)])
def test_unknown_paths_and_methods_are_problems_too(shop: Shop, method: str, path: str, status: int) -> None:
    answer = shop.ask(method, path)
    assert (answer.status, answer.header("Content-Type")) == (status, "application/problem+json")


# ---- the short way


def request(target: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {target} HTTP/1.1", "Host: localhost:5002", *headers, "", ""]).encode()


def head_of(answer: bytes) -> tuple[bytes, dict[bytes, bytes], bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    pairs = (line.split(b": ", 1) for line in lines)
    return status, {name.lower(): value for name, value in pairs}, body


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        ("/books/1", ()),
        ("/books?topic=graduate+school&limit=2", ()),
        ("/books?topic=a;limit=5", ()),
        ("/books", ()),
        ("/books/1", ('If-None-Match: "3-7"',)),
        ("/books/1", ('if-none-match:W/"3-7"  ',)),
        ("/books/1", ('If-None-Match: "1-1", "3-7"',)),
        ("/books/1", ("If-None-Match: *",)),
        ("/books/1", ('If-None-Match: "3-6"',)),
        ("/books/1", ("If-None-Match:",)),
        ("/books", ("If-None-Match: *",)),
        ("/books", ("If-None-Match:",)),
    ],
)
def test_the_short_way_gives_the_same_answer_as_the_long_one(
    shop: Shop, target: str, headers: tuple[str, ...]
) -> None:
    from twisted.internet.testing import StringTransport

    from pygmy.web.site import BoundedSite

    shop.all_answer(List, lambda body: listed(3, 4, more=True))
    short = shop.front.shortcut
    assert short is not None
    assert short(request(target, *headers)) is None
    shop.get(target)
    site = BoundedSite(shop.front.resource(), shop.clock)
    channel, wire = site.buildProtocol(None), StringTransport()  # type: ignore[arg-type]
    channel.makeConnection(wire)
    channel.dataReceived(request(target, *headers))
    shop.settle()
    answer = short(request(target, *headers))
    assert answer is not None
    (status, quick, body), (long_status, slow, long_body) = head_of(answer), head_of(wire.value())
    assert (status, body) == (long_status, long_body)
    for found in (quick, slow):
        assert len(found.pop(b"x-request-id")) >= 8
        found.pop(b"date")
    assert quick == slow


def test_the_short_way_ends_with_the_entry_and_counts_its_hits(shop: Shop) -> None:
    short = shop.front.shortcut
    assert short is not None
    shop.get("/books/1")
    answers = [short(request("/books/1")) for _ in range(3)]
    assert all(answers)
    assert len({head_of(answer or b"")[1][b"x-request-id"] for answer in answers}) == 3
    shop.advance(0.3)
    assert 'pygmy_cache_hits_total{cache="books"} 3.0' in shop.get("/metrics").body.decode()
    shop.tell("catalog-0", Invalidate(1, ("item 1",)))
    assert short(request("/books/1")) is None
    shop.all_answer(Fill, lambda body: filled(body.item, count=9, seq=8))
    shop.get("/books/1")
    _, headers, body = head_of(short(request("/books/1")) or b"")
    assert (headers[b"etag"], int(headers[b"content-length"]), b'"count":9' in body) == (b'"3-8"', len(body), True)


@pytest.mark.parametrize(
    "raw",
    [
        request("/books/1", "If-None-Match: *", "If-None-Match: *"),
        request("/books/1", "If-Match: *"),
        request("/books/1", "X-Request-ID: a"),
        request("/books/1", "Connection: close"),
        request("/books/1", "Content-Length: 1") + b"x",
        request("/books/1", "Host: other"),
        request("/books/1", "Expect: 100-continue"),
        request("/books/1") * 2,
        request("/books/1")[:-2],
        request("/books/1").replace(b"1.1", b"1.0"),
        request("/books/1").replace(b"GET", b"HEAD"),
        request("/books/0"),
        request("/books/01"),
        request("/books/1/"),
        request("/books/1?x=1"),
        request("/books?limit=0"),
        request("/books?limit=1&limit=2"),
        request("/books?colour=red"),
        request("/books?topic=%ff"),
        request("/books?topic=" + "a" * 501),
        request("/books?topic"),
        b"GET /books/1 HTTP/1.1\r\n\r\n",
        b"GET /books/1 HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET /books/1 HTTP/1.1\r\nHost: a/b\r\n\r\n",
    ],
)
def test_whatever_is_not_a_plain_lookup_goes_the_long_way(raw: bytes) -> None:
    assert asked_for(request("/books/1", "Accept: */*", "Connection: keep-alive")) == (BookOf(1), None)
    assert asked_for(raw) is None


def test_patience_is_that_of_the_contract() -> None:
    assert (Patience().total, Patience().read, Patience().write) == (5.0, 1.0, 3.0)
