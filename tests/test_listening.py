"""Where a node listens: a crowd that comes at once finds room to wait in, while the node has other things to do."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from twisted.internet import reactor  # noqa: TID251
from twisted.web.resource import Resource

from pygmy.listening import Listening
from pygmy.private import free_ports
from pygmy.tls.places import with_backlog

CROWD = 300


@pytest.fixture(name="place")
def _place(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """Port and socket of a node that takes nobody meanwhile: in a plain test the reactor stands still."""
    (port,) = free_ports(1)
    people = tmp_path / "people"
    listening = Listening(Resource(), f"tcp:{port}:interface=127.0.0.1", reactor, listen=(f"unix:{people}",))
    listening.startService()
    yield port, people
    listening.stopService()


def test_a_crowd_that_connects_at_once_finds_room(place: tuple[int, Path]) -> None:
    port, people = place
    with ExitStack() as stack:
        for _ in range(CROWD):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
            one = stack.enter_context(socket.socket(socket.AF_UNIX))
            one.setblocking(False)
            one.connect(str(people))


@pytest.mark.parametrize(
    ("endpoint", "made"),
    [
        ("tcp:5002", "tcp:5002:backlog=1024"),
        ("tcp:5002:interface=\\:\\:1", "tcp:5002:interface=\\:\\:1:backlog=1024"),
        ("ssl:443:privateKey=a.key", "ssl:443:privateKey=a.key:backlog=1024"),
        ("unix:/run/pygmy", "unix:/run/pygmy:backlog=1024"),
        ("tcp:5002:backlog=7", "tcp:5002:backlog=7"),
        ("tcp:5002:127.0.0.1:7", "tcp:5002:127.0.0.1:7"),
        ("systemd:domain=INET:index=0", "systemd:domain=INET:index=0"),
    ],
)
def test_who_says_how_many_may_wait_is_believed(endpoint: str, made: str) -> None:
    assert with_backlog(endpoint) == made
