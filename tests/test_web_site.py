"""The bounds of a listening server, over real sockets, with and without TLS; time is a Clock: nothing here waits."""

import contextlib
import json
import os
import socket

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock, LoopingCall
from twisted.internet.tcp import Connection
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from pygmy.sending import send
from pygmy.tls.under import UnderTLS
from pygmy.web.site import BoundedSite, Limits
from tests.support.certificates import anybody, credentials


def bounded(waiter):
    """A test that waits in vain fails instead of hanging."""
    from twisted.internet import reactor  # noqa: TID251

    return waiter.addTimeout(10, reactor)


class Talk(Protocol):
    """A client that says bytes as they are, and hears all until the other side closes."""

    def __init__(self):
        self.heard = b""
        self.closed = Deferred()
        self._waiting = []

    def connectionMade(self):
        self.transport.setTcpNoDelay(True)

    def dataReceived(self, data):
        self.heard += data
        for text, times, waiter in list(self._waiting):
            if self.heard.count(text) >= times and not waiter.called:
                waiter.callback(self.heard)

    def connectionLost(self, reason):
        self.closed.callback(self.heard)

    def say(self, data):
        self.transport.write(data)
        return self

    def hears(self, text, times=1):
        waiter = Deferred()
        self._waiting.append((text, times, waiter))
        self.dataReceived(b"")
        return bounded(waiter)

    def end(self):
        """All that was heard, once the other side has closed."""
        end = Deferred()
        self.closed.addCallback(lambda heard: end.called or end.callback(heard) or heard)
        self.closed.addCallback(lambda _: self.heard)
        return bounded(end)


class Echo(Resource):
    """Answers its path and the length of its body; /slow when told to; /crash never does."""

    isLeaf = True

    def __init__(self):
        super().__init__()
        self.slow = []
        self.seen = []
        self.lost = []

    def render(self, request):
        self.seen.append(request.path)
        if request.path == b"/crash":
            raise RuntimeError("swordfish")
        if request.path == b"/slow":
            self.slow.append(request)
            request.notifyFinish().addErrback(self.lost.append)
            return NOT_DONE_YET
        return b"<%s %d>" % (request.path, len(request.content.read()))


class Server:
    def __init__(self, reactor, limits=None, shortcut=None, tls=False):
        self.reactor = reactor
        self.tls = tls
        self.clock = Clock()
        self.echo = Echo()
        self.site = BoundedSite(self.echo, self.clock, limits or Limits(), shortcut)
        self.talks = []
        self.turns = LoopingCall(self.clock.advance, 0)  # what is due at once, as each turn of a reactor does it

    async def listen(self):
        self.turns.start(0.001)
        endpoint = TCP4ServerEndpoint(self.reactor, 0, interface="127.0.0.1")
        factory = UnderTLS(self.site, credentials(), self.reactor)
        self.port = await endpoint.listen(factory if self.tls else self.site)
        return self

    async def talk(self, tls=None):
        endpoint = TCP4ClientEndpoint(self.reactor, "127.0.0.1", self.port.getHost().port)
        if self.tls if tls is None else tls:
            endpoint = wrapClientTLS(anybody(), endpoint)
        talk = await connectProtocol(endpoint, Talk())
        self.talks.append(talk)
        return talk

    async def caught_up(self):
        """What was said before this has been read: the answer to a later request is here."""
        await (await self.talk()).say(GET).hears(b"200 OK")

    async def stop(self):
        await self.port.stopListening()
        for talk in self.talks:
            if not talk.closed.called:
                talk.transport.abortConnection()
            await talk.end()
        await until(lambda: not self.site.channels)
        self.turns.stop()


async def until(true):
    """Turn the reactor until something has come about."""
    from twisted.internet import reactor  # noqa: TID251

    for _ in range(100_000):
        if true():
            return
        waiter = Deferred()
        reactor.callLater(0, waiter.callback, None)
        await waiter
    raise AssertionError("it does not come about")


GET = b"GET /books HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(params=["tcp", "tls"])
def serve(request):
    from twisted.internet import reactor  # noqa: TID251

    servers = []

    async def start(**options):
        servers.append(await Server(reactor, tls=request.param == "tls", **options).listen())
        return servers[-1]

    yield start
    for server in servers:
        pytest_twisted.blockon(Deferred.fromCoroutine(server.stop()))


def problem(heard):
    """Status and body of the last answer, which must be a problem."""
    head, _, body = heard.rpartition(b"HTTP/1.1 ")[2].partition(b"\r\n\r\n")
    assert b"Content-Type: application/problem+json" in head
    found = json.loads(body)
    assert f"x-request-id: {found['request_id']}".encode() in head.lower()
    assert int(head[:3]) == found["status"]
    return found


@pytest_twisted.ensureDeferred
async def test_pipelined_requests_are_answered_in_order(serve):
    server = await serve()
    talk = await server.talk()
    talk.say(
        b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"
        + b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(50))
    )
    await until(lambda: server.echo.slow)
    server.echo.slow[0].write(b"<slow>")
    server.echo.slow[0].finish()
    heard = await talk.hears(b"</49 0>")
    places = [heard.index(b"<slow>")] + [heard.index(b"</%d 0>" % n) for n in range(50)]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) + b"\r\n\r\n", 400),
        (b"garbage\r\n", 400),
        (b"GET / HTTP/9\r\n", 400),
        (b"\r\n\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(100)) + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"x" * 20_000, 414),
        (b"".join(b"X-%d: %s\r\n" % (n, b"x" * 1000) for n in range(1)) + b"\r\n", 400),
    ],
)
@pytest_twisted.ensureDeferred
async def test_garbage_gets_a_problem_and_is_closed(serve, sent, status):
    server = await serve()
    talk = await server.talk()
    heard = await talk.say(sent).end()
    assert problem(heard)["status"] == status
    assert heard.count(b"HTTP/1.1 ") == 1
    assert b"html" not in heard.lower()
    assert server.echo.seen == []


@pytest.mark.parametrize(
    ("sent", "part"),
    [
        (b"garbage\r\n", "first line"),
        (GET + b"GET /\xc3\xa9 HTTP/1.1\r\n", "first line"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", "headers"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "body"),
        (GET + b"GET / HTTP/1.1\r\n\r\n", "Host"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_whoever_sends_garbage_is_told_which_part_of_it_is(serve, sent, part):
    heard = await (await (await serve()).talk()).say(sent).end()
    assert part in problem(heard)["detail"]


@pytest_twisted.ensureDeferred
async def test_a_request_id_sent_is_in_the_refusal_too(serve):
    talk = await (await serve()).talk()
    heard = await talk.say(
        b"POST / HTTP/1.1\r\nHost: x\r\nX-Request-ID: r1\r\nContent-Length: 99999999\r\n\r\n"
    ).end()
    assert problem(heard)["request_id"] == "r1"


@pytest_twisted.ensureDeferred
async def test_a_body_over_the_limit_is_refused_by_its_announcement(serve):
    """Before any of it is stored, and without the 100 Continue that would ask for it."""
    talk = await (await serve()).talk()
    heard = await talk.say(
        b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 65537\r\n\r\n"
    ).end()
    assert problem(heard)["status"] == 413
    assert b"100 Continue" not in heard


@pytest_twisted.ensureDeferred
async def test_a_body_at_the_limit_is_taken(serve):
    talk = await (await serve()).talk()
    talk.say(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 65536\r\n\r\n" + b"x" * 65536)
    await talk.hears(b"</ 65536>")


@pytest.mark.parametrize("cut", [1_000, 1_000_000])
@pytest_twisted.ensureDeferred
async def test_a_chunked_body_over_the_limit_is_refused_and_not_executed(serve, cut):
    server = await serve()
    talk = await server.talk()
    chunk = b"%x\r\n%s\r\n" % (cut, b"x" * cut)
    talk.say(
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        + chunk * (66_000 // cut + 1)
        + b"0\r\n\r\n"
    )
    assert problem(await talk.end())["status"] == 413
    assert server.echo.seen == []


@pytest_twisted.ensureDeferred
async def test_the_internal_path_takes_longer_bodies(serve):
    talk = await (await serve()).talk()
    talk.say(b"POST /internal HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1_000_000)
    await talk.hears(b"</internal 1000000>")
    talk.say(b"POST /internal HTTP/1.1\r\nHost: x\r\nContent-Length: 8388609\r\n\r\n")
    assert problem(await talk.end())["status"] == 413


@pytest_twisted.ensureDeferred
async def test_three_hundred_half_sent_requests_delay_nobody_and_are_closed_in_time(serve):
    server = await serve()
    for n in range(300):
        (await server.talk()).say(
            (GET[:-2], os.urandom(64), b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx")[n % 3]
        )
    slow = server.talks[:]
    await (await server.talk()).say(GET).hears(b"</books 0>")
    server.clock.pump([1.0] * 16)
    for talk in slow:
        assert problem(await talk.end())["status"] in (400, 408)


@pytest_twisted.ensureDeferred
async def test_a_drip_of_bytes_does_not_extend_a_requests_time(serve):
    server = await serve()
    talk = await server.talk()
    talk.say(b"POST /slow-body HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(17):
        talk.say(b"x")
        await server.caught_up()
        server.clock.advance(1.0)
        if talk.heard:
            break
    assert problem(await talk.end())["status"] == 408


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01\x02\x00\x01\x00"])
@pytest.mark.parametrize("serve", ["tls"], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_handshake_that_never_ends_is_cut_off_as_a_request_that_never_ends(serve, said):
    server = await serve()
    hangs = [await server.talk(tls=False) for _ in range(20)]
    for talk in hangs:
        talk.say(said)
    await server.caught_up()
    server.clock.pump([1.0] * 15)
    assert not any(talk.closed.called for talk in hangs)
    server.clock.pump([1.0] * 2)
    for talk in hangs:
        await talk.end()


@pytest.mark.parametrize("serve", ["tls"], indirect=True)
@pytest_twisted.ensureDeferred
async def test_hanging_handshakes_count_as_connections(serve):
    server = await serve(limits=Limits(connections=3))
    for _ in range(3):
        await server.talk(tls=False)
    await until(lambda: len(server.site.channels) == 3)
    assert problem(await (await server.talk()).end())["status"] == 503
    await until(lambda: not server.site._lingering)
    ignorant, another = await server.talk(tls=False), await server.talk(tls=False)  # they do not even hear that
    await another.end()  # of such ones few are put up with
    assert not ignorant.closed.called
    server.clock.pump([1.0] * 4)
    await ignorant.end()


@pytest_twisted.ensureDeferred
async def test_an_idle_connection_is_kept_for_a_minute_then_closed(serve):
    server = await serve()
    talk = await server.talk()
    await talk.say(GET).hears(b"</books 0>")
    server.clock.pump([1.0] * 59)
    await talk.say(GET).hears(b"</books 0>", 2)
    server.clock.pump([1.0] * 59)
    assert not talk.closed.called
    server.clock.pump([1.0] * 3)
    assert b"408" not in await talk.end()


@pytest_twisted.ensureDeferred
async def test_a_handler_may_take_its_time(serve):
    server = await serve()
    talk = await server.talk()
    talk.say(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
    await until(lambda: server.echo.slow)
    server.clock.pump([1.0] * 300)
    server.echo.slow[0].write(b"<done>")
    server.echo.slow[0].finish()
    await talk.hears(b"<done>")


@pytest_twisted.ensureDeferred
async def test_a_client_that_does_not_read_its_answer_is_cut_off(serve):
    server = await serve()
    talk = await server.talk()
    await talk.say(GET).hears(b"</books 0>")
    talk.transport.pauseProducing()
    talk.say(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
    await until(lambda: server.echo.slow)
    server.echo.slow[0].write(b"x" * 50_000_000)
    server.echo.slow[0].finish()
    (channel,) = server.site.channels
    await until(lambda: channel._waitingForTransport)
    server.clock.pump([1.0] * 62)
    await until(lambda: not server.site.channels)


@pytest_twisted.ensureDeferred
async def test_connections_over_the_limit_are_told_so_and_others_served(serve):
    server = await serve(limits=Limits(connections=3))
    first = await server.talk()
    await first.say(GET).hears(b"</books 0>")
    for _ in range(2):
        await (await server.talk()).say(GET).hears(b"</books 0>")
    heard = await (await server.talk()).end()
    assert problem(heard)["status"] == 503
    assert b"Retry-After: 1" in heard
    await first.say(GET).hears(b"</books 0>", 2)
    server.talks[1].transport.loseConnection()
    await server.talks[1].end()
    await until(lambda: len(server.site.channels) <= 2)
    await (await server.talk()).say(GET).hears(b"</books 0>")


@pytest_twisted.ensureDeferred
async def test_what_nothing_caught_is_a_problem_without_details(serve):
    server = await serve()
    talk = await server.talk()
    heard = await talk.say(b"GET /crash HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").end()
    assert problem(heard)["status"] == 500
    assert b"swordfish" not in heard


@pytest_twisted.ensureDeferred
async def test_star_and_http_1_0_are_answered(serve):
    server = await serve()
    talk = await server.talk()
    await talk.say(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n").hears(b"</* 0>")
    heard = await (await server.talk()).say(b"GET /old HTTP/1.0\r\n\r\n").end()
    assert b"</old 0>" in heard


@pytest_twisted.ensureDeferred
async def test_a_target_with_scheme_and_host_is_the_same_as_without(serve):
    server = await serve()
    talk = await server.talk()
    for target, path in [(b"http://host:1/books?x", b"/books"), (b"HTTPS://host", b"/"), (b"http://h?x", b"/")]:
        await talk.say(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % target).hears(b"<%s 0>" % path)
    limited = b"POST http://host/small HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n"
    assert problem(await talk.say(limited).end())["status"] == 413


@pytest_twisted.ensureDeferred
async def test_a_shortcut_answers_whole_requests_on_a_quiet_connection_only(serve):
    asked = []

    def shortcut(data):
        asked.append(data)
        return b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n<short>" if data == GET else None

    server = await serve(shortcut=shortcut)
    talk = await server.talk()
    await talk.say(GET).hears(b"<short>")
    await talk.say(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n" + GET).hears(b"<short>")
    await until(lambda: server.echo.slow)
    talk.say(GET)
    await server.caught_up()
    server.echo.slow[0].write(b"<slow>")
    server.echo.slow[0].finish()
    heard = await talk.hears(b"</books 0>", 2)
    assert heard.count(b"<short>") == 1
    await talk.say(GET).hears(b"<short>", 2)


@pytest_twisted.ensureDeferred
async def test_draining_closes_the_idle_and_waits_for_the_busy(serve):
    server = await serve()
    idle, busy = await server.talk(), await server.talk()
    await idle.say(GET).hears(b"</books 0>")
    busy.say(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
    await until(lambda: server.echo.slow)
    drained = server.site.drain()
    await idle.end()
    assert not drained.called
    assert server.site.busy == 1
    server.echo.slow[0].write(b"<done>")
    server.echo.slow[0].finish()
    await drained
    assert b"<done>" in await busy.end()


@pytest_twisted.ensureDeferred
async def test_draining_does_not_wait_for_a_client_that_left(serve):
    server = await serve()
    talk = await server.talk()
    talk.say(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
    await until(lambda: server.echo.slow)
    drained = server.site.drain()
    talk.transport.abortConnection()
    await drained
    assert server.echo.lost


@pytest_twisted.ensureDeferred
async def test_a_shortcut_never_takes_a_part_of_a_request_for_a_whole_one(serve):
    server = await serve(shortcut=lambda data: b"<short>" if data == GET else None)
    talk = await server.talk()
    talk.say(
        b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nPOST /b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(GET)
    )
    await talk.hears(b"</a 0>")
    assert b"<short>" not in await talk.say(GET).hears(b"</b %d>" % len(GET))


@pytest_twisted.ensureDeferred
async def test_answers_that_go_at_once_keep_their_order_though_the_client_does_not_read(serve):
    asked = []

    def shortcut(data):
        if data != GET:
            return None
        asked.append(b"<%03d>" % len(asked) + b"x" * 100_000)
        return b"HTTP/1.1 200 OK\r\nContent-Length: 100005\r\n\r\n" + asked[-1]

    server = await serve(shortcut=shortcut)
    talk = await server.talk()
    await talk.say(GET).hears(b"<000>")
    (channel,) = server.site.channels
    talk.transport.pauseProducing()
    while not channel._waitingForTransport:
        before = len(asked)
        talk.say(GET)
        await until(lambda: len(asked) > before or channel._waitingForTransport)  # noqa: B023
    assert len(asked) > 1
    talk.transport.resumeProducing()
    heard = await talk.hears(b"\r\n\r\n<", len(asked))
    await until(lambda: len(talk.heard) >= sum(map(len, asked)))
    assert [int(part[:3]) for part in heard.split(b"\r\n\r\n<")[1:]] == list(range(len(asked)))
    await talk.say(b"GET /last HTTP/1.1\r\nHost: x\r\n\r\n").hears(b"</last 0>")
    assert talk.heard.count(b"x") >= 100_000 * len(asked)


@pytest_twisted.ensureDeferred
async def test_what_is_sent_at_once_overtakes_nothing():
    from twisted.internet import reactor  # noqa: TID251

    here, there = socket.socketpair()
    with here, there:
        here.setblocking(False)
        there.setblocking(False)
        heard = bytearray()

        def hear():
            with contextlib.suppress(BlockingIOError):
                while data := there.recv(1 << 20):
                    heard.extend(data)

        transport = Connection(here, Protocol(), reactor)
        transport.connected = True
        send(transport, b"a" * 1_000_000)
        hear()
        assert 0 < len(heard) < 1_000_000
        send(transport, b"b")
        await until(lambda: hear() or len(heard) == 1_000_001)
        assert heard == b"a" * 1_000_000 + b"b"
        there.close()
        send(transport, b"c")  # the connection is lost
        await until(lambda: transport.disconnected)
