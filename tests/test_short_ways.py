"""The short ways give the answers of the ordinary way, whatever is sent and however it is cut, or stand aside."""

import re
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from pygmy.errors import Problem
from pygmy.messages.internal import Answer, Call, Envelope, Invalidated, List, Listed
from pygmy.web.app import make_app, root_resource
from pygmy.web.auth import Secrets
from pygmy.web.contract import BuyBody
from pygmy.web.internal import Internal
from pygmy.web.metrics import Metrics
from pygmy.web.openapi import Auth, Route
from pygmy.web.requests import idempotency_key, positive, read_json, request_id, write_bytes, write_json
from pygmy.web.site import BoundedSite

SECRETS = Secrets("c" * 32, "a" * 32)
LISTED = Listed((), False, None, 0.0)
HOST = b"Host: localhost:5002\r\n"
JSON = b"Content-Type: application/json\r\n"


class Server:
    """A site in memory; `short` False: everything goes the ordinary way."""

    def __init__(self, short: bool = True, secrets: Secrets = SECRETS) -> None:
        self.clock = Clock()
        self.metrics = Metrics("frontend", "frontend-0")
        self.waiting: list[Deferred[int]] = []
        self.ends: list[Any] = []  # what each of them came to
        self.received: list[Any] = []
        self.calls: dict[int, Deferred[Any]] = {}
        self.riders: Any = []
        self.requests = 0
        routes = [
            self.route("GET", "/books/{item}", self.book),
            self.route("POST", "/books/{item}", self.buy, body=BuyBody),
            self.route("GET", "/books", self.books, query=BuyBody),
            self.route("DELETE", "/books/{item}", lambda r, item: write_bytes(r, 204, b"")),
            self.route("GET", "/admin", lambda r: write_json(r, 200, 1), auth=Auth.ADMIN),
            self.route("GET", "/crash", self.crash),
            self.route("GET", "/later", self.later),
            self.route("POST", "/later", self.later),
            self.route("GET", "/split", self.split),
        ]
        self.internal = Internal(
            secrets, self.clock, lambda sender, one: self.received.append((sender, one)), self.answer,
            lambda sender: self.riders,
        )  # fmt: skip
        app = make_app(routes, secrets=secrets, metrics=self.metrics)
        self.site = BoundedSite(root_resource(app, internal=self.internal), self.clock)
        if not short:
            self.site.short_ways = ()
        factory = self.site.requestFactory

        def counted(*args: Any) -> Any:
            self.requests += 1
            return factory(*args)

        self.site.requestFactory = counted  # type: ignore[assignment, method-assign]

    def route(self, method: str, path: str, handler: Any, **more: Any) -> Route:
        return Route(method=method, path=path, handler=handler, summary="", answers={200: int}, **more)

    def book(self, request: Any, item: str) -> bytes:
        number = positive(item, "book id")
        if number > 7:
            raise Problem(404, "No such book", f"There is no book {number}.", item=number)
        if request.getHeader(b"If-None-Match") == b'"1"':
            return write_bytes(request, 304, b"", {"ETag": '"1"'})
        used = request_id(request)
        shown = "made" if len(used) > 30 else used
        return write_json(request, 200, {"id": number, "rid": shown}, {"ETag": '"1"'})

    async def buy(self, request: Any, item: str) -> bytes:
        wanted = read_json(request, BuyBody, default=BuyBody())
        return write_json(request, 200, [item, wanted.quantity, idempotency_key(request)], {"Location": "/orders/1"})

    def books(self, request: Any) -> bytes:
        return write_json(request, 200, [request.path.decode(), request.uri.decode()])

    def crash(self, request: Any) -> bytes:
        raise RuntimeError("swordfish")

    def split(self, request: Any) -> bytes:
        return write_json(request, 200, 1, {"X-Split": "a\r\nSet-Cookie: b\n"})

    async def later(self, request: Any) -> bytes:
        self.waiting.append(Deferred())
        try:
            self.ends.append(await self.waiting[-1])
        except (CancelledError, RuntimeError) as error:
            self.ends.append(type(error))
            raise
        return write_json(request, 200, self.ends[-1])

    def answer(self, sender: str, call: Call) -> Deferred[Any]:
        self.calls[call.id] = Deferred()
        return self.calls[call.id]

    def connect(self) -> "Connection":
        return Connection(self)


class Connection:
    def __init__(self, server: Server) -> None:
        self.server = server
        self.channel: Any = server.site.buildProtocol(None)
        self.transport = StringTransport()
        self.channel.makeConnection(self.transport)

    def say(self, *pieces: bytes) -> bytes:
        """What is answered to that, once nothing more is to be done at this moment."""
        for piece in pieces:
            if not self.transport.disconnecting:
                self.channel.dataReceived(piece)
        self.server.clock.advance(0)
        return self.transport.value()

    def leave(self) -> None:
        self.channel.connectionLost(Failure(ConnectionDone()))


def comparable(answers: bytes) -> list[bytes]:
    """Without what may differ; heads with their lines in order, and names of headers in small letters."""
    text = re.sub(rb"(?m)^[A-Za-z-]+:", lambda name: name[0].lower(), answers)
    text = re.sub(rb"(date|x-request-id): [^\r]*", rb"\1", text)
    text = re.sub(rb'"request_id":"[^"]*"', b"", text)
    text = re.sub(rb"content-length: \d+", b"content-length", text) if b"problem+json" in text else text
    return [b"\r\n".join(sorted(part.split(b"\r\n"))) for part in text.split(b"\r\n\r\n")]


def both(*pieces: bytes) -> tuple[list[bytes], list[bytes]]:
    short, ordinary = Server().connect(), Server(short=False).connect()
    return comparable(short.say(*pieces)), comparable(ordinary.say(*pieces))


def get(path: bytes, *headers: bytes, method: bytes = b"GET", body: bytes = b"", version: bytes = b"1.1") -> bytes:
    lines = b"".join(header + b"\r\n" for header in headers)
    if body:
        lines += b"Content-Length: %d\r\n" % len(body)
    return method + b" " + path + b" HTTP/" + version + b"\r\n" + HOST + lines + b"\r\n" + body


BUY = get(b"/books/3", b"Content-Type: application/json", method=b"POST", body=b'{"quantity":2}')
PLAIN = [
    get(b"/books/1"),
    get(b"/books/1", b"X-Request-ID: abc", b"Accept: */*", b"User-Agent: curl/8"),
    get(b"/books/1", b'If-None-Match: "1"'),
    get(b"/books/1", b"Connection: keep-alive"),
    get(b"/books/1", b"X-Request-ID: \t abc \t ", b"X:", b"Y: " + b" " * 3000),
    get(b"/books/1?x=1"),
    get(b"/books?topic=a%20b+c&topic=d&x="),
    get(b"/books/9"),
    get(b"/books/none"),
    get(b"/books/3", b"Content-Length: 0", method=b"POST"),
    get(b"/books/3", b"Idempotency-Key: my-key", method=b"POST"),
    get(b"/books/3", b'Idempotency-Key: "bad', method=b"POST"),
    get(b"/books/3?quantity=5", method=b"POST"),
    get(b"/books/3?quantity", method=b"POST"),
    get(b"/books?topic=a;b&c"),
    get(b"/books/1", b"Content-Type: application/json", body=b"{}"),
    get(b"/books/3", b"Content-Type: application/json", method=b"DELETE", body=b"{}"),
    get(b"/books/1", b"If-Match: *"),
    get(b"/books/3", b"Content-Type: application/problem+json", method=b"POST", body=b"{}"),
    get(b"/books/3", b"Content-Type: text/plain", b"Content-Type: application/json", method=b"POST", body=b"{}"),
    get(b"/books/3", method=b"DELETE"),
    BUY,
    get(b"/books/3", b"Content-Type: text/plain", method=b"POST", body=b"quantity=2"),
    get(b"/books/3", b"Content-Type: application/json", method=b"POST", body=b'{"quantity":0}'),
    get(b"/admin"),
    get(b"/admin", b"Authorization: Bearer " + b"a" * 32),
    get(b"/admin", b"Authorization: Bearer wrong-wrong-wrong-wrong"),
    get(b"/crash"),
    get(b"/split"),
]
HOSTS = {
    b"": 400,
    b"Host: a\r\nHost: a\r\n": 400,
    b"Host: a\r\nhost: b\r\n": 400,
    b"Host: a b\r\n": 400,
    b"Host: a/b\r\n": 400,
    b"Host: user@a\r\n": 400,
    b"Host: a:x\r\n": 400,
    b"Host: \xc3\xa9\r\n": 400,
    b"Host:  \r\n": 200,
    b"Host: a..b_c-%d:\r\n": 200,
    b"Host: \t[::1]:5002 \r\n": 200,
}
ODD = [
    *(b"GET /books/1 HTTP/1.1\r\n" + hosts + b"\r\n" for hosts in HOSTS),
    *(b"GET /books/1 HTTP/1.0\r\n" + hosts + b"\r\n" for hosts in HOSTS),
    *(
        get(b"/books/3", condition + b": *", method=method)
        for condition in (b"If-Match", b"If-None-Match", b"if-unmodified-since")
        for method in (b"POST", b"DELETE")
    ),
    get(b"/books/1", version=b"1.0"),
    get(b"/books/1", b"Connection: close"),
    get(b"/books/1", b"Transfer-Encoding: chunked", method=b"POST") + b"0\r\n\r\n",
    get(b"/books/1", b"Expect: 100-continue", b"Content-Type: application/json", method=b"POST", body=b"{}"),
    get(b"/books/1", b"Bad Header: 1"),
    get(b"/books/1", b"X: a", b" folded"),
    get(b"/books/1", b"X: \xc3\xa9"),
    get(b"/books/1", b"X:" + b" \t" * 1500 + b"\x01"),
    get(b"/books/1", b"Content-Length: 1", b"Content-Length: 2", method=b"POST") + b"{}",
    get(b"/books/1", b"Content-Length: x", method=b"POST"),
    get(b"/books/1", method=b"HEAD"),
    get(b"/books/1", method=b"PUT"),
    get(b"/nothing"),
    get(b"/books/1/2"),
    get(b"/books/%31"),
    get(b"/books/"),
    get(b"http://localhost/books/1"),
    get(b"/books/1") + get(b"/books/2"),
    BUY + BUY + get(b"/books/1"),
    b"GET /books/1 HTTP/1.1\r\n\r\n",
    b"GET /books/1 HTTP/1.1\nHost: x\n\n",
    b"nonsense\r\n\r\n",
    get(b"/books/3", b"Content-Type: application/json", method=b"POST", body=b"[" + b" " * 70_000 + b"]"),
    get(b"/books/1", *[b"X-%d: 1" % n for n in range(70)]),
    get(b"/books/1", b"X: " + b"y" * 20_000),
]


@pytest.mark.parametrize("request_bytes", PLAIN)
def test_a_plain_request_is_answered_the_short_way_as_the_ordinary_one(request_bytes: bytes) -> None:
    short, ordinary = both(request_bytes)
    assert short == ordinary
    server = Server()
    server.connect().say(request_bytes)
    assert server.requests == 0


@pytest.mark.parametrize("request_bytes", ODD)
def test_an_odd_request_gets_the_answer_of_the_ordinary_way(request_bytes: bytes) -> None:
    short, ordinary = both(request_bytes)
    assert short == ordinary


@settings(max_examples=60, deadline=None)
@given(
    requests=st.lists(st.sampled_from([*PLAIN, *ODD]), min_size=1, max_size=4),
    cuts=st.lists(st.integers(0, 600), max_size=6),
)
def test_requests_cut_anywhere_are_answered_as_the_ordinary_way_does(requests: list[bytes], cuts: list[int]) -> None:
    data = b"".join(requests)
    places = sorted({0, *(cut for cut in cuts if cut < len(data)), len(data)})
    short, ordinary = both(*(data[a:b] for a, b in pairwise(places)))
    assert short == ordinary


@pytest.mark.parametrize("short", [True, False])
@pytest.mark.parametrize("hosts", HOSTS)
def test_a_request_has_one_proper_host_or_is_refused_whichever_way_it_goes(hosts: bytes, short: bool) -> None:
    answer = Server(short).connect().say(b"GET /books/1 HTTP/1.1\r\n" + hosts + b"\r\n")
    assert int(answer[9:12]) == HOSTS[hosts]
    assert HOSTS[hosts] == 200 or b"Host header" in answer
    old = Server(short).connect().say(b"GET /books/1 HTTP/1.0\r\n" + hosts + b"\r\n")
    assert int(old[9:12]) == (HOSTS[hosts] if hosts else 200)


@pytest.mark.parametrize("short", [True, False])
@pytest.mark.parametrize("name", [b"If-Match", b"If-None-Match", b"If-Unmodified-Since"])
def test_a_write_under_a_condition_is_refused_whichever_way_it_goes(name: bytes, short: bool) -> None:
    answer = Server(short).connect().say(get(b"/books/3", name + b': "1-1"', method=b"POST"))
    assert int(answer[9:12]) == 400
    assert name + b" is not supported" in answer


def test_requests_and_their_outcomes_are_counted_as_ever() -> None:
    server = Server()
    server.connect().say(get(b"/books/1"))
    server.connect().say(get(b"/books/9"))
    text = server.metrics.render().decode()
    assert 'pygmy_requests_total{method="GET",route="/books/{item}",status="200"} 1.0' in text
    assert 'pygmy_requests_total{method="GET",route="/books/{item}",status="404"} 1.0' in text


def test_what_comes_while_one_is_answered_waits_for_its_turn() -> None:
    server = Server()
    connection = server.connect()
    assert connection.say(get(b"/later"), get(b"/books/1"), get(b"/books/2")) == b""
    server.waiting[0].callback(5)
    answers = connection.say()
    assert [body[:1] for body in answers.split(b"\r\n\r\n")[1:]] == [b"5", b"{", b"{"]
    assert answers.index(b'"id":1') < answers.index(b'"id":2')


@pytest.mark.parametrize("short", [True, False])
def test_a_client_that_does_not_read_is_not_asked_for_more(short: bool) -> None:
    server = Server(short)
    connection = server.connect()
    connection.say(get(b"/later"))
    connection.channel.pauseProducing()  # as its transport does: too much is unsent
    assert connection.transport.producerState == "paused"
    server.waiting[0].callback(5)
    connection.say()
    assert connection.transport.producerState == "paused"
    connection.channel.resumeProducing()
    assert connection.transport.producerState == "producing"
    assert connection.say(get(b"/books/1")).count(b"200 OK") == 2


@pytest.mark.parametrize("short", [True, False])
def test_a_client_that_reads_again_while_it_is_answered_is_read_again(short: bool) -> None:
    server = Server(short)
    connection = server.connect()
    connection.say(get(b"/later"))
    connection.channel.pauseProducing()
    connection.channel.resumeProducing()
    server.waiting[0].callback(5)
    connection.say()
    assert connection.transport.producerState == "producing"


@pytest.mark.parametrize("short", [True, False])
def test_what_comes_after_the_goodbye_is_not_done(short: bool) -> None:
    """Over TLS more may come until the other side has agreed."""
    server = Server(short)
    connection = server.connect()
    before = connection.say(get(b"/books/3", method=b"POST"))
    connection.channel.loseConnection()
    connection.channel.dataReceived(get(b"/later"))
    assert connection.say() == before
    assert server.waiting == []


@pytest.mark.parametrize("before", [b"", get(b"/books/3", b"Content-Length: 0", method=b"POST")])
def test_an_empty_line_between_requests_is_no_request(before: bytes) -> None:
    server = Server()
    connection = server.connect()
    connection.say(before + b"\r\n")
    connection.channel.check_time(server.clock.seconds() + 30.0)
    assert connection.say(get(b"/books/1")).endswith(b"}")
    assert b" 408 " not in connection.transport.value()


@pytest.mark.parametrize("short", [True, False])
def test_what_a_client_that_leaves_wanted_done_is_done_and_what_it_wanted_to_know_is_not(short: bool) -> None:
    server = Server(short)
    connections = [server.connect() for _ in range(3)]
    for connection, method in zip(connections, (b"POST", b"POST", b"GET"), strict=True):
        connection.say(get(b"/later", method=method))
        connection.leave()
    assert server.ends == [CancelledError]
    with capturedLogs() as logged:
        server.waiting[0].callback(5)
        server.waiting[1].errback(RuntimeError("swordfish"))
    assert server.ends == [CancelledError, 5, RuntimeError]
    assert ["swordfish" in str(event["log_failure"]) for event in logged] == [True]
    assert [connection.say() for connection in connections] == [b""] * 3
    assert 'status="499"} 2' in server.metrics.render().decode()


def test_a_draining_site_answers_what_is_under_way_and_closes() -> None:
    server = Server()
    connection = server.connect()
    connection.say(get(b"/later"))
    drained = server.site.drain()
    assert not drained.called
    server.waiting[0].callback(5)
    assert connection.say().endswith(b"5")
    assert drained.called
    assert connection.transport.disconnecting


def test_heads_that_are_remembered_are_bounded_and_hold_no_secret() -> None:
    server = Server()
    connection = server.connect()
    for number in range(2_000):
        connection.say(get(b"/books/1", b"X-Request-ID: %d" % number))
    connection.say(get(b"/admin", b"Authorization: Bearer " + b"a" * 32))
    remembered = server.site.short_ways[1]._fields  # type: ignore[attr-defined]
    assert 0 < len(remembered) <= 512
    assert not any(b"Bearer" in head for head in remembered)


# ---- envelopes of other nodes


def envelope(*calls: int, messages: tuple[Any, ...] = (), sender: str = "order-0") -> bytes:
    return msgspec.json.encode(Envelope(sender, messages, tuple(Call(n, "r", List(None, 0, 9)) for n in calls)))


def post(body: bytes, *headers: bytes, secret: str = SECRETS.cluster) -> bytes:
    bearer = b"Authorization: Bearer " + secret.encode()
    return get(b"/internal", bearer, *headers, b"Content-Type: application/json", method=b"POST", body=body)


def test_messages_are_received_and_answered_204_without_a_request_object() -> None:
    server = Server()
    answer = server.connect().say(post(envelope(messages=(Invalidated(1), Invalidated(2)))))
    assert answer == b"HTTP/1.1 204 No Content\r\n\r\n"
    assert server.received == [("order-0", Invalidated(1)), ("order-0", Invalidated(2))]
    assert server.requests == 0


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_each_call_is_answered_when_it_is_ready(order: tuple[int, int]) -> None:
    server = Server()
    connection = server.connect()
    connection.say(post(envelope(1, 2)))
    for number in order:
        server.calls[number].callback(LISTED)
        answers = re.findall(rb"{.*}", connection.say())
        assert msgspec.json.decode(answers[-1], type=Answer).id == number
    assert connection.say().endswith(b"0\r\n\r\n")
    assert server.requests == 0
    assert connection.say(post(envelope(messages=(Invalidated(1),)))).endswith(b"204 No Content\r\n\r\n")


def test_answers_that_are_ready_at_once_are_one_write_of_known_length() -> None:
    server = Server()
    connection = server.connect()
    connection.channel.dataReceived(post(envelope(1, 2)))
    for call in server.calls.values():
        call.callback(LISTED)
    head, _, body = connection.say().partition(b"\r\n\r\n")
    assert b"Content-Length: %d" % len(body) in head
    assert body.count(b"\n") == 2


def test_an_answer_may_wait_for_what_goes_with_it() -> None:
    server = Server()
    server.riders = Deferred()
    connection = server.connect()
    assert connection.say(post(envelope(messages=(Invalidated(1),)))) == b""
    server.riders.callback([msgspec.Raw(msgspec.json.encode(Invalidated(7)))])
    body = connection.say().partition(b"\r\n\r\n")[2]
    assert msgspec.json.decode(body, type=list[Invalidated]) == [Invalidated(7)]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (post(envelope(messages=(Invalidated(1),)), secret="wrong-wrong-wrong-wrong"), b"403"),
        (get(b"/internal", method=b"POST", body=envelope()), b"401"),
        (post(b"{"), b"400"),
        (post(envelope(messages=(Invalidated(1),)), b"Authorization: Bearer " + b"x" * 32), b"403"),
    ],
)
def test_whoever_is_no_member_or_says_nothing_sensible_is_refused(sent: bytes, status: bytes) -> None:
    server = Server()
    assert server.connect().say(sent)[9:12] == status
    assert server.received == []


@pytest.mark.parametrize("short", [True, False])
@pytest.mark.parametrize("hosts", HOSTS)
def test_an_envelope_has_one_proper_host_or_is_refused_whichever_way_it_goes(hosts: bytes, short: bool) -> None:
    server = Server(short)
    sent = post(envelope(messages=(Invalidated(1),))).replace(HOST, hosts)
    assert server.connect().say(sent)[9:12] == (b"204" if HOSTS[hosts] == 200 else b"400")
    assert len(server.received) == (HOSTS[hosts] == 200)


def test_a_head_once_seen_lets_nobody_in_whose_secret_differs_in_the_end() -> None:
    server = Server()
    body = envelope(messages=(Invalidated(1),))
    server.connect().say(post(body))
    assert server.connect().say(post(body, secret="c" * 31 + "d"))[9:12] == b"403"
    assert len(server.received) == 1


def test_with_certificates_a_node_is_heard_under_its_own_name_only() -> None:
    server = Server(secrets=Secrets("c" * 32, "a" * 32, frozenset({"order-0", "order-1"})))
    connection = server.connect()
    body = envelope(messages=(Invalidated(1),))
    assert connection.say(post(body))[9:12] == b"403"
    connection = server.connect()
    connection.channel.bears = frozenset({"order-1"})
    assert connection.say(post(body))[9:12] == b"403"
    assert server.received == []
    connection = server.connect()
    connection.channel.bears = frozenset({"order-0"})
    assert connection.say(post(body))[9:12] == b"204"


@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(0, 400), max_size=5), times=st.integers(1, 3))
def test_envelopes_cut_anywhere_arrive_whole(cuts: list[int], times: int) -> None:
    server = Server()
    data = post(envelope(messages=(Invalidated(1), Invalidated(2)))) * times
    places = sorted({0, *(cut for cut in cuts if cut < len(data)), len(data)})
    answers = server.connect().say(*(data[a:b] for a, b in pairwise(places)))
    assert server.received == [("order-0", Invalidated(1)), ("order-0", Invalidated(2))] * times
    assert answers.count(b"HTTP/1.1 204 No Content\r\n") == times
