"""Who is let in over TLS, who is not, and what each side then says; over real sockets."""

from datetime import UTC, datetime, timedelta

import pytest
import pytest_twisted
from msgspec.structs import replace
from OpenSSL import SSL
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.logger import formatEvent, globalLogPublisher
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from pygmy.messages.internal import Invalidated, List, Listed
from pygmy.peers import LinkDown, Links, get_json, http_client
from pygmy.routes.table import table_route
from pygmy.seldom import MOST, Seldom
from pygmy.tls.contexts import NodesPolicy, ServerTLS
from pygmy.tls.expiry import warn_of_expiry
from pygmy.tls.places import ExposedError, beyond_loopback, check_places, encrypted, endpoint_from
from pygmy.tls.under import UnderTLS
from pygmy.web.app import make_app, root_resource
from pygmy.web.auth import Secrets
from pygmy.web.internal import Internal
from pygmy.web.metrics import Metrics
from pygmy.web.openapi import Auth, Route
from pygmy.web.requests import write_json
from pygmy.web.site import BoundedSite
from pygmy.web.status import Health, common_routes
from tests.support.certificates import CLUSTER, anybody, credentials

SECRETS = Secrets("c" * 32, "a" * 32, certified=frozenset(node.name for node in CLUSTER.nodes))
ASK, LISTED = List(None, 0, 9), Listed((), False, None, 0.0)
HEALTH = Health("Healthy", "catalog", "catalog-0", "RUNNING", 1, 2)


@implementer(IPolicyForHTTPS)
class Anybody:
    """How a person with the CA's certificate calls."""

    def creatorForNetloc(self, hostname, port):
        return anybody()


async def rows():
    return ()


class Server:
    """What a node serves, and who has been let in."""

    def __init__(self, reactor, own, secrets=SECRETS, people=False):
        self.received = []
        internal = Internal(secrets, reactor, lambda *one: self.received.append(one), lambda *_: succeed(LISTED))
        metrics = Metrics("catalog", "catalog-0")
        routes = (
            table_route("Rows", lambda: "RUNNING", rows),
            Route(
                method="POST",
                path="/backup",
                handler=lambda request: write_json(request, 201, {}),
                summary="For shopkeepers",
                answers={201: dict},
                auth=Auth.ADMIN,
            ),
            *common_routes(health=lambda: HEALTH, cluster=lambda: None, metrics=metrics),
        )
        app = make_app(routes, secrets=secrets, metrics=metrics)
        self.site = BoundedSite(root_resource(app, internal=internal), reactor, people=people)
        self.factory = self.site
        if own is not None:
            self.factory = UnderTLS(self.site, own, reactor)


class Net:
    """Servers and clients of one test; all are closed at its end."""

    def __init__(self, reactor):
        self.reactor = reactor
        self._closing = []
        self.lines = []

    async def serve(self, own, **options):
        """A server, its port set."""
        server = Server(self.reactor, own, **options)
        port = await TCP4ServerEndpoint(self.reactor, 0, interface="127.0.0.1").listen(server.factory)
        self._closing.append(port.stopListening)
        server.port = port.getHost().port
        return server

    def links(self, server, own, name="catalog-0", sender=None, scheme="https"):
        """A node's links to the one that it takes the server for."""
        policy = NodesPolicy(own, {("127.0.0.1", server.port): name})
        urls = {name: f"{scheme}://127.0.0.1:{server.port}"}
        links = Links.on_reactor(urls, sender or own.node, SECRETS.cluster, self.reactor, policy=policy)
        self._closing.append(links.close)
        return links

    async def call(self, *link, name="catalog-0", **options):
        """What becomes of a call: its answer, or how it is down."""
        links = self.links(*link, name=name, **options)
        return await links.call(name, ASK, "r", 10.0).addErrback(lambda failure: failure.value)

    def client(self, policy):
        return http_client(Agent(self.reactor, policy, pool=HTTPConnectionPool(self.reactor, persistent=False)))

    async def request(self, server, method, path, secret=None, policy=None, scheme="https"):
        """Status and body of an answer."""
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        url = f"{scheme}://127.0.0.1:{server.port}{path}"
        response = await self.client(policy or Anybody()).request(method, url, headers=headers, data=b"")
        return response.code, await response.content()

    async def says(self, text):
        """The line with this text, once it has been logged."""
        for _ in range(100_000):
            for line in self.lines:
                if text in line:
                    return line
            waiter = Deferred()
            self.reactor.callLater(0, waiter.callback, None)
            await waiter
        raise AssertionError(f"{text!r} in none of {self.lines}")

    def heard(self, event):
        if event["log_namespace"].startswith("pygmy"):
            self.lines.append(formatEvent(event))

    async def close(self):
        for close in reversed(self._closing):
            await close()


@pytest.fixture
def net():
    from twisted.internet import reactor  # noqa: TID251

    net = Net(reactor)
    globalLogPublisher.addObserver(net.heard)
    yield net
    globalLogPublisher.removeObserver(net.heard)
    pytest_twisted.blockon(Deferred.fromCoroutine(net.close()))


# ---- between nodes


@pytest_twisted.ensureDeferred
async def test_nodes_of_one_store_hear_each_other(net):
    server = await net.serve(credentials())
    links = net.links(server, credentials("order-0"))
    links.tell(["catalog-0"], Invalidated(1))
    links.tell(["catalog-0"], Invalidated(2), heartbeat=True)
    assert await links.call("catalog-0", ASK, "r", 10.0) == LISTED
    while len(server.received) < 2:
        await links.call("catalog-0", ASK, "r", 10.0)
    assert {(sender, one.number) for sender, one in server.received} == {("order-0", 1), ("order-0", 2)}


@pytest_twisted.ensureDeferred
async def test_a_node_of_another_ca_is_refused_by_both_sides_and_named(net):
    """Each side may be the wrong one."""
    server = await net.serve(credentials())
    down = await net.call(server, replace(credentials("order-0", "another"), trusted=credentials().trusted))
    assert (down.reason, down.sent) == ("tls", False)
    assert "it does not take our certificate" in down.detail
    assert await net.says("refused order-0 at 127.0.0.1 (tls): its certificate is not of our CA")
    assert await net.says(f"no link to catalog-0 at https://127.0.0.1:{server.port} (tls): it does not")

    wrong = await net.serve(credentials("catalog-0", "another"))
    down = await net.call(wrong, credentials("order-0"))
    assert (down.reason, down.sent, down.detail) == ("tls", False, "its certificate is not of our CA")
    assert await net.says(
        f"no link to catalog-0 at https://127.0.0.1:{wrong.port} (tls): its certificate is not of our CA"
    )
    assert await net.says("refused 127.0.0.1 (tls): it does not take our certificate (unknown ca)")
    assert server.received == wrong.received == []


@pytest_twisted.ensureDeferred
async def test_a_certificate_that_has_expired_is_refused_by_both_sides(net):
    server = await net.serve(credentials())
    down = await net.call(server, credentials("order-0", expired=True))
    assert (down.reason, down.sent) == ("tls", False)
    assert await net.says("refused order-0 at 127.0.0.1 (tls): its certificate has expired")
    late = await net.serve(credentials(expired=True))
    down = await net.call(late, credentials("order-0"))
    assert (down.reason, down.sent, down.detail) == ("tls", False, "its certificate has expired")
    assert await net.says("refused 127.0.0.1 (tls): it does not take our certificate (certificate expired)")


@pytest_twisted.ensureDeferred
async def test_while_one_ca_takes_the_place_of_another_nodes_of_both_hear_each_other(net):
    both = credentials("order-0", "another").trusted + credentials().trusted
    old, new = replace(credentials(), trusted=both), replace(credentials("order-0", "another"), trusted=both)
    assert await net.call(await net.serve(old), new) == LISTED
    assert await net.call(await net.serve(replace(new, node="order-0")), old, name="order-0") == LISTED


@pytest_twisted.ensureDeferred
async def test_who_answers_at_a_nodes_place_has_to_be_that_node(net):
    server = await net.serve(credentials("catalog-1"))
    down = await net.call(server, credentials("order-0"), name="catalog-0")
    assert (down.reason, down.sent) == ("tls", False)
    assert down.detail == "its certificate is of catalog-1, not of catalog-0"
    assert server.received == []


@pytest_twisted.ensureDeferred
async def test_a_node_cannot_speak_for_another_one(net):
    server = await net.serve(credentials())
    links = net.links(server, credentials("order-0"), sender="catalog-1")
    links.tell(["catalog-0"], Invalidated(1))
    down = await links.call("catalog-0", ASK, "r", 10.0).addErrback(lambda failure: failure.value)
    assert (down.reason, down.sent) == ("http-403", False)
    assert server.received == []
    assert await net.says("refused 127.0.0.1 (tls): It says that it is catalog-1, and its certificate is of order-0")


@pytest_twisted.ensureDeferred
async def test_the_secret_alone_makes_nobody_a_member(net):
    server = await net.serve(credentials())
    for method, path in (("POST", "/internal"), ("GET", "/table"), ("POST", "/backup")):
        status, body = await net.request(server, method, path, SECRETS.cluster)
        assert (status, b"Certificate needed" in body) == (403, True), path
    own = NodesPolicy(credentials("order-1"), {("127.0.0.1", server.port): "catalog-0"})
    assert (await net.request(server, "GET", "/table", SECRETS.cluster, own))[0] == 200
    assert (await net.request(server, "POST", "/backup", SECRETS.cluster, own))[0] == 201
    assert (await net.request(server, "GET", "/table", "x" * 32, own))[0] == 403  # nor does a certificate


@pytest_twisted.ensureDeferred
async def test_people_need_no_certificate_and_the_admin_token_none_either(net):
    server = await net.serve(credentials())
    assert (await net.request(server, "GET", "/health"))[0] == 200
    assert (await net.request(server, "POST", "/backup", SECRETS.admin))[0] == 201


@pytest_twisted.ensureDeferred
async def test_who_does_not_speak_tls_is_told_apart(net):
    server, plain = await net.serve(credentials()), await net.serve(None)
    down = await net.call(server, credentials("order-0"), scheme="http")
    assert down.reason in ("lost", "tls")
    assert await net.says("refused 127.0.0.1 (tls): it does not speak TLS (http request)")
    down = await net.call(plain, credentials("order-0"))
    assert (down.reason, down.sent) == ("tls", False)
    assert "it does not speak TLS" in down.detail


@pytest_twisted.ensureDeferred
async def test_a_heartbeat_tells_why_too(net):
    server = await net.serve(credentials("catalog-0", "another"))
    client = net.client(NodesPolicy(credentials("frontend-0"), {("127.0.0.1", server.port): "catalog-0"}))
    asked = get_json(client, f"https://127.0.0.1:{server.port}/health", Health, 10.0, net.reactor)
    down = await asked.addErrback(lambda failure: failure.value)
    assert isinstance(down, LinkDown)
    assert (down.reason, down.detail) == ("tls", "its certificate is not of our CA")


def test_old_versions_of_tls_are_not_spoken():
    """Neither as a server nor as a client."""
    client = NodesPolicy(credentials(), {("x", 1): "order-0"}).creatorForNetloc(b"x", 1)
    for side in (ServerTLS(credentials()), client):
        options = side._context.set_options(0)
        for old in (SSL.OP_NO_TLSv1, SSL.OP_NO_TLSv1_1, SSL.OP_NO_RENEGOTIATION):
            assert options & old
        assert not options & (SSL.OP_NO_TLSv1_2 | SSL.OP_NO_TLSv1_3)


# ---- where people are let in, and nodes are not


@pytest.mark.parametrize("secrets", [SECRETS, replace(SECRETS, certified=None)], ids=["tls", "plain"])
@pytest_twisted.ensureDeferred
async def test_nobody_becomes_a_member_at_a_place_for_people(net, secrets):
    """Whether the store itself speaks TLS or not; and a node's certificate does not help."""
    for own, scheme in ((None, "http"), (credentials("frontend-0"), "https")):
        server = await net.serve(own, secrets=secrets, people=True)
        policy = NodesPolicy(credentials("order-1"), {("127.0.0.1", server.port): "frontend-0"})
        how = {"policy": policy, "scheme": scheme}
        assert (await net.request(server, "GET", "/health", **how))[0] == 200
        assert (await net.request(server, "POST", "/internal", SECRETS.cluster, **how))[0] == 404
        assert (await net.request(server, "GET", "/table", SECRETS.cluster, **how))[0] == 403
        assert (await net.request(server, "POST", "/backup", SECRETS.cluster, **how))[0] == 403
        assert (await net.request(server, "POST", "/backup", SECRETS.admin, **how))[0] == 201


# ---- without sockets


def test_a_node_says_in_time_that_its_certificate_expires(net):
    own = credentials("order-0")
    end = own.certificate.not_valid_after_utc
    warn_of_expiry(own, end - timedelta(days=31))
    assert net.lines == []
    warn_of_expiry(own, end - timedelta(days=29))
    assert net.lines == [
        f"the certificate of order-0 expires on {end:%Y-%m-%d}: renew it by pygmy certs, and restart the nodes"
    ]


@pytest.mark.parametrize(
    ("endpoint", "beyond"),
    [
        ("tcp:5000", True),
        ("tcp:5000:interface=127.0.0.1", False),
        ("tcp:5000:interface=127.9.9.9", False),
        ("tcp:interface=localhost:port=5000", False),
        ("tcp:5000:interface=10.0.0.1", True),
        ("tcp:5000:interface=", True),
        ("tcp6:5000:interface=\\:\\:1", False),
        ("tcp6:5000:interface=\\:\\:", True),
        ("unix:/run/pygmy", False),
        ("systemd:domain=INET:index=0", True),
    ],
)
def test_where_others_could_listen_in(endpoint, beyond):
    assert beyond_loopback(endpoint) is beyond
    assert not encrypted(endpoint)


@pytest.mark.parametrize(
    ("port", "listen", "tls", "insecure", "said"),
    [
        ("tcp:5000", (), False, False, "catalog-0 would listen beyond .*pygmy certs.*--insecure-network"),
        ("tcp:5000", (), False, True, None),
        ("tcp:5000", (), True, False, None),
        ("tcp:5000:interface=127.0.0.1", (), False, False, None),
        ("tcp:5000", ("tcp:80",), True, False, r"\(tcp:80\) without TLS: .*--insecure-network"),
        ("tcp:5000:interface=127.0.0.1", ("tcp:80",), False, False, r"\(tcp:80\) without TLS"),
        ("tcp:5000", ("tcp:80:interface=127.0.0.1", "ssl:443", "unix:/x"), True, False, None),
        ("tcp:5000", ("tcp:80",), True, True, None),
        ("ssl:5000", (), True, False, "expected a plain endpoint"),
    ],
)
def test_nothing_is_said_in_the_clear_to_other_machines_unless_somebody_wants_it(port, listen, tls, insecure, said):
    if said is None:
        check_places("catalog-0", port, listen, tls=tls, insecure=insecure)
        return
    with pytest.raises(ValueError, match=said) as caught:
        check_places("catalog-0", port, listen, tls=tls, insecure=insecure)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ExposedError) is (port != "ssl:5000")


@pytest.mark.parametrize("text", ["", "tcp", "tcp:x", "nonsense:80", "ssl:443:privateKey=/nowhere.pem", "tcp:80:a=b"])
def test_what_is_no_endpoint_is_said_to_be_none_in_one_line(text):
    with pytest.raises(ValueError, match="expected an endpoint such as tcp:8080") as caught:
        endpoint_from(text)
    assert "\n" not in str(caught.value)
    assert endpoint_from("tcp:8080:interface=127.0.0.1")


def test_the_same_is_said_once_in_a_while_and_strangers_fill_no_memory():
    now = 0.0
    seldom = Seldom(lambda: now)
    assert [seldom("a"), seldom("a"), seldom("b")] == [True, False, True]
    now = 4.9
    assert not seldom("a")
    now = 5.0
    assert seldom("a")
    for number in range(2 * MOST):
        assert seldom(number)
    assert len(seldom._last) == MOST


def test_nodes_of_a_secured_cluster_are_found_by_https():
    urls = [node.url.replace("http:", "https:") for node in CLUSTER.nodes]
    assert [node.url for node in CLUSTER.secured().nodes] == urls
    assert CLUSTER.secured().text == CLUSTER.text
    assert datetime.now(UTC) < credentials().certificate.not_valid_after_utc
