"""The agent for nodes: answers of any cut, connections that are used again, and what it makes of odd ones."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectingCancelledError, ConnectionDone, ConnectionRefusedError
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers

from pygmy.peers.agent import IDLE_SECONDS, NodeAgent
from pygmy.peers.answers import BadAnswer
from pygmy.peers.client import ImmediateBody, read_body

URL = b"http://127.0.0.1:5000/internal"
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"
LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"


class Told:
    """A reader that keeps what it is told."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def begun(self, head: Any) -> None:
        self.heard.append(head.code)

    def received(self, data: bytes) -> None:
        self.heard.append(data)

    def ended(self, reason: Failure | None) -> None:
        self.heard.append(reason if reason is None else type(reason.value))


class World:
    """An agent on a reactor in memory; `ask` gives what came of a request in the end."""

    def __init__(self, width: int = 2) -> None:
        self.reactor = MemoryReactorClock()
        self.agent = NodeAgent(self.reactor, width)
        self.connections: list[tuple[Any, StringTransport]] = []

    def ask(self, body: bytes | None = b"{}", url: bytes = URL) -> tuple["Deferred[Any]", list[Any]]:
        got: list[Any] = []
        producer: Any = None if body is None else ImmediateBody(body)
        asking: Any = self.agent.request(b"POST", url, Headers({b"A": [b"1"]}), producer)
        asking.addCallback(lambda response: Deferred.fromCoroutine(self._read(response)))
        asking.addBoth(got.append)
        self.connect()
        return asking, got

    def exchange(self) -> tuple[Callable[[], None], list[Any]]:
        """As a link asks: what it is told."""
        told = Told()
        return self.agent.exchange(URL, Headers({b"A": [b"1"]}), b"{}", told), told.heard

    async def _read(self, response: Any) -> tuple[int, bytes]:
        parts: list[bytes] = []
        await read_body(response, parts.append)
        return response.code, b"".join(parts)

    def connect(self) -> None:
        """Whoever is connecting is connected."""
        for client in self.reactor.tcpClients[len(self.connections) :]:
            protocol = client[2].buildProtocol(IPv4Address("TCP", "127.0.0.1", 5000))
            transport = StringTransport()
            transport.abortConnection = transport.loseConnection  # type: ignore[method-assign]
            protocol.makeConnection(transport)
            self.connections.append((protocol, transport))

    def hear(self, *pieces: bytes, on: int = -1) -> None:
        for piece in pieces:
            self.connections[on][0].dataReceived(piece)

    def lose(self, on: int = -1) -> None:
        self.connections[on][0].connectionLost(Failure(ConnectionDone()))


def test_a_request_is_one_write_with_its_length() -> None:
    world = World()
    world.ask(b'{"a":1}')
    assert world.connections[0][1].value() == (
        b'POST /internal HTTP/1.1\r\nHost: 127.0.0.1:5000\r\nA: 1\r\nContent-Length: 7\r\n\r\n{"a":1}'
    )


@settings(max_examples=60, deadline=None)
@given(
    answer=st.sampled_from([(NO_CONTENT, (204, b"")), (LENGTH, (200, b"hello")), (CHUNKED, (200, b"hello"))]),
    cuts=st.lists(st.integers(1, 90), max_size=6),
)
def test_an_answer_of_any_cut_is_read_and_its_connection_used_again(
    answer: tuple[bytes, tuple[int, bytes]], cuts: list[int]
) -> None:
    world, (data, expected) = World(), answer
    places = sorted({0, *(cut for cut in cuts if cut < len(data)), len(data)})
    for _ in range(2):
        _, got = world.ask()
        world.hear(*(data[a:b] for a, b in pairwise(places)))
        assert got == [expected]
        _, told = world.exchange()
        world.hear(*(data[a:b] for a, b in pairwise(places)))
        code, *parts, end = told
        assert ((code, b"".join(parts)), end) == (expected, None)
    assert len(world.connections) == 1


def test_two_requests_at_once_have_a_connection_each_and_so_many_are_kept() -> None:
    world = World(width=1)
    asked = [world.ask()[1] for _ in range(3)]
    for index in range(3):
        world.hear(NO_CONTENT, on=index)
    assert asked == [[(204, b"")]] * 3
    assert [transport.disconnecting for _, transport in world.connections] == [False, True, True]


def test_an_idle_connection_is_not_used_after_its_time() -> None:
    world = World()
    world.ask()
    world.hear(NO_CONTENT)
    world.reactor.advance(IDLE_SECONDS + 1)
    world.ask()
    assert [transport.disconnecting for _, transport in world.connections] == [True, False]


def test_a_connection_that_the_server_closes_is_forgotten() -> None:
    world = World()
    world.ask()
    world.hear(NO_CONTENT)
    world.lose()
    _, got = world.ask()
    world.hear(NO_CONTENT)
    assert (len(world.connections), got) == (2, [(204, b"")])


@pytest.mark.parametrize("heard", [b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel"])
def test_a_connection_lost_before_the_end_of_an_answer_fails_it(heard: bytes) -> None:
    world = World()
    _, got = world.ask()
    world.hear(heard)
    world.lose()
    assert isinstance(got[0], Failure)
    assert got[0].check(ConnectionDone)


@pytest.mark.parametrize(
    "heard",
    [
        b"\x00\x01garbage\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nno header\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nlonger",
        b"x" * 40_000,
    ],
)
def test_what_is_no_answer_fails_the_request_and_closes(heard: bytes) -> None:
    world = World()
    _, got = world.ask()
    world.hear(heard)
    assert isinstance(got[0], Failure)
    assert got[0].check(BadAnswer)
    assert world.connections[0][1].disconnecting
    world.ask()
    assert len(world.connections) == 2


def test_an_answer_that_nobody_asked_for_closes() -> None:
    world = World()
    world.ask()
    world.hear(NO_CONTENT)
    world.hear(NO_CONTENT)
    assert world.connections[0][1].disconnecting


def test_a_server_that_wishes_to_close_has_its_way() -> None:
    world = World()
    _, got = world.ask()
    world.hear(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
    assert got == [(200, b"ok")]
    assert world.connections[0][1].disconnecting


def test_cancelling_closes_and_what_comes_then_is_nobodys() -> None:
    world = World()
    asking, got = world.ask()
    asking.cancel()
    assert isinstance(got[0], Failure)
    assert world.connections[0][1].disconnecting
    world.lose()


def test_closing_closes_what_is_idle_and_later_what_was_busy() -> None:
    world = World()
    world.ask()
    world.ask()
    world.hear(NO_CONTENT, on=0)
    closing = world.agent.close()
    assert world.connections[0][1].disconnecting
    assert not closing.called
    world.lose(on=0)
    assert closing.called
    world.hear(NO_CONTENT, on=1)
    assert world.connections[1][1].disconnecting


def test_an_exchange_given_up_before_it_is_connected_is_never_sent() -> None:
    world = World()
    give_up, told = world.exchange()
    give_up()
    assert told == [ConnectingCancelledError]
    assert world.reactor.connectors[0].stoppedConnecting


@pytest.mark.parametrize("heard", [b"", b"HTTP/1.1 200", CHUNKED[:-12]])
def test_an_exchange_given_up_once_it_is_sent_closes_and_hears_nothing_more(heard: bytes) -> None:
    world = World()
    give_up, told = world.exchange()
    world.connect()
    world.hear(heard)
    before = list(told)
    give_up()
    world.hear(CHUNKED[len(heard) :])
    world.lose()
    assert told == before
    assert world.connections[0][1].disconnecting


@pytest.mark.parametrize("answer", [LENGTH, CHUNKED])
@pytest.mark.parametrize("when", ["begun", "received"])
def test_who_gives_up_while_being_told_hears_nothing_more(answer: bytes, when: str) -> None:
    world, reader = World(), Told()
    tell = getattr(reader, when)
    setattr(reader, when, lambda what: (tell(what), give_up()))
    give_up = world.agent.exchange(URL, Headers(), b"{}", reader)
    world.connect()
    world.hear(answer)
    part = b"hello" if answer == LENGTH else b"he"
    assert reader.heard == ([200] if when == "begun" else [200, part])
    assert world.connections[0][1].disconnecting


def test_giving_up_what_has_ended_leaves_the_next_alone() -> None:
    world = World()
    give_up, told = world.exchange()
    world.connect()
    world.hear(NO_CONTENT)
    _, next_told = world.exchange()
    give_up()
    world.hear(LENGTH)
    assert (told, next_told) == ([204, None], [200, b"hello", None])
    assert len(world.connections) == 1


def test_who_cannot_be_reached_is_told_so() -> None:
    world = World()
    _, told = world.exchange()
    (_, _, factory, *_) = world.reactor.tcpClients[0]
    factory.clientConnectionFailed(None, Failure(ConnectionRefusedError()))
    world.reactor.advance(0.3)  # there is no other address to try
    assert told == [ConnectionRefusedError]
