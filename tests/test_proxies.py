"""The proxies between nodes: links are as told, each by itself, and otherwise nobody notices them."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from pygmy.private.proxies import NOBODY, Door, Proxies
from tests.support.processes import LONGEST, free_ports, until

A, B = "catalog-0", "catalog-1"


class Parrot:
    """A server that answers whatever it is told with the same in capitals."""

    def __init__(self, port: int) -> None:
        self.heard = b""
        self.ends: list[str] = []  # how connections came to their ends
        self._server = socket.create_server(("127.0.0.1", port))
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                self._open.append(connection)
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        said, end = False, "good-bye"
        with connection:
            try:
                while data := connection.recv(65536):
                    said = True
                    self.heard += data
                    connection.sendall(data.upper())
            except OSError:
                end = "reset"
            if said:  # else somebody only looked whether we are there
                self.ends.append(end)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class Pair:
    """Two parrots, each behind its proxy."""

    def __init__(self) -> None:
        ports = free_ports(4)
        self.doors = {A: Door(ports[0], ports[1]), B: Door(ports[2], ports[3])}
        self.parrots = {name: Parrot(door.private) for name, door in self.doors.items()}
        self.proxies = Proxies(self.doors).start()
        self._callers: list[Caller] = []

    def call(self, caller: str, callee: str) -> "Caller":
        """A connection over which the caller has said who it is, unless it is nobody."""
        port = self.doors[callee].public
        sock = until(lambda: socket.create_connection(("127.0.0.1", port), LONGEST), f"a connection to {callee}")
        self._callers.append(Caller(sock))
        if caller:
            self._callers[-1].says(hello(caller))
        return self._callers[-1]

    def close(self) -> None:
        for caller in self._callers:
            caller.sock.close()
        self.proxies.close()
        for parrot in self.parrots.values():
            parrot.close()


class Caller:
    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def says(self, data: bytes) -> None:
        self.sock.sendall(data)

    def hears(self, data: bytes) -> bool:
        """True if this comes next; False if the connection ends instead."""
        heard = b""
        with contextlib.suppress(ConnectionResetError):
            while len(heard) < len(data) and (more := self.sock.recv(len(data) - len(heard))):
                heard += more
        return heard == data

    def hears_nothing(self) -> bool:
        """For as long as it takes others to say and hear much more."""
        self.sock.settimeout(0.3)
        try:
            self.sock.recv(1)
        except TimeoutError:
            return True
        finally:
            self.sock.settimeout(LONGEST)
        return False

    def is_reset(self) -> bool:
        with contextlib.suppress(TimeoutError):
            try:
                while self.sock.recv(4096):
                    pass
            except ConnectionResetError:
                return True
        return False


def hello(caller: str) -> bytes:
    body = b'{"sender":"%s","messages":[],"calls":[]}' % caller.encode("ascii")
    return b"POST /internal HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def greeting(caller: str) -> bytes:
    return hello(caller).upper()


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.close()


def test_what_is_said_arrives_and_is_answered_whoever_says_it(pair: Pair) -> None:
    for caller, first in ((A, b""), (NOBODY, b"GET /health HTTP/1.1\r\n\r\n")):
        ours = pair.call(caller, B)
        ours.says(first)
        assert ours.hears(greeting(caller) if caller else first.upper())
    assert pair.proxies.open() == [(NOBODY, B), (A, B)]


def test_the_caller_is_known_also_from_single_bytes(pair: Pair) -> None:
    ours = pair.call(NOBODY, B)
    for byte in hello(A):
        ours.says(bytes([byte]))
    assert ours.hears(greeting(A))
    assert pair.proxies.open() == [(A, B)]


def test_much_at_once_arrives_whole(pair: Pair) -> None:
    ours = pair.call(A, B)
    assert ours.hears(greeting(A))
    much = b"abc" * 4_000_000
    talker = threading.Thread(target=ours.says, args=(much,))
    talker.start()
    assert ours.hears(much.upper())
    talker.join()


def test_hanging_up_is_passed_on(pair: Pair) -> None:
    ours = pair.call(A, B)
    assert ours.hears(greeting(A))
    ours.sock.shutdown(socket.SHUT_WR)
    assert ours.sock.recv(1) == b""
    until(lambda: not pair.proxies.open(), "an end to the connection")
    until(lambda: pair.parrots[B].ends == ["good-bye"], "a good-bye")


def test_a_reset_is_passed_on_as_such(pair: Pair) -> None:
    ours = pair.call(A, B)
    assert ours.hears(greeting(A))
    ours.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    ours.sock.close()
    until(lambda: pair.parrots[B].ends == ["reset"], "a reset")


def test_a_cut_one_way_keeps_back_what_one_side_says_and_nothing_else(pair: Pair) -> None:
    there, back, stranger = pair.call(A, B), pair.call(B, A), pair.call("order-0", B)
    assert there.hears(greeting(A))
    assert back.hears(greeting(B))
    assert stranger.hears(greeting("order-0"))
    rule = pair.proxies.cut([(A, B)])
    there.says(b"cut")
    back.says(b"free")
    stranger.says(b"free")
    assert back.hears(b"FREE")
    assert stranger.hears(b"FREE")
    assert there.hears_nothing()
    pair.proxies.lift(rule)
    assert there.hears(b"CUT")


def test_a_cut_holds_for_connections_that_are_made_while_it_lasts(pair: Pair) -> None:
    rule = pair.proxies.cut([(A, B)])
    ours = pair.call(A, B)
    assert ours.hears_nothing()
    assert pair.parrots[B].heard == b""
    pair.proxies.lift(rule)
    assert ours.hears(greeting(A))


def test_nothing_is_let_through_before_it_is_known_whose_it_is(pair: Pair) -> None:
    pair.proxies.cut([(A, B)])
    ours = pair.call(NOBODY, B)
    for part in (hello(A)[:20], hello(A)[20:-30], hello(A)[-30:]):
        ours.says(part)
        assert ours.hears_nothing()
    assert pair.parrots[B].heard == b""


def test_what_was_kept_back_arrives_even_if_its_sender_has_hung_up_since(pair: Pair) -> None:
    """As on a real network: what a node has sent, it cannot take back."""
    pair.proxies.cut([(A, B)])
    ours = pair.call(A, B)
    ours.sock.close()
    pair.proxies.lift()
    until(lambda: pair.parrots[B].heard == hello(A), "late bytes")


def test_an_answer_passes_a_cut_of_its_question_and_no_cut_both_ways(pair: Pair) -> None:
    for pairs, passes in (([(A, B)], True), ([(A, B), (B, A)], False)):
        ours = pair.call(A, B)
        assert ours.hears(greeting(A))
        pair.proxies.slow([(A, B)], 0.3)  # so that the question is out when the cut comes
        ours.says(b"question")
        until(lambda: b"question" in pair.parrots[B].heard, "the question")
        pair.proxies.cut(pairs)
        assert ours.hears(b"QUESTION") if passes else ours.hears_nothing()
        pair.proxies.lift()
        pair.parrots[B].heard = b""
        assert passes or ours.hears(b"QUESTION")


def test_whoever_is_mute_is_heard_on_its_own_connections_only(pair: Pair) -> None:
    there, back = pair.call(A, B), pair.call(B, A)
    assert there.hears(greeting(A))
    assert back.hears(greeting(B))
    pair.proxies.mute([(A, B)])
    back.says(b"question")
    until(lambda: b"question" in pair.parrots[A].heard, "the question")
    assert back.hears_nothing()
    there.says(b"said")
    assert there.hears(b"SAID")
    pair.proxies.lift()
    assert back.hears(b"QUESTION")


def test_a_rule_lasts_until_all_that_say_so_are_lifted(pair: Pair) -> None:
    ours = pair.call(A, B)
    assert ours.hears(greeting(A))
    first, second = pair.proxies.cut([(A, B)]), pair.proxies.cut([(A, B), (B, A)])
    ours.says(b"cut")
    pair.proxies.lift(first)
    assert ours.hears_nothing()
    pair.proxies.lift(second)
    assert ours.hears(b"CUT")


def test_connections_are_reset_once_or_refused_while_that_lasts(pair: Pair) -> None:
    ours, other = pair.call(A, B), pair.call(B, A)
    assert ours.hears(greeting(A))
    assert other.hears(greeting(B))
    pair.proxies.reset([(A, B)])
    assert ours.is_reset()
    assert pair.call(A, B).hears(greeting(A))
    rule = pair.proxies.refuse([(A, B)])
    assert pair.call(A, B).is_reset()
    pair.proxies.lift(rule)
    assert pair.call(A, B).hears(greeting(A))
    other.says(b"still there")
    assert other.hears(b"STILL THERE")


def test_a_slow_link_takes_its_time_each_way_and_keeps_the_order(pair: Pair) -> None:
    ours = pair.call(A, B)
    assert ours.hears(greeting(A))
    pair.proxies.slow([(A, B)], 0.1)
    started = time.monotonic()
    for part in (b"one", b"two", b"three"):
        ours.says(part)
    assert ours.hears(b"ONETWOTHREE")
    assert time.monotonic() - started >= 0.2


def test_nobodys_connections_are_cut_by_whom_they_call(pair: Pair) -> None:
    to_a, to_b = pair.call(NOBODY, A), pair.call(NOBODY, B)
    rule = pair.proxies.cut([(NOBODY, B)])
    for caller in (to_a, to_b):
        caller.says(b"GET /health HTTP/1.1\r\n\r\n")
    assert to_a.hears(b"GET /HEALTH HTTP/1.1\r\n\r\n")
    assert to_b.hears_nothing()
    pair.proxies.lift(rule)
    assert to_b.hears(b"GET /HEALTH HTTP/1.1\r\n\r\n")


def test_a_node_that_is_down_refuses_connections_until_it_is_back(pair: Pair) -> None:
    ours = pair.call(A, B)
    assert ours.hears(greeting(A))
    pair.parrots[B].close()
    assert not ours.hears(b"x")

    def refused() -> bool:
        try:
            socket.create_connection(("127.0.0.1", pair.doors[B].public), LONGEST).close()
        except ConnectionRefusedError:
            return True
        return False

    until(refused, "a refusal")
    pair.parrots[B] = Parrot(pair.doors[B].private)
    assert pair.call(A, B).hears(greeting(A))
