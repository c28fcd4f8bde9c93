"""The internal path: envelopes in, answers out as they become ready."""

import msgspec
import pytest
from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.web.test.requesthelper import DummyChannel

from pygmy.errors import Problem
from pygmy.messages.internal import (
    Answer,
    Call,
    Envelope,
    Invalidated,
    List,
    Listed,
    Refused,
)
from pygmy.web.auth import Secrets
from pygmy.web.internal import Internal
from pygmy.web.site import BoundedSite

SECRETS = Secrets("c" * 32, "a" * 32)
LISTED = Listed((), False, None, 0.0)
WAITING = {"catalog-1": [Raw(msgspec.json.encode(Invalidated(7)))]}


class Node:
    def __init__(self):
        self.clock = Clock()
        self.received = []
        self.calls = {}
        self.resource = Internal(SECRETS, self.clock, self.receive, self.answer)

    def receive(self, sender, message):
        if message == Invalidated(666):
            raise RuntimeError("swordfish")
        self.received.append((sender, message))

    def answer(self, sender, call):
        if call.request_id == "raise":
            raise RuntimeError("swordfish")
        self.calls[call.id] = Deferred()
        return self.calls[call.id]

    def post(self, envelope, secret=SECRETS.cluster, method=b"POST"):
        """The request, rendered; `written()` has what was answered."""
        channel = DummyChannel()
        site = BoundedSite(self.resource, self.clock)
        channel.site = site
        request = site.requestFactory(channel, False)
        body = envelope if isinstance(envelope, bytes) else msgspec.json.encode(envelope)
        request.requestHeaders.setRawHeaders(b"Authorization", [b"Bearer " + secret.encode()])
        request.gotLength(len(body))
        request.body_limit = len(body)
        request.handleContentChunk(body)
        request.requestReceived(method, b"/internal", b"HTTP/1.1")
        return request, channel


def lines(channel):
    """The answers written so far."""
    text = channel.transport.written.getvalue().partition(b"\r\n\r\n")[2]
    return [msgspec.json.decode(line, type=Answer) for line in text.split(b"\n") if line.startswith(b"{")]


def ask(*numbers, rid="r"):
    return Envelope("frontend-0", (), tuple(Call(n, rid, List(None, 0, 9)) for n in numbers))


@pytest.fixture
def node():
    return Node()


@pytest.fixture
def logged():
    events = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


def test_messages_are_received_in_order_and_answered_204(node):
    _, channel = node.post(Envelope("catalog-1", (Invalidated(1), Invalidated(2))))
    assert node.received == [("catalog-1", Invalidated(1)), ("catalog-1", Invalidated(2))]
    assert b" 204 " in channel.transport.written.getvalue()


def test_what_waits_for_the_sender_goes_with_the_answer(node):
    for name, encoded in (("catalog-1", b'[{"type":"invalidated","number":7}]'), ("order-0", b"")):
        node.resource = Internal(SECRETS, node.clock, node.receive, node.answer, WAITING.get)
        _, channel = node.post(Envelope(name, (Invalidated(1),)))
        head, _, body = channel.transport.written.getvalue().partition(b"\r\n\r\n")
        assert (b" 200 " in head, body) == (name == "catalog-1", encoded)


def test_nothing_goes_with_the_answers_to_calls(node):
    node.resource = Internal(SECRETS, node.clock, node.receive, node.answer, WAITING.__getitem__)
    _, channel = node.post(ask(1))
    node.calls[1].callback(LISTED)
    node.clock.advance(0)
    assert lines(channel) == [Answer(1, LISTED)]


def test_a_message_that_fails_does_not_stop_the_next(node, logged):
    node.post(Envelope("catalog-1", (Invalidated(666), Invalidated(2))))
    assert node.received == [("catalog-1", Invalidated(2))]
    assert any(event.get("log_failure") for event in logged)


def test_answers_go_out_as_each_is_ready(node):
    """A slow answer delays no other."""
    request, channel = node.post(ask(1, 2, 3))
    node.calls[2].callback(LISTED)
    node.clock.advance(0)
    assert lines(channel) == [Answer(2, LISTED)]
    node.calls[3].callback(LISTED)
    node.calls[1].callback(LISTED)
    node.clock.advance(0)
    assert [answer.id for answer in lines(channel)] == [2, 3, 1]
    assert request.finished


def test_answers_of_one_turn_are_one_write(node):
    request, channel = node.post(ask(1, 2))
    written = []
    request.write, real = (lambda data: (written.append(data), real(data))), request.write
    node.calls[1].callback(LISTED)
    node.calls[2].callback(LISTED)
    assert not written
    node.clock.advance(0)
    assert len(written) == 1
    assert b"Content-Length" in channel.transport.written.getvalue()


def test_a_problem_becomes_refused(node):
    _, channel = node.post(ask(1))
    node.calls[1].errback(Problem(409, "Out of stock", "Only 2.", retry_after=3, outcome_unknown=True, item=1))
    node.clock.advance(0)
    assert lines(channel) == [Answer(1, Refused(409, "Out of stock", "Only 2.", {"item": 1}, 3, True))]


@pytest.mark.parametrize("rid", ["raise", "later"])
def test_a_bug_becomes_a_refusal_of_unknown_outcome_and_a_log_line(node, logged, rid):
    _, channel = node.post(ask(1, rid=rid))
    if rid == "later":
        node.calls[1].errback(RuntimeError("swordfish"))
    node.clock.advance(0)
    (answer,) = lines(channel)
    assert (answer.body.status, answer.body.outcome_unknown) == (500, True)
    assert "swordfish" not in answer.body.detail
    assert [event["rid"] for event in logged if event.get("log_failure")] == [rid]


def test_a_client_that_leaves_does_not_cancel_the_work(node):
    request, channel = node.post(ask(1, 2))
    node.calls[1].callback(LISTED)
    request.connectionLost(Failure(ConnectionDone()))
    node.clock.advance(0)
    assert not node.calls[2].called
    node.calls[2].callback(LISTED)
    node.clock.advance(0)
    assert lines(channel) == []


@pytest.mark.parametrize(("secret", "status"), [("wrong", b" 403 "), ("a" * 32, b" 403 "), ("", b" 401 ")])
def test_only_members_are_heard(node, secret, status):
    _, channel = node.post(Envelope("x", (Invalidated(1),)), secret)
    assert status in channel.transport.written.getvalue()
    assert node.received == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"sender":"x","messages":[{"type":"nonsense"}]}', b"\xff"])
def test_an_envelope_that_cannot_be_read_is_refused_whole(node, body):
    _, channel = node.post(body)
    assert b" 400 " in channel.transport.written.getvalue()
    assert b"problem+json" in channel.transport.written.getvalue()
    assert node.received == []


def test_another_method_gets_405(node):
    _, channel = node.post(ask(1), method=b"GET")
    assert b" 405 " in channel.transport.written.getvalue()
    assert node.calls == {}


def test_the_types_travel():
    assert msgspec.json.decode(msgspec.json.encode(ask(1)), type=Envelope) == ask(1)
