"""The document says what the server does, because both come from one table."""

import json
import re

import pytest

from pygmy.web.app import make_app
from pygmy.web.auth import Secrets
from pygmy.web.contract import BasketBody, BasketOrderBody, BookBody, ChangeBody, NewBookBody, OrderBody
from pygmy.web.metrics import Metrics
from pygmy.web.openapi import Auth, Route, document
from pygmy.web.status import ClusterBody, Health, common_routes
from tests.test_web_app import Page


def nothing(request, **parts):
    return b""


HEALTH = Health("Healthy", "frontend", "frontend-0", "RUNNING", 1, 2)
METRICS = Metrics("frontend", "frontend-0")
ROUTES = (
    Route(method="GET", path="/books", handler=nothing, summary="Books", answers={200: list[BookBody]}, query=Page),
    Route(
        method="PATCH",
        path="/books/{item}",
        handler=nothing,
        summary="Change",
        body=ChangeBody,
        answers={200: BookBody},
        errors=(400, 404),
        auth=Auth.ADMIN,
        idempotent_key=True,
    ),
    Route(
        method="POST",
        path="/orders",
        handler=nothing,
        summary="Buy",
        body=BasketBody,
        answers={200: OrderBody | BasketOrderBody},
        errors=(409, 413),
    ),
    Route(method="POST", path="/books", handler=nothing, summary="Add", body=NewBookBody, answers={201: BookBody}),
    Route(
        method="DELETE",
        path="/cache/{item}",
        handler=nothing,
        summary="Drop",
        answers={204: None},
        auth=Auth.MEMBER,
    ),
    *common_routes(health=lambda: HEALTH, cluster=lambda: ClusterBody("x", ()), metrics=METRICS),
)


@pytest.fixture(scope="module")
def made():
    return json.loads(document(ROUTES, "Pygmy front end"))


def operations(made):
    return {(method.upper(), path): one for path, item in made["paths"].items() for method, one in item.items()}


def references(part):
    if isinstance(part, dict):
        yield from ([part["$ref"]] if "$ref" in part else [])
        for one in part.values():
            yield from references(one)
    elif isinstance(part, list):
        for one in part:
            yield from references(one)


def test_every_route_that_is_served_is_in_the_document_and_none_else():
    app = make_app(ROUTES, secrets=Secrets("c" * 32, "a" * 32), metrics=METRICS)
    served = {
        (method, re.sub(r"<(\w+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD"}
    }
    openapi = Route(method="GET", path="/openapi.json", handler=nothing, summary="", answers={})
    assert served == set(operations(json.loads(document((*ROUTES, openapi), "x"))))


def test_the_document_has_the_shape_of_openapi_3_1(made):
    assert made["openapi"] == "3.1.0"
    assert set(made["info"]) == {"title", "version"}
    ids = [one["operationId"] for one in operations(made).values()]
    assert len(ids) == len(set(ids))
    for (_, path), one in operations(made).items():
        assert one["summary"]
        assert all(re.fullmatch(r"[1-5]\d\d", status) for status in one["responses"])
        assert all(answer["description"] for answer in one["responses"].values())
        assert set(re.findall(r"{(\w+)}", path)) == {
            part["name"] for part in one["parameters"] if part["in"] == "path"
        }
        names = [(part["in"], part["name"]) for part in one["parameters"]]
        assert len(names) == len(set(names))


def test_every_reference_leads_somewhere(made):
    found = set(references(made))
    assert found
    for reference in found:
        part = made
        for name in reference.removeprefix("#/").split("/"):
            part = part[name]


def test_bodies_and_errors_are_described_by_the_types_that_validate(made):
    schemas = made["components"]["schemas"]
    assert schemas["NewBookBody"]["properties"]["cost"]["maximum"] == 1_000_000
    assert schemas["NewBookBody"]["additionalProperties"] is False
    assert set(schemas["OrderBody"]["required"]) == {"OrderId", "ID", "Date", "Order status", "Quantity", "Total"}
    patch = operations(made)["PATCH", "/books/{item}"]
    assert set(patch["responses"]) == {"200", "400", "401", "403", "404", "413", "415", "500"}
    assert set(patch["responses"]["404"]["content"]) == {"application/problem+json"}
    assert [next(iter(one)) for one in patch["security"]] == ["admin", "member"]
    assert "Idempotency-Key" in [part["name"] for part in patch["parameters"]]
    assert patch["requestBody"]["required"]
    assert "content" not in operations(made)["DELETE", "/cache/{item}"]["responses"]["204"]
    assert [part["name"] for part in operations(made)["GET", "/books"]["parameters"]][:2] == ["topic", "limit"]


def test_what_is_refused_of_any_request_is_in_the_document(made):
    for (_, path), one in operations(made).items():
        assert ("400" in one["responses"]) == (path not in ("/health", "/metrics"))
        assert ("415" in one["responses"]) == ("requestBody" in one)
        for part in one["parameters"]:
            if part["in"] == "path":
                assert part["schema"] == {"type": "integer", "minimum": 1, "maximum": 2**63 - 1}
    assert made["components"]["schemas"]["BasketItem"]["properties"]["id"]["maximum"] == 2**63 - 1


def test_what_the_document_says_of_headers_is_what_is_enforced(made):
    parameters = operations(made)["PATCH", "/books/{item}"]["parameters"]
    schemas = {part["name"]: part["schema"] for part in parameters if part["in"] == "header"}
    assert schemas["X-Request-ID"] == {"type": "string"}  # none is refused
    key = re.compile(schemas["Idempotency-Key"]["pattern"])
    for text in ["k", '"k"', "k" * 255, '"' + "k" * 255 + '"', 'a"']:
        assert key.search(text), text
    for text in ["", '""', '"k', "a b", "k" * 256, '"a"b', "\u00e9"]:
        assert not key.search(text), text


def test_two_nodes_of_one_process_count_apart():
    one, two = Metrics("catalog", "catalog-0"), Metrics("catalog", "catalog-1")
    one.cache_hits("books", 3)
    one.cache_misses("books")
    one.cache_evictions("lists")
    one.heartbeat("catalog-1", "ok")
    one.forward("catalog-1", "refused")
    one.commit(5)
    waiting = [4]
    one.watch("writes", lambda: waiting[0])
    waiting[0] = 7
    text = one.render().decode()
    for line in [
        'pygmy_cache_hits_total{cache="books"} 3.0',
        'pygmy_cache_misses_total{cache="books"} 1.0',
        'pygmy_cache_evictions_total{cache="lists"} 1.0',
        'pygmy_heartbeats_total{result="ok",target="catalog-1"} 1.0',
        'pygmy_forwards_total{result="refused",target="catalog-1"} 1.0',
        "pygmy_commit_batches_sum 5.0",
        'pygmy_queue_length{queue="writes"} 7.0',
        'pygmy_node{node="catalog-0",role="catalog"} 1.0',
    ]:
        assert line in text
    assert 'cache="books"' not in two.render().decode()
