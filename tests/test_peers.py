"""Links: what gathers goes as one, answers come one by one, failures say whether anything was delivered."""

from unittest.mock import Mock

import msgspec
import pytest
import pytest_twisted
from msgspec import Raw
from treq.client import HTTPClient
from treq.testing import RequestTraversalAgent
from twisted.internet import error
from twisted.internet.address import IPv6Address
from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.web.client import ResponseNeverReceived
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent
from twisted.web.resource import Resource
from zope.interface import implementer

from pygmy.errors import Problem
from pygmy.messages.internal import Invalidated, List, Listed
from pygmy.peers import Link, LinkDown, Links, NodeAgent, encode, get_json, http_client
from pygmy.peers.agent import _Collector
from pygmy.peers.client import AsciiUrl, ImmediateBody
from pygmy.web.auth import Secrets
from pygmy.web.internal import Internal
from pygmy.web.site import BoundedSite
from pygmy.web.status import Health

SECRETS = Secrets("c" * 32, "a" * 32)
LISTED = Listed((), False, None, 0.0)
ASK = List(None, 0, 9)


class Peer:
    """The other node, in memory: what arrived, and calls that wait for their answers."""

    def __init__(self, clock):
        self.clock = clock
        self.received = []
        self.calls = []
        self.requests = 0
        internal = Internal(SECRETS, clock, lambda sender, one: self.received.append(one), self.answer)
        self.agent = RequestTraversalAgent(self)
        self.internal = internal

    isLeaf = True

    def render(self, request):
        self.requests += 1
        return self.internal.render(request)

    def answer(self, sender, call):
        waiting = Deferred()
        self.calls.append((call, waiting))
        return waiting

    def flush(self):
        self.clock.advance(0)
        self.agent.flush()
        self.clock.advance(0)
        self.agent.flush()


def link(peer, **options):
    return Link("http://localhost:80", "order-0", SECRETS.cluster, http_client(peer.agent), peer.clock, **options)


def outcome(deferred):
    results = []
    deferred.addBoth(results.append)
    return results


@pytest.fixture
def peer():
    return Peer(Clock())


def test_what_gathers_in_one_turn_goes_as_one_request(peer):
    to = link(peer)
    answers = [outcome(to.call(ASK, "r", 5.0)) for _ in range(10)]
    to.send(Invalidated(1))
    to.send(encode(Invalidated(2)))
    peer.flush()
    assert peer.requests == 1
    assert peer.received == [Invalidated(1), Invalidated(2)]
    for call, waiting in peer.calls:
        assert call.request_id == "r"
        waiting.callback(LISTED)
    peer.flush()
    assert answers == [[LISTED]] * 10


def test_while_all_places_are_taken_the_rest_waits_and_goes_as_one(peer):
    to = link(peer, width=1)
    first = outcome(to.call(ASK, "1", 5.0))
    peer.flush()
    rest = [outcome(to.call(ASK, "2", 5.0)) for _ in range(5)]
    peer.flush()
    assert (peer.requests, to.waiting) == (1, 5)
    peer.calls[0][1].callback(LISTED)
    peer.flush()
    peer.flush()
    assert (first, peer.requests, to.waiting) == ([LISTED], 2, 0)
    assert len(peer.calls) == 6
    assert rest == [[]] * 5


@pytest.mark.parametrize(("took", "waits"), [(0.1, True), (0.001, False)])
def test_where_requests_take_long_a_second_one_waits_a_moment_for_company(peer, took, waits):
    to = link(peer, width=2)
    for _ in range(3):
        to.call(ASK, "before", 5.0)
        peer.flush()
        peer.clock.advance(took)
        peer.calls.pop()[1].callback(LISTED)
        peer.flush()
    assert peer.requests == 3, "a first one never waits"
    to.call(ASK, "1", 5.0)
    peer.flush()
    assert peer.requests == 4
    to.call(ASK, "2", 5.0)
    peer.flush()
    assert (peer.requests, to.waiting) == ((4, 1) if waits else (5, 0))
    to.send(Invalidated(1))
    peer.clock.advance(Link.PAUSE)
    peer.flush()
    assert (peer.requests, to.waiting) == ((5, 0) if waits else (5, 1)), "and no request is there for what came last"
    assert peer.received == ([Invalidated(1)] if waits else [])


def test_what_waits_for_company_when_its_link_closes_is_lost_as_what_waits_for_a_place(peer):
    to = link(peer, width=2)
    to.call(ASK, "before", 5.0)
    peer.flush()
    peer.clock.advance(0.1)
    peer.calls.pop()[1].callback(LISTED)
    peer.flush()
    to.call(ASK, "1", 5.0)
    peer.flush()
    waiting = outcome(to.call(ASK, "2", 5.0))
    peer.flush()
    to.close()
    peer.clock.advance(Link.PAUSE)
    peer.flush()
    (failure,) = waiting
    assert (failure.value.reason, failure.value.sent, peer.requests) == ("closed", False, 2)


def test_a_slow_answer_delays_no_other_of_its_request(peer):
    to = link(peer)
    slow, quick = outcome(to.call(ASK, "s", 5.0)), outcome(to.call(ASK, "q", 5.0))
    peer.flush()
    peer.calls[1][1].callback(LISTED)
    peer.flush()
    assert (slow, quick) == ([], [LISTED])


def test_a_slow_request_gives_up_its_place_within_bounds(peer):
    """Calls that wait for something must not hold up what does not."""
    to = link(peer, width=1)
    for n in range(20):
        to.call(ASK, str(n), 60.0)
        peer.flush()
        peer.clock.advance(Link.SLOW)
        peer.flush()
    assert peer.requests == Link.MOST - 1


@pytest.mark.parametrize("width", [1, 2])
def test_messages_go_though_calls_hold_all_the_requests_that_they_may(peer, width):
    """A view change takes messages, and buys may be calls that wait for it."""
    to = link(peer, width=width)
    for n in range(20 * width):
        to.call(ASK, str(n), 60.0)
        peer.flush()
        peer.clock.advance(Link.SLOW / width)
        peer.flush()
    held, waiting = len(peer.calls), to.waiting
    assert waiting
    for n in range(3):
        to.send(Invalidated(n))
        peer.flush()
        assert peer.received == [Invalidated(m) for m in range(n + 1)]
    assert (len(peer.calls), to.waiting) == (held, waiting)
    for _, answer in list(peer.calls):
        answer.callback(LISTED)
    peer.flush()
    peer.flush()
    assert (to.waiting, len(peer.calls)) == (0, held + waiting)


def test_a_refusal_is_raised_as_the_problem_it_was(peer):
    got = outcome(link(peer).call(ASK, "r", 5.0))
    peer.flush()
    peer.calls[0][1].errback(Problem(409, "Out of stock", "Only 2.", retry_after=2, outcome_unknown=True, item=1))
    peer.flush()
    problem = got[0].value
    assert isinstance(problem, Problem)
    assert (problem.status, problem.title, problem.detail) == (409, "Out of stock", "Only 2.")
    assert (problem.retry_after, problem.outcome_unknown, problem.extra) == (2, True, {"item": 1})


def test_a_call_expires_by_its_own_time_and_others_go_on(peer):
    to = link(peer)
    short, long = outcome(to.call(ASK, "s", 0.1)), outcome(to.call(ASK, "l", 5.0))
    peer.flush()
    peer.clock.advance(0.1)
    assert short[0].value.args == ("timeout",)
    assert short[0].value.sent
    for _, waiting in peer.calls:
        waiting.callback(LISTED)
    peer.flush()
    assert long == [LISTED]


def test_an_unsent_call_that_expires_or_is_cancelled_is_never_sent(peer):
    to = link(peer, width=1)
    outcome(to.call(ASK, "1", 5.0))
    peer.flush()
    expired = outcome(to.call(ASK, "2", 0.1))
    cancelled = to.call(ASK, "3", 5.0)
    outcome(cancelled)
    cancelled.cancel()
    peer.clock.advance(0.1)
    assert (expired[0].value.reason, expired[0].value.sent, to.waiting) == ("timeout", False, 0)
    peer.calls[0][1].callback(LISTED)
    peer.flush()
    assert peer.requests == 1
    assert not peer.clock.getDelayedCalls()


def test_a_full_queue_refuses_calls_and_keeps_the_newest_messages(peer):
    to = link(peer, width=1, limit=3)
    outcome(to.call(ASK, "1", 5.0))
    peer.flush()
    results = [outcome(to.call(ASK, "2", 5.0)) for _ in range(4)]
    assert [len(one) for one in results] == [0, 0, 0, 1]
    assert (results[3][0].value.status, results[3][0].value.retry_after) == (503, 1)
    for n in range(5):
        to.send(Invalidated(n))
    peer.calls[0][1].callback(LISTED)
    peer.flush()
    peer.flush()
    assert peer.received == [Invalidated(2), Invalidated(3), Invalidated(4)]


def test_envelopes_are_bounded_in_items_and_bytes(peer):
    to = link(peer)
    to.ITEMS, to.BYTES = 4, 10_000
    for n in range(10):
        to.send(Invalidated(n))
    messages, calls = to._take()
    assert (len(messages), len(calls)) == (4, 0)
    big = List("x" * 6_000, 0, 9)
    for _ in range(3):
        outcome(to.call(big, "r", 5.0))
    messages, calls = to._take()
    assert (len(messages), len(calls)) == (4, 0)
    messages, calls = to._take()
    assert (len(messages), len(calls)) == (2, 1)
    assert [len(to._take()[1]) for _ in range(3)] == [1, 1, 0]


@implementer(IAgent)
class FakeAgent:
    """Answers every request with the next of these."""

    def __init__(self, *results):
        self.results = list(results)
        self.requests = 0

    def request(self, method, uri, headers=None, bodyProducer=None):
        self.requests += 1
        return self.results.pop(0)


class Asked(FakeAgent):
    """Keeps what it was asked."""

    def request(self, method, uri, headers=None, bodyProducer=None):
        body = _Collector()
        if bodyProducer is not None:
            bodyProducer.startProducing(body)
        self.asked = (method, uri, dict((headers or Headers()).getAllRawHeaders()), body.data)
        return super().request(method, uri, headers, bodyProducer)


def test_links_send_what_treq_would_send():
    url, headers = AsciiUrl.from_text("http://[::1]:81/internal?x=%20"), Headers({b"X": [b"1", b"2"]})
    agent, reader = Asked(Deferred(), Deferred()), Mock()
    http_client(agent).exchange(url, headers, b"body", reader)
    by_treq = agent.asked
    HTTPClient(agent, data_to_body_producer=ImmediateBody).post(url, headers=headers, data=b"body")
    assert agent.asked == by_treq
    del by_treq[2][b"Accept-Encoding"]  # treq is ready for compressed answers
    assert by_treq == (b"POST", b"http://[::1]:81/internal?x=%20", {b"X": [b"1", b"2"]}, b"body")
    reactor = MemoryReactorClock()
    http_client(NodeAgent(reactor, 1)).exchange(url, headers, b"body", reader)
    (_, port, factory, *_), transport = reactor.tcpClients[0], StringTransport()
    factory.buildProtocol(IPv6Address("TCP", "::1", 81)).makeConnection(transport)
    assert port == 81
    assert transport.value() == (
        b"POST /internal?x=%20 HTTP/1.1\r\nHost: [::1]:81\r\nX: 1\r\nX: 2\r\nContent-Length: 4\r\n\r\nbody"
    )


def lost():
    return fail(ResponseNeverReceived([Failure(error.ConnectionLost())]))


@pytest.mark.parametrize(
    ("result", "reason", "sent"),
    [
        (lambda: fail(error.ConnectionRefusedError()), "refused", False),
        (lambda: fail(error.NoRouteError()), "unreachable", False),
        (lambda: fail(error.DNSLookupError()), "unreachable", False),
        (lambda: fail(error.TimeoutError()), "unreachable", False),
        (lost, "lost", True),
        (lambda: fail(error.ConnectionLost()), "lost", True),
    ],
)
def test_a_failure_says_whether_anything_can_have_been_delivered(result, reason, sent):
    clock = Clock()
    to = Link("http://localhost:80", "x", SECRETS.cluster, http_client(FakeAgent(result())), clock)
    got = outcome(to.call(ASK, "r", 5.0))
    clock.advance(0)
    assert (got[0].value.reason, got[0].value.sent) == (reason, sent)
    assert not clock.getDelayedCalls()


def test_after_a_failure_messages_are_lost_and_the_link_goes_on():
    clock = Clock()
    agent = FakeAgent(lost(), Deferred())
    to = Link("http://localhost:80", "x", SECRETS.cluster, http_client(agent), clock, width=1)
    to.send(Invalidated(1))
    clock.advance(0)
    assert to.waiting == 0
    to.send(Invalidated(2))
    clock.advance(0)
    assert agent.requests == 2


def test_an_exchange_that_never_ends_is_given_up():
    clock = Clock()
    cancelled = []
    agent = FakeAgent(Deferred(cancelled.append), Deferred())
    to = Link("http://localhost:80", "x", SECRETS.cluster, http_client(agent), clock, width=1, patience=3.0)
    to.send(Invalidated(1))
    clock.advance(0)
    clock.advance(3.0)
    assert cancelled
    assert to.waiting == 0
    assert not to._exchanges


@pytest.mark.parametrize(("secret", "reason"), [("wrong-wrong-wrong", "http-403"), (SECRETS.admin, "http-403")])
def test_a_wrong_secret_is_a_link_down_that_delivered_nothing(peer, secret, reason):
    to = Link("http://localhost:80", "x", secret, http_client(peer.agent), peer.clock)
    got = outcome(to.call(ASK, "r", 5.0))
    peer.flush()
    assert (got[0].value.reason, got[0].value.sent) == (reason, False)
    assert secret not in repr(got)


def test_closing_fails_what_waits_and_stops(peer):
    to = link(peer, width=1)
    sent = outcome(to.call(ASK, "1", 5.0))
    peer.flush()
    unsent = outcome(to.call(ASK, "2", 5.0))
    to.close()
    after = outcome(to.call(ASK, "3", 5.0))
    to.send(Invalidated(1))
    assert [(one[0].value.reason, one[0].value.sent) for one in (sent, unsent, after)] == [
        ("closed", True),
        ("closed", False),
        ("closed", False),
    ]
    peer.flush()
    assert peer.requests == 1
    assert not peer.clock.getDelayedCalls()


def two_nodes(*cut):
    """Each with its links to the other; `a.received` is what came to it. The requests of one may be cut off."""
    one, other = Peer(Clock()), Peer(Clock())
    other.clock = one.clock
    for me, name, there, its in ((one, "a", other, "b"), (other, "b", one, "a")):
        client = http_client(FakeAgent(*(Deferred() for _ in range(100))) if name in cut else there.agent)
        me.links = Links(
            {its: "http://localhost:80"}, name, SECRETS.cluster, one.clock, main=client, heartbeats=client
        )
        me.links.deliver = lambda sender, message, me=me: me.received.append((sender, message))
        me.internal = Internal(SECRETS, one.clock, lambda sender, message, me=me: me.links.deliver(sender, message),
                               me.answer, me.links.riders)  # fmt: skip
    return one, other


def advance(one, other, seconds):
    one.clock.advance(seconds)
    for _ in range(4):
        one.flush()
        other.flush()


def test_what_may_wait_goes_with_the_next_that_may_not(peer):
    to = sound_link(peer)
    to.send(Invalidated(1), 0.25)
    peer.flush()
    assert (peer.requests, to.waiting) == (1, 1)
    to.send(Invalidated(2))
    peer.flush()
    assert peer.requests == 2
    assert peer.received[1:] == [Invalidated(1), Invalidated(2)]


def test_what_may_wait_does_not_wait_for_ever(peer):
    to = sound_link(peer)
    to.send(Invalidated(1), 0.25)
    peer.clock.advance(0.26)
    peer.flush()
    assert peer.received[1:] == [Invalidated(1)]


def sound_link(peer):
    to = link(peer)
    to.send(Invalidated(0))
    peer.flush()
    return to


def test_what_may_wait_goes_with_an_answer():
    a, b = two_nodes()
    b.links.tell(["a"], Invalidated(1), heartbeat=True)
    advance(a, b, 0)
    b.links.tell(["a"], Invalidated(2), heartbeat=True, within=0.25)
    advance(a, b, 0)
    assert a.received == [("b", Invalidated(1))]
    a.links.tell(["b"], Invalidated(3), heartbeat=True)
    advance(a, b, 0)
    assert b.received == [("a", Invalidated(3))]
    assert a.received == [("b", Invalidated(1)), ("b", Invalidated(2))]
    advance(a, b, 1)
    assert (a.requests, b.requests) == (1, 1)


def owing(me):
    """`me` owes an answer to all that comes to it."""
    receive = me.links.deliver

    def deliver(sender, message):
        receive(sender, message)
        me.links.owe(sender)

    me.links.deliver = deliver


def test_what_is_owed_goes_with_the_answer_that_waits_for_it():
    a, b = two_nodes()
    owing(b)
    a.links.tell(["b"], Invalidated(1))
    advance(a, b, 0)
    b.links.reply("a", Invalidated(2))
    advance(a, b, 0)
    assert a.received == [("b", Invalidated(2))]
    assert (a.requests, b.requests) == (0, 1)
    assert a.links.waiting == 0


def test_an_answer_does_not_wait_long_and_what_is_owed_then_goes_by_itself():
    a, b = two_nodes()
    owing(b)
    a.links.tell(["b"], Invalidated(1))
    advance(a, b, 0)
    advance(a, b, 0.06)
    b.links.reply("a", Invalidated(2))
    advance(a, b, 0)
    assert a.received == [("b", Invalidated(2))]
    assert (a.requests, b.requests) == (1, 1)


def test_an_answer_that_waits_in_vain_does_not_have_later_ones_come_late():
    a, b = two_nodes()
    owing(b)
    a.links.tell(["b"], Invalidated(1))  # to which there will be no reply
    advance(a, b, 0)
    for number in range(2, 8):
        advance(a, b, 0.02)
        a.links.tell(["b"], Invalidated(number))
        advance(a, b, Link.PAUSE)
        b.links.reply("a", Invalidated(number))
        advance(a, b, 0)
    assert [message for _, message in a.received] == [Invalidated(number) for number in range(2, 8)]
    assert a.links["b"]._places == 0
    assert b.requests == 7


def test_an_answer_waits_for_what_is_owed_to_its_own_node_only():
    a, b = two_nodes()
    b.links.owe("c")
    a.links.tell(["b"], Invalidated(1))
    advance(a, b, 0)
    assert a.links["b"]._places == 0


def test_a_rider_that_fails_takes_no_other_with_it(peer):
    peer.internal._riders = lambda sender: [encode(Invalidated(number)) for number in (1, 2, 3)]
    heard = []

    def arrived(message):
        heard.append(message.number)
        if message.number == 1:
            raise RuntimeError("boom")

    to = link(peer, arrived=arrived)
    to.send(Invalidated(9))
    peer.flush()
    peer.flush()
    assert heard == [1, 2, 3]


def test_a_node_whose_own_requests_do_not_get_through_is_not_heard_by_its_answers():
    """Nobody would remove it, and all writes would wait for its acknowledgements."""
    a, b = two_nodes("b")
    for number in range(20):
        b.links.tell(["a"], Invalidated(number), heartbeat=True, within=0.25)
        a.links.tell(["b"], Invalidated(100), heartbeat=True)
        advance(a, b, 0.25)
    assert a.received == []
    assert len(b.received) == 20


def test_a_node_asks_itself_now_and_then_though_all_of_its_messages_could_ride():
    a, b = two_nodes()
    for number in range(40):
        b.links.tell(["a"], Invalidated(number), heartbeat=True, within=0.25)
        a.links.tell(["b"], Invalidated(100), heartbeat=True)
        advance(a, b, 0.25)
    assert [message.number for _, message in a.received] == list(range(40))
    assert 8 <= a.requests <= 14


def test_riders_that_make_no_sense_are_a_failed_request(peer):
    peer.internal = Internal(SECRETS, peer.clock, lambda sender, one: None, peer.answer, lambda name: [Raw(b"[7]")])
    arrived = []
    to = link(peer, arrived=arrived.append)
    to.send(Invalidated(1))
    peer.flush()
    peer.clock.advance(1)
    peer.flush()
    assert arrived == []
    assert to.waiting == 0


def test_heartbeats_wait_behind_nothing(peer):
    links = Links(
        {"catalog-0": "http://localhost:80"},
        "order-0",
        SECRETS.cluster,
        peer.clock,
        main=http_client(FakeAgent(*[Deferred() for _ in range(40)])),
        heartbeats=http_client(peer.agent),
        width=1,
    )
    for n in range(5):
        outcome(links.call("catalog-0", ASK, "r", 5.0))
        links.tell(["catalog-0"], Invalidated(n))
        peer.flush()
    links.tell(["catalog-0"], Invalidated(99), heartbeat=True)
    peer.flush()
    assert peer.received == [Invalidated(99)]
    links.close()


class Fixed(Resource):
    isLeaf = True

    def __init__(self, status, body):
        super().__init__()
        self.status, self.body = status, body

    def render(self, request):
        request.setResponseCode(self.status)
        return self.body


HEALTH = Health("Healthy", "catalog", "catalog-0", "RUNNING", 1, 2)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, msgspec.json.encode(HEALTH), (200, HEALTH)),
        (503, msgspec.json.encode(HEALTH), (503, HEALTH)),
        (200, b"<html>", "garbled"),
        (200, b"x" * 10_000_000, "garbled"),
        (404, b'{"title":"x"}', "http-404"),
    ],
)
def test_get_json_gives_status_and_body_or_says_what_it_met(status, body, expected):
    agent, clock = RequestTraversalAgent(Fixed(status, body)), Clock()
    got = outcome(get_json(http_client(agent), "http://localhost:80/health", Health, 1.0, clock))
    agent.flush()
    assert (got[0].value.reason if isinstance(got[0], Failure) else got[0]) == expected
    assert not clock.getDelayedCalls()


def test_a_node_at_an_ipv6_address_is_reached_as_any_other(peer):
    to = Link("http://[::1]:80", "order-0", SECRETS.cluster, http_client(peer.agent), peer.clock)
    answer = outcome(to.call(ASK, "r", 5.0))
    peer.flush()
    peer.calls[0][1].callback(LISTED)
    peer.flush()
    assert answer == [LISTED]
    agent = RequestTraversalAgent(Fixed(200, msgspec.json.encode(HEALTH)))
    heard = outcome(get_json(http_client(agent), "http://[::1]:80/health", Health, 1.0, Clock()))
    agent.flush()
    assert heard == [(200, HEALTH)]


def test_get_json_gives_up_after_its_time():
    clock = Clock()
    got = outcome(get_json(http_client(FakeAgent(Deferred())), "http://localhost:80/", Health, 1.0, clock))
    clock.advance(1.0)
    assert isinstance(got[0].value, LinkDown)
    assert got[0].value.reason == "timeout"


# ---- over real sockets


@pytest.fixture
def net():
    from twisted.internet import reactor  # noqa: TID251

    return reactor


@pytest_twisted.ensureDeferred
async def test_calls_and_messages_over_tcp(net):
    calls, received = [], []

    def answer(sender, call):
        waiting = Deferred()
        calls.append(waiting)
        return waiting

    internal = Internal(SECRETS, net, lambda sender, one: received.append(one), answer)
    root = Resource()
    root.putChild(b"internal", internal)
    site = BoundedSite(root, net)
    port = await TCP4ServerEndpoint(net, 0, interface="127.0.0.1").listen(site)
    url = f"http://127.0.0.1:{port.getHost().port}"
    links = Links.on_reactor({"a": url}, "me", SECRETS.cluster, net)
    links.tell(["a"], Invalidated(1))
    links.tell(["a"], Invalidated(2), heartbeat=True)
    answers = [links.call("a", ASK, "r", 5.0) for _ in range(3)]
    answers[2].addErrback(lambda failure: failure.value)
    while len(calls) < 3 or len(received) < 2:
        await turn(net)
    calls[0].callback(LISTED)
    assert await answers[0] == LISTED  # while the others have none
    calls[1].errback(Problem(404, "No such book", "There is no book 9."))
    with pytest.raises(Problem, match="No such book"):
        await answers[1]
    for channel in list(site.channels):  # the peer dies in the middle of a call
        channel.transport.abortConnection()
    down = await answers[2]
    assert (down.reason, down.sent) == ("lost", True)
    await port.stopListening()
    refused = await links.call("a", ASK, "r", 5.0).addErrback(lambda failure: failure.value)
    assert (refused.reason, refused.sent) == ("refused", False)
    assert sorted(one.number for one in received) == [1, 2]
    await links.close()


class Half(Protocol):
    """A server that answers with these bytes and hangs."""

    answer = b""

    def dataReceived(self, data):
        self.transport.write(self.answer)
        if not self.factory.asked.called:
            self.factory.asked.callback(None)

    def connectionLost(self, reason):
        self.factory.lost.callback(None)


def half(answer):
    Half.answer = answer
    factory = Factory.forProtocol(Half)
    factory.asked, factory.lost = Deferred(), Deferred()
    return factory


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ngarbage\n\n", "garbled"), (b"\x00\x01garbage\r\n\r\n", "lost")],
)
@pytest_twisted.ensureDeferred
async def test_a_server_that_answers_garbage_is_down_and_its_connection_closed(net, answer, reason):
    factory = half(answer)
    port = await TCP4ServerEndpoint(net, 0, interface="127.0.0.1").listen(factory)
    links = Links.on_reactor({"a": f"http://127.0.0.1:{port.getHost().port}"}, "me", SECRETS.cluster, net)
    down = await links.call("a", ASK, "r", 5.0).addErrback(lambda failure: failure.value)
    assert (down.reason, down.sent) == (reason, True)
    await factory.lost
    await links.close()
    await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_a_body_that_never_ends_is_closed_when_its_time_is_over(net):
    factory = half(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
    port = await TCP4ServerEndpoint(net, 0, interface="127.0.0.1").listen(factory)
    links = Links.on_reactor({"a": f"http://127.0.0.1:{port.getHost().port}"}, "me", SECRETS.cluster, net)
    down = await links.call("a", ASK, "r", 0.05).addErrback(lambda failure: failure.value)
    assert (down.reason, down.sent) == ("timeout", True)
    await factory.asked  # on a busy machine the call has expired before there is a connection to be closed
    await links.close()
    await factory.lost
    await port.stopListening()


def turn(reactor):
    waiter = Deferred()
    reactor.callLater(0, waiter.callback, None)
    return waiter
