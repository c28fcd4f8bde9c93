"""A replica whose database is being opened tells what it is, and denies nothing that it does not know."""

import json

import pytest
from treq.testing import RequestTraversalAgent
from twisted.internet.task import Clock

from pygmy.cluster import parse_cluster
from pygmy.peers import http_client
from pygmy.routes.starting import starting_resource
from pygmy.web.auth import Secrets
from pygmy.web.metrics import Metrics

CLUSTER = parse_cluster("a\na\na\n")
SECRETS = Secrets("c" * 32, "a" * 32)
MEMBER = {"Authorization": f"Bearer {SECRETS.cluster}"}


def ask(method, path, headers=None):
    """(status, type, body)."""
    metrics = Metrics("catalog", "catalog-0")
    agent = RequestTraversalAgent(
        starting_resource(CLUSTER, CLUSTER.catalogs[0], lambda *_: None, SECRETS, metrics, Clock())
    )
    got = []

    def read(response):
        kind = response.headers.getRawHeaders("content-type", [""])[0]
        return response.content().addCallback(lambda body: got.append((response.code, kind, body)))

    http_client(agent).request(method, f"http://a{path}", headers=headers).addCallback(read)
    agent.flush()
    return got[0]


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/books/1"), ("GET", "/books"), ("PATCH", "/books/1"), ("GET", "/x")]
)
def test_nobody_is_told_that_a_book_is_not_there(method, path):
    status, kind, body = ask(method, path)
    assert (status, kind) == (503, "application/problem+json")
    assert "opening" in json.loads(body)["detail"]


def test_the_table_is_empty_for_members_as_in_init():
    assert ask("GET", "/table", MEMBER)[0] == 204
    assert ask("GET", "/table")[0] == 401


def test_health_and_the_cluster_are_told():
    status, _, body = ask("GET", "/health")
    assert (status, json.loads(body)["state"]) == (503, "INIT")
    nodes = {node["node"]: node["state"] for node in json.loads(ask("GET", "/cluster")[2])["nodes"]}
    assert nodes == {"catalog-0": "INIT", "order-0": "UNKNOWN", "frontend-0": "UNKNOWN"}
    assert [ask("GET", path)[0] for path in ("/metrics", "/openapi.json")] == [200, 200]
