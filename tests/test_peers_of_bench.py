"""The peers of `pygmy bench`: stores of other makes that give the same answers. Most of it without starting any."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pygmy.bench import rivals
from pygmy.cluster import Node, Role
from pygmy.private import ask, private_store

PEERS = Path(__file__).parent.parent / "bench" / "peers"
NAMES = ("flask-sqlite", "fastapi-memory", "fastapi-postgresql", "fastapi-postgresql-standby")
started = pytest.mark.skipif(
    not os.environ.get("PYGMY_PEERS_TEST"), reason="starts peers, which may install them first: PYGMY_PEERS_TEST=1"
)


@contextmanager
def importable(*folders: Path) -> Iterator[None]:
    before, known = list(sys.path), set(sys.modules)
    sys.path[:0] = [str(folder) for folder in folders]
    try:
        yield
    finally:
        sys.path[:] = before
        for name in set(sys.modules) - known:
            if str(PEERS) in str(getattr(sys.modules[name], "__file__", "")):
                del sys.modules[name]


@pytest.fixture(name="modules")
def _modules() -> Iterator[dict[str, ModuleType]]:
    """Those that need nothing but Python."""
    with importable(PEERS, PEERS / "flask_sqlite"):
        yield {
            name: __import__(name)
            for name in ("start", "environments", "flask_store", "postgresql", "storage", "trouble")
        }


def test_peers_are_listed_without_installing_anything() -> None:
    assert rivals.names() == NAMES


def test_other_requirements_make_another_environment(
    modules: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYGMY_PEERS_CACHE", str(tmp_path / "cache"))
    requirements = tmp_path / "some_peer" / "requirements.txt"
    requirements.parent.mkdir()
    requirements.write_text("flask\n")
    first = modules["environments"].place(requirements)
    assert first.parent == tmp_path / "cache"
    assert first.name.startswith("some_peer-")
    assert modules["environments"].place(requirements) == first
    requirements.write_text("flask>=3\n")
    assert modules["environments"].place(requirements) != first


def test_every_peer_has_its_requirements_and_its_application(modules: dict[str, ModuleType]) -> None:
    for peer in modules["start"].PEERS.values():
        assert peer.requirements.is_file()
    line = modules["flask_store"].command(Path("/programs"), "catalog", 1234)
    assert line[0] == "/programs/gunicorn"
    assert line[-1] == "catalog:app"
    assert "127.0.0.1:1234" in line


def test_postgresql_flushes_every_commit_and_listens_on_no_port(modules: dict[str, ModuleType]) -> None:
    lines = modules["postgresql"].settings(8 << 30).splitlines()
    for line in ("fsync = on", "synchronous_commit = on", "listen_addresses = ''", "shared_buffers = 1024MB"):
        assert line in lines


def test_the_flask_peer_sells_no_copy_twice(modules: dict[str, ModuleType], tmp_path: Path) -> None:
    storage, path = modules["storage"], str(tmp_path / "catalog.sqlite")
    storage.create_catalog(path, [{"title": "A", "topic": "t", "cost": 12.5, "count": 3}])
    database = storage.connect(path)
    sold = storage.sell(database, 1, 2)
    assert (sold["cents"], sold["count"]) == (1250, 1)
    assert storage.sell(database, 1, 2) == 1
    assert storage.sell(database, 9, 1) is None
    (level,) = database.execute("PRAGMA synchronous").fetchone()
    assert level == 2  # FULL
    database.close()
    with sqlite3.connect(path) as other:
        assert other.execute("SELECT count FROM books").fetchone() == (1,)


def test_a_peer_that_cannot_run_says_why_in_one_line(tmp_path: Path) -> None:
    line = [sys.executable, str(PEERS / "start.py"), "flask-sqlite", "--books", str(tmp_path / "absent")]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 69
    assert done.stderr.startswith("flask-sqlite cannot run: ")
    assert done.stderr.count("\n") == 1


ASKED = (
    ("GET", "/books/1", None),
    ("GET", "/books/999", None),
    ("GET", "/books?topic=topic%200", None),
    ("GET", "/books?topic=none", None),
    ("GET", "/books", None),
    ("POST", "/books/1", None),
    ("POST", "/books/1", {"quantity": 3}),
    ("POST", "/books/999", None),
    ("GET", "/books/1", None),
)


def answers(server: tuple[str, int]) -> list[tuple[int, Any]]:
    """Status and body of each; of failures what is alike, of sales all but the moment."""
    node = Node(Role.FRONTEND, 0, *server)
    found = []
    for method, path, body in ASKED:
        reply = ask(node, method, path, body)
        said = json.loads(reply.body)
        if reply.status != 200:
            said = {key: said[key] for key in ("status", "item")}
        elif method == "POST":
            assert len(said.pop("Date")) == len("Nov-23-2026 02:14:17")
        found.append((reply.status, said))
    return found


@started
@pytest.mark.parametrize("name", NAMES)
def test_a_peer_answers_as_pygmy_does(name: str) -> None:
    with private_store("peers", catalogs=1, orders=1, books=rivals.books(30)) as store:
        ours = answers(("127.0.0.1", store.node("frontend-0").port))
    with rivals.running(name, 30) as server:
        assert answers(server) == ours
