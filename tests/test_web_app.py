"""Errors, ids, keys, bodies and queries, through a Klein app in memory."""

import json
import os
import re
import time
from uuid import RFC_4122, UUID

import pytest
from msgspec import Struct
from treq.client import HTTPClient
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure

from pygmy.errors import Problem, outcome_unknown, unavailable
from pygmy.peers import http_client
from pygmy.web import ids
from pygmy.web.app import make_app, root_resource
from pygmy.web.auth import Secrets
from pygmy.web.contract import BasketBody, BuyBody, ChangeBody
from pygmy.web.ids import numbered_id, uuid7
from pygmy.web.metrics import Metrics
from pygmy.web.openapi import Auth, Route
from pygmy.web.queries import query
from pygmy.web.requests import idempotency_key, positive, read_json, write_json
from pygmy.web.status import ClusterBody, Health, NodeStatus, common_routes

SECRETS = Secrets("c" * 32, "a" * 32)


class Page(Struct, forbid_unknown_fields=True):
    topic: str | None = None
    limit: int = 100


def raising(error):
    def handler(request, **parts):
        raise error

    return handler


def get(path, handler, **more):
    return Route(method="GET", path=path, handler=handler, summary="x", answers={200: None}, **more)


class Store:
    """An app with one route for each promise, and a client of it."""

    def __init__(self):
        self.metrics = Metrics("frontend", "frontend-0")
        self.health = Health("Healthy", "frontend", "frontend-0", "RUNNING", 3, 2)
        self.waiting = Deferred()
        post = {"summary": "x", "answers": {200: BuyBody}, "method": "POST"}
        routes = [
            get("/unavailable", raising(unavailable("No catalog."))),
            get("/unknown", raising(outcome_unknown("Retry with the same key."))),
            get("/short", raising(Problem(409, "Out of stock", "Only 2 left.", item=1, count=2))),
            get("/bug", raising(RuntimeError("the secret is swordfish"))),
            get("/later-bug", lambda request: fail(RuntimeError("swordfish"))),
            get("/books", lambda r: write_json(r, 200, query(r, Page)), query=Page),
            get("/books/{item}", lambda r, item: write_json(r, 200, positive(item, "book id"))),
            get("/wait", lambda r: self.waiting),
            get("/key", lambda r: write_json(r, 200, idempotency_key(r))),
            get("/admin", lambda r: write_json(r, 200, 1), auth=Auth.ADMIN),
            get("/member", lambda r: write_json(r, 200, 1), auth=Auth.MEMBER),
            Route(path="/buy", handler=self.buy, body=BuyBody, **post),
            Route(path="/must", handler=lambda r: write_json(r, 200, read_json(r, BuyBody)), body=BuyBody, **post),
            Route(
                path="/title", handler=lambda r: write_json(r, 200, read_json(r, ChangeBody)), body=ChangeBody, **post
            ),
            Route(
                path="/basket",
                handler=lambda r: write_json(r, 200, read_json(r, BasketBody)),
                body=BasketBody,
                **post,
            ),
            Route(path="/do", handler=lambda r: write_json(r, 200, 1), **post),
            *common_routes(
                health=lambda: self.health,
                cluster=lambda: ClusterBody("x", (NodeStatus("catalog-0", "catalog", "u", "RUNNING"),)),
                metrics=self.metrics,
            ),
        ]
        app = make_app(routes, secrets=SECRETS, metrics=self.metrics)
        self.agent = RequestTraversalAgent(root_resource(app))
        self.client = HTTPClient(self.agent, data_to_body_producer=http_client(self.agent)._data_to_body_producer)

    async def buy(self, request):
        return write_json(request, 200, read_json(request, BuyBody, default=BuyBody(), limit=100))

    def ask(self, method, path, headers=None, data=None):
        """(status, headers, parsed body or bytes)."""
        d = self.client.request(method, "http://localhost:80" + path, headers=headers or {}, data=data)
        got = []
        d.addCallback(lambda response: response.content().addCallback(lambda body: got.append((response, body))))
        errors = []
        d.addErrback(errors.append)
        self.agent.flush()
        assert not errors, errors
        ((response, body),) = got
        kind = response.headers.getRawHeaders("content-type", [""])[0]
        return response.code, response.headers, json.loads(body) if body and "json" in kind else body


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def logged():
    events = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


JSON = {"Content-Type": "application/json"}


def test_a_problem_is_answered_as_problem_json_with_its_fields(store):
    status, headers, body = store.ask("GET", "/short", {"X-Request-ID": "abc"})
    assert status == 409
    assert headers.getRawHeaders("content-type") == ["application/problem+json"]
    assert body == {
        "type": "urn:pygmy:problem:out-of-stock",
        "title": "Out of stock",
        "status": 409,
        "detail": "Only 2 left.",
        "request_id": "abc",
        "item": 1,
        "count": 2,
    }


def test_a_503_says_when_to_retry_and_whether_the_outcome_is_unknown(store):
    status, headers, body = store.ask("GET", "/unavailable")
    assert (status, headers.getRawHeaders("retry-after"), "outcome_unknown" in body) == (503, ["1"], False)
    status, headers, body = store.ask("GET", "/unknown")
    assert (status, headers.getRawHeaders("retry-after"), body["outcome_unknown"]) == (503, ["1"], True)


@pytest.mark.parametrize("path", ["/bug", "/later-bug"])
def test_a_bug_is_a_500_without_details_and_a_log_line_with_the_request_id(store, logged, path):
    status, headers, body = store.ask("GET", path, {"X-Request-ID": "r1"})
    assert status == 500
    assert "swordfish" not in json.dumps(body)
    assert headers.getRawHeaders("content-type") == ["application/problem+json"]
    (event,) = [event for event in logged if event.get("log_failure")]
    assert event["rid"] == "r1"
    assert event["log_failure"].check(RuntimeError)


@pytest.mark.parametrize("path", ["/nothing", "/books/1/2", "/%ff", "/"])
def test_unknown_paths_get_problem_json(store, path):
    status, headers, body = store.ask("GET", path)
    assert status in (400, 404)
    assert headers.getRawHeaders("content-type") == ["application/problem+json"]
    assert headers.getRawHeaders("x-request-id") == [body["request_id"]]


@pytest.mark.parametrize("host", ["caf\xe9", "a..b", "\xff\xfe"])
def test_a_strange_host_is_answered(store, host):
    status, headers, _ = store.ask("GET", "/books", {"Host": host.encode("latin-1")})
    assert status in (200, 400, 404)
    assert "html" not in headers.getRawHeaders("content-type")[0]


@pytest.mark.parametrize("method", ["DELETE", "BREW", "OPTIONS"])
def test_a_wrong_method_gets_405_with_allow(store, method):
    status, headers, body = store.ask(method, "/books")
    assert (status, body["status"]) == (405, 405)
    assert headers.getRawHeaders("allow") == ["GET, HEAD"]


def test_head_is_get_without_a_body(store):
    status, headers, body = store.ask("HEAD", "/books/7")
    assert (status, body) == (200, b"")
    assert headers.getRawHeaders("content-length") == ["1"]


@pytest.mark.parametrize("sent", ["x" * 128, "a-b_c/1"])
def test_a_sane_request_id_is_taken_over(store, sent):
    assert store.ask("GET", "/books", {"X-Request-ID": sent})[1].getRawHeaders("x-request-id") == [sent]


@pytest.mark.parametrize("sent", ["x" * 129, "a b", "", "\x1b[31m", "caf\xe9"])
def test_a_request_id_that_would_spoil_a_log_line_is_replaced(store, sent):
    (used,) = store.ask("GET", "/books", {"X-Request-ID": sent.encode("latin-1")})[1].getRawHeaders("x-request-id")
    assert used != sent
    assert re.fullmatch("[0-9a-f-]{38,}", used)


@pytest.mark.parametrize(
    ("sent", "key"), [("abc", "abc"), ('"abc"', "abc"), ("x" * 255, "x" * 255), ('"' + "x" * 255 + '"', "x" * 255)]
)
def test_an_idempotency_key_is_taken_quoted_or_bare(store, sent, key):
    assert store.ask("GET", "/key", {"Idempotency-Key": sent})[2] == key


def test_no_idempotency_key_is_none(store):
    assert store.ask("GET", "/key")[2] is None


@pytest.mark.parametrize("sent", ["", "a b", "x" * 256, '"', '""', '"abc', "caf\xe9", '"a"b"'])
def test_a_bad_idempotency_key_gets_400(store, sent):
    status, _, body = store.ask("GET", "/key", {"Idempotency-Key": sent.encode("latin-1")})
    assert status == 400
    assert "Idempotency-Key" in body["detail"]


def test_two_idempotency_keys_get_400(store):
    status, _, body = store.ask("GET", "/key", {"Idempotency-Key": ["a", "b"]})
    assert (status, body["detail"]) == (400, "Idempotency-Key: expected once, got it 2 times.")


def test_a_body_is_decoded_and_a_missing_one_is_the_default(store):
    assert store.ask("POST", "/buy", JSON, b'{"quantity":3}')[2] == {"quantity": 3}
    assert store.ask("POST", "/buy")[2] == {"quantity": 1}
    assert store.ask("POST", "/must")[0] == 400


@pytest.mark.parametrize(
    "kind", ["application/json", "Application/JSON; charset=UTF-8", 'application/json ; charset="utf-8";']
)
def test_json_that_is_declared_to_be_it_is_taken(store, kind):
    assert store.ask("POST", "/buy", {"Content-Type": kind}, b'{"quantity":3}')[0] == 200


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonx",
        "application/problem+json",
        "application/json; charset=latin-1",
        "application/json; charset=utf-8x",
        "application/json; x=y",
        "application/json, text/plain",
        "application/json" + " ;" * 4_000 + "x",
        ["text/plain", "application/json"],
        "",
        None,
    ],
    ids=lambda kind: str(kind)[:40],
)
def test_a_body_that_is_not_declared_to_be_json_in_utf_8_gets_415(store, kind):
    status, _, body = store.ask("POST", "/buy", {} if kind is None else {"Content-Type": kind}, b'{"quantity":3}')
    assert status == 415
    assert body["detail"] == "Expected one Content-Type: application/json, with charset=utf-8 or none."


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"quantity":0}', "Expected `integer` >= 1 at `quantity` in the body."),
        (b'{"quantity":1001}', "<= 1000 at `quantity`"),
        (b'{"quantity":"3"}', "Expected `integer`, got `string` at `quantity`"),
        (b'{"quantity":1.5}', "Expected `integer`, got a number with a point or an exponent at `quantity`"),
        (b'{"quantity":true}', "Expected `integer`, got `boolean`"),
        (b'{"quantity":%s}' % (b"9" * 5000), "Number out of range at `quantity`"),
        (b'{"quantity":1,"x":2}', "Unknown field `x` (expected: quantity) in the body."),
        (b'{"a - at `$.quantity`":2}', "Unknown field `a - at `$.quantity`` (expected: quantity)"),
        (b'{"%s":2}' % (b"x" * 9000), "Unknown field `" + "x" * 64 + "...`"),
        (b'{"quantity":1,"quantity":2}', "Field `quantity`: expected once"),
        (b'{"quantity":1,"\\u0071uantity":1}', "Field `quantity`: expected once"),
        (b"[1]", "Expected `object`, got `array`"),
        (b'{"quantity":', "not JSON"),
        (b'{"quantity":NaN}', "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b'\xef\xbb\xbf{"quantity":1}', "byte order mark"),
        (b'{"\xff":1}', "not JSON in UTF-8: a text is not UTF-8."),
        (b" \n", "Expected a JSON body."),
    ],
)
def test_a_bad_body_gets_400_saying_what_was_expected(store, body, said):
    status, _, answer = store.ask("POST", "/must", JSON, body)
    assert status == 400
    assert said in answer["detail"]


def test_a_body_over_the_routes_limit_gets_413(store):
    assert store.ask("POST", "/buy", JSON, b'{"quantity":1}' + b" " * 90)[0] == 413
    assert store.ask("POST", "/buy", JSON, b'{"quantity":1}' + b" " * 80)[0] == 200


def test_a_query_is_typed(store):
    assert store.ask("GET", "/books?topic=a%20b&limit=5")[2] == {"topic": "a b", "limit": 5}
    assert store.ask("GET", "/books?topic=5")[2] == {"topic": "5", "limit": 100}
    assert store.ask("GET", "/books?topic=a;limit=5&")[2] == {"topic": "a;limit=5", "limit": 100}
    assert store.ask("GET", "/books?&topic=")[2] == {"topic": "", "limit": 100}


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ("limit=x", "`limit`"),
        ("limit=1e2", "`limit`"),
        ("limit=1.0", "`limit`"),
        ("limit=", "`limit`"),
        ("limit=%D9%A1", "`limit`"),
        ("limit=99999999999999999999999", "`limit`"),
        ("page=2", "Unknown query parameter `page` (expected: topic, limit)."),
        ("page", "Unknown query parameter `page`"),
        ("topic", "Query parameter `topic`: expected a value"),
        ("topic=a&limit", "Query parameter `limit`: expected a value"),
        ("=", "Unknown query parameter ``"),
        ("limit=-" + "9" * 5000, "`limit`: expected an integer in at most 19 plain digits"),
        ("limit=1&limit=2", "expected once"),
        ("topic=%ff", "UTF-8"),
    ],
)
def test_a_bad_query_gets_400_saying_what_was_expected(store, sent, said):
    status, _, body = store.ask("GET", f"/books?{sent}")
    assert status == 400
    assert said in body["detail"]


def test_a_write_with_a_query_is_refused_rather_than_half_understood(store):
    assert store.ask("POST", "/buy?quantity=5")[0] == 400
    assert store.ask("POST", "/buy?quantity")[0] == 400
    assert store.ask("POST", "/buy")[0] == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_no_route_passes_over_a_query_that_it_does_not_take(store, method):
    path = "/do" if method == "POST" else "/cluster"
    status, _, body = store.ask(method, path + "?x=1")
    assert status == 400
    assert method == "HEAD" or body["detail"] == "Unknown query parameter `x` (expected: none)."
    assert store.ask(method, path + "?")[0] == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_no_route_passes_over_a_body_that_it_does_not_take(store, method):
    path = "/do" if method == "POST" else "/cluster"
    status, _, body = store.ask(method, path, JSON, b'{"quantity":2}')
    assert (status, body["detail"]) == (400, f"Expected no body with {method} here.")
    assert store.ask(method, path, JSON)[0] == 200


@pytest.mark.parametrize("path", ["/health", "/metrics"])
def test_what_monitors_add_does_not_make_a_node_look_ill(store, path):
    assert store.ask("GET", f"{path}?_=1700000000", JSON, b"{}")[0] == 200


@pytest.mark.parametrize("name", ["If-Match", "If-None-Match", "If-Unmodified-Since"])
def test_a_write_under_a_condition_is_refused_rather_than_done_without(store, name):
    status, _, body = store.ask("POST", "/do", {name: "*"})
    assert status == 400
    assert body["detail"].startswith(f"{name} is not supported: ")
    assert store.ask("GET", "/cluster", {name: "*"})[0] == 200


@pytest.mark.parametrize("text", ["0", "-1", "x", "1.0", "01", "%2B1"])
def test_a_book_id_that_is_not_a_positive_integer_gets_400(store, text):
    assert store.ask("GET", f"/books/{text}")[0] == 400


@pytest.mark.parametrize("text", [str(2**63), "9" * 19, "9" * 30, "9" * 5000], ids=len)
def test_an_id_beyond_all_that_are_given_gets_400_naming_the_bound(store, text):
    status, _, body = store.ask("GET", f"/books/{text}")
    assert (status, body["detail"]) == (400, f"Expected an integer of 1..{2**63 - 1} in plain digits as book id.")


def test_an_id_is_bounded_alike_in_a_path_and_in_a_body(store):
    assert store.ask("GET", f"/books/{2**63 - 1}")[2] == 2**63 - 1
    basket = b'{"items":[{"id":%d}]}'
    assert store.ask("POST", "/basket", JSON, basket % (2**63 - 1))[2] == {
        "items": [{"id": 2**63 - 1, "quantity": 1}]
    }
    status, _, body = store.ask("POST", "/basket", JSON, basket % 2**63)
    assert (status, body["detail"]) == (400, f"Expected `integer` <= {2**63 - 1} at `items[0].id` in the body.")


@pytest.mark.parametrize(
    ("path", "sent", "said"),
    [
        (
            "/basket",
            b'{"items":[{"id":1,"count":2}]}',
            "Unknown field `count` at `items[0]` (expected: id, quantity)",
        ),
        ("/basket", b'{"items":[{"id":1,"id":2}]}', "Field `id`: expected once"),
        ("/basket", b'{"items":[{}]}', "Missing field `id` at `items[0]` in the body."),
        ("/title", b'{"count":{"decrement":1}}', "Unknown field `decrement` at `count` (expected: increment)"),
        ("/title", b'{"count":"5"}', 'Expected `integer` or `{"increment": integer}`, got `string` at `count`'),
        ("/title", b'{"cost":"5"}', "Expected a number of 0..1000000 with at most two decimals at `cost`"),
    ],
)
def test_what_is_wrong_inside_of_a_body_is_told_with_its_place(store, path, sent, said):
    status, _, body = store.ask("POST", path, JSON, sent)
    assert status == 400
    assert said in body["detail"]


def test_a_text_with_control_characters_is_refused_in_words(store):
    _, _, body = store.ask("POST", "/title", {"Content-Type": "application/json"}, b'{"title": "a\\nb"}')
    assert body["detail"] == "Expected `string` without control characters at `title` in the body."


def bearer(secret):
    return {"Authorization": f"Bearer {secret}"}


def test_secrets_open_what_they_should(store):
    for path, secret, expected in [
        ("/admin", SECRETS.admin, 200),
        ("/admin", SECRETS.cluster, 200),
        ("/admin", "wrong", 403),
        ("/member", SECRETS.cluster, 200),
        ("/member", SECRETS.admin, 403),
    ]:
        assert store.ask("GET", path, bearer(secret))[0] == expected, (path, secret)


@pytest.mark.parametrize("sent", [None, "Bearer", "Bearer ", "Basic abc", SECRETS.cluster])
def test_without_a_bearer_one_gets_401_and_is_told_how(store, sent):
    for path in ("/admin", "/member"):
        status, headers, _ = store.ask("GET", path, {"Authorization": sent} if sent else {})
        assert status == 401
        assert headers.getRawHeaders("www-authenticate") == ['Bearer realm="pygmy"']


def test_no_secret_is_ever_shown(store, logged):
    shown = [repr(SECRETS), str(SECRETS)]
    for sent in (SECRETS.admin, "hunter2-hunter2"):
        shown.append(json.dumps(store.ask("GET", "/member", bearer(sent))[2]))
    shown.append(repr(logged))
    for secret in (SECRETS.admin, SECRETS.cluster, "hunter2"):
        assert not any(secret in one for one in shown)


def test_health_is_503_unless_healthy(store):
    assert store.ask("GET", "/health")[0] == 200
    store.health = Health("No catalog answers", "frontend", "frontend-0", "SYNC", 3, 2)
    status, _, body = store.ask("GET", "/health")
    assert (status, body["message"], body["state"]) == (503, "No catalog answers", "SYNC")


def test_cluster_shows_what_the_node_sees(store):
    assert store.ask("GET", "/cluster")[2]["nodes"][0]["node"] == "catalog-0"


def test_requests_are_counted_by_route_template_and_status(store):
    store.ask("GET", "/books/1")
    store.ask("GET", "/books/2")
    store.ask("GET", "/books/x")
    store.ask("GET", "/nothing")
    store.ask("QUUX", "/books")
    text = store.ask("GET", "/metrics")[2].decode()
    for labels, count in [
        ('method="GET",route="/books/{item}",status="200"', 2.0),
        ('method="GET",route="/books/{item}",status="400"', 1.0),
        ('method="GET",route="(none)",status="404"', 1.0),
        ('method="other",route="(none)",status="405"', 1.0),
    ]:
        assert f"pygmy_requests_total{{{labels}}} {count}" in text
    assert 'pygmy_request_seconds_count{route="/books/{item}"} 3.0' in text


def test_uuid7_is_a_version_7_that_grows():
    made = [uuid7() for _ in range(10_000)]
    assert made == sorted(set(made))
    assert {(len(one), UUID(one).version, UUID(one).variant) for one in made} == {(36, 7, RFC_4122)}
    assert len({one[19:] for one in made}) == len(made), "none can be guessed from another"


@pytest.mark.parametrize("later", [-3_600.0, 0.0, 0.001, 86_400.0])
def test_uuid7_grows_whatever_the_wall_clock_does(later, monkeypatch):
    """More of them in a millisecond than can be counted there, too."""
    now = 1_795_000_000_000_000_000
    monkeypatch.setattr(ids, "_beginnings", ids._Beginnings())
    monkeypatch.setattr(time, "time_ns", lambda: now)
    made = [uuid7() for _ in range(9_000)]
    monkeypatch.setattr(time, "time_ns", lambda: now + round(later * 1e9))
    made += [uuid7() for _ in range(9_000)]
    assert made == sorted(set(made))
    assert UUID(made[0]).int >> 80 == now // 10**6
    if later > 1:
        assert UUID(made[9_000]).int >> 80 == now // 10**6 + round(later * 1000)


def test_a_process_that_was_forked_makes_ids_of_its_own():
    uuid7(), numbered_id()  # from here on there are random bits and a prefix in store
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.write(write, uuid7().encode() + numbered_id())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        theirs = pipe.read()
    os.waitpid(child, 0)
    made, numbered = theirs[:36], theirs[36:]
    assert made[14] == numbered[14] == "7"
    assert made[-15:] != uuid7()[-15:]
    assert numbered[:36] != numbered_id().decode()[:36]


def test_cancellation_passes_the_error_handler(store):
    from pygmy.web.problems import answer_failure

    with pytest.raises(CancelledError):
        answer_failure(None, Failure(CancelledError()))
