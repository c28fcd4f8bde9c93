"""What people and scripts rely on at the command line: results, messages, exit codes, keys to retry with."""

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.web.iweb import IRequest
from twisted.web.resource import Resource

from pygmy.cli.calling import Settings, admin_token
from pygmy.cli.client import StoreClient
from pygmy.cli.main import main
from pygmy.cli.overview import cluster_table, overview, verdict
from pygmy.messages.condition import Head
from pygmy.peers import http_client
from pygmy.web.status import ClusterBody, Health, NodeStatus, TierStatus

BOOK = b'{"id":1,"title":"RPCs for Dummies","topic":"distributed systems","cost":35.0,"count":2000}'
ORDER = b'{"OrderId":79,"ID":1,"Date":"Apr-30-2021 17:44:42","Order status":"Success","Quantity":2,"Total":70.0}'
BASKET = (
    b'{"OrderId":80,"Date":"Apr-30-2021 17:44:42","Order status":"Success",'
    b'"Items":[{"id":1,"quantity":1,"cost":35.0},{"id":2,"quantity":1,"cost":5.0}],"Total":40.0}'
)


class CannedStore(Resource):
    """Answers by method and path (`GET /books/1`), and keeps what it was asked."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[str, tuple[int, bytes]] = {"GET /books/1": (200, BOOK)}
        self.links: dict[str, str] = {}
        self.seen: list[tuple[str, dict[str, str], bytes]] = []

    def render(self, request: IRequest) -> bytes:
        asked = f"{request.method.decode()} {request.uri.decode()}"
        headers = {
            name.decode().lower(): values[0].decode() for name, values in request.requestHeaders.getAllRawHeaders()
        }
        self.seen.append((asked, headers, request.content.read()))
        status, body = self.answers.get(asked) or self.answers[asked.split("?")[0]]
        request.setResponseCode(status)
        if asked in self.links:
            request.setHeader("link", self.links[asked])
        return body

    def problem(self, asked: str, status: int, detail: str, **extra: Any) -> None:
        body = {"type": "about:blank", "title": "T", "status": status, "detail": detail, **extra}
        self.answers[asked] = (status, json.dumps(body).encode())

    def key(self) -> str:
        """The Idempotency-Key of the one write it saw."""
        (key,) = [headers["idempotency-key"] for asked, headers, _ in self.seen if not asked.startswith("GET")]
        return key


@pytest.fixture
def store() -> CannedStore:
    return CannedStore()


@pytest.fixture
def pygmy(store: CannedStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    """Runs the command in this process, its store in memory."""
    for name in ("PYGMY_FRONTEND", "PYGMY_TOKEN_FILE", "PYGMY_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    agent = RequestTraversalAgent(store)

    def connect(settings: Settings, action: Callable[[StoreClient], Awaitable[Any]]) -> Any:
        client = StoreClient(
            http_client(agent), settings.url, Clock(), settings.timeout, lambda: admin_token(settings)
        )
        results: list[Any] = []
        failures: list[Any] = []
        work = Deferred.fromCoroutine(action(client))
        work.addCallbacks(results.append, failures.append)
        while not (results or failures):
            agent.flush()
        if failures:
            failures[0].raiseException()
        return results[0]

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, list(arguments), obj=Settings(connect=connect), catch_exceptions=False)

    return run


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "pygmy-data" / "admin.token"
    path.parent.mkdir()
    path.write_text("opensesame" * 4)
    path.chmod(0o600)
    return path


def test_lookup_shows_the_four_fields_aligned(pygmy: Callable[..., Result]) -> None:
    result = pygmy("lookup", "1")
    assert result.stdout.splitlines() == [
        "title  RPCs for Dummies",
        "topic  distributed systems",
        "cost   35.00",
        "count  2,000",
    ]
    assert (result.exit_code, result.stderr) == (0, "")


def test_json_is_what_the_server_said_byte_for_byte(pygmy: Callable[..., Result]) -> None:
    assert pygmy("--json", "lookup", "1").stdout == BOOK.decode() + "\n"


@pytest.mark.parametrize(
    ("status", "code", "name"),
    [(404, 3, "lookup"), (409, 4, "buy"), (422, 2, "buy"), (503, 69, "lookup"), (503, 69, "buy")],
)
def test_each_refusal_has_its_exit_code(
    pygmy: Callable[..., Result], store: CannedStore, status: int, code: int, name: str
) -> None:
    store.problem("GET /books/1" if name == "lookup" else "POST /books/1", status, "It is so.")
    result = pygmy(name, "1")
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", "It is so.\n")


def test_with_json_a_refusal_is_the_servers_problem_on_stderr(
    pygmy: Callable[..., Result], store: CannedStore
) -> None:
    store.problem("POST /books/1", 409, "Only 3 left.", count=3)
    result = pygmy("--json", "buy", "1")
    assert (result.exit_code, result.stdout) == (4, "")
    assert json.loads(result.stderr)["count"] == 3


@pytest.mark.parametrize(("status", "extra"), [(503, {"outcome_unknown": True}), (500, {}), (502, {}), (504, {})])
def test_an_unknown_outcome_names_the_key_that_was_sent(
    pygmy: Callable[..., Result], store: CannedStore, status: int, extra: dict[str, Any]
) -> None:
    store.problem("POST /books/1", status, "Hm.", **extra)
    result = pygmy("buy", "1")
    assert result.exit_code == 75
    assert len(store.key()) >= 32
    assert f"--key {store.key()}" in result.stderr
    assert ("may or may not" in result.stderr) is not bool(extra)  # the store said so itself


def test_a_503_that_is_no_problem_document_promises_nothing(pygmy: Callable[..., Result], store: CannedStore) -> None:
    """A proxy between may have passed the request on before it gave up."""
    store.answers["POST /books/1"] = (503, b"<html>gateway</html>")
    assert pygmy("buy", "1").exit_code == 75


def test_every_buy_has_a_key_of_its_own_and_key_repeats_one(pygmy: Callable[..., Result], store: CannedStore) -> None:
    store.answers["POST /books/1"] = (200, ORDER)
    for arguments in ([], [], ["--key", "again"]):
        pygmy("buy", "1", *arguments)
    first, second, third = [h["idempotency-key"] for asked, h, _ in store.seen if asked.startswith("POST")]
    assert first != second
    assert third == "again"


def test_a_receipt_names_the_book(pygmy: Callable[..., Result], store: CannedStore) -> None:
    store.answers["POST /books/1"] = (200, ORDER)
    result = pygmy("buy", "1", "--quantity", "2")
    assert result.stdout == 'Order 79: 2 x "RPCs for Dummies" 70.00\n'
    assert json.loads(store.seen[0][2]) == {"quantity": 2}


def test_a_bought_book_whose_title_cannot_be_had_is_still_bought(
    pygmy: Callable[..., Result], store: CannedStore
) -> None:
    store.answers["POST /books/1"] = (200, ORDER)
    store.problem("GET /books/1", 503, "Busy.")
    result = pygmy("buy", "1")
    assert (result.exit_code, result.stdout) == (0, "Order 79: 2 x book 1 70.00\n")


def test_several_books_are_one_basket(pygmy: Callable[..., Result], store: CannedStore) -> None:
    store.answers["POST /orders"] = (200, BASKET)
    store.problem("GET /books/2", 404, "Gone.")
    result = pygmy("buy", "1", "2", "1")
    assert json.loads(store.seen[0][2]) == {"items": [{"id": 1, "quantity": 2}, {"id": 2, "quantity": 1}]}
    assert result.stdout.splitlines()[0] == "Order 80: 40.00"


def test_search_shows_every_page(pygmy: Callable[..., Result], store: CannedStore) -> None:
    first = "GET /books?topic=a+b&limit=1000"
    store.answers[first] = (200, b'[{"id":9,"title":"A"}]')
    store.links[first] = '</books?after=9>; rel="next"'
    store.answers["GET /books?topic=a+b&after=9&limit=1000"] = (200, b'[{"id":10,"title":"B"}]')
    assert pygmy("search", "--topic", "a b").stdout == " 9  A\n10  B\n"
    both = [{"id": 9, "title": "A"}, {"id": 10, "title": "B"}]
    assert json.loads(pygmy("--json", "search", "--topic", "a b").stdout) == both


def test_nothing_found_is_no_error_and_no_result(pygmy: Callable[..., Result], store: CannedStore) -> None:
    store.answers["GET /books"] = (200, b"[]")
    result = pygmy("search", "--topic", "x")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", 'No books on "x".\n')


def test_titles_cannot_drive_the_terminal(pygmy: Callable[..., Result], store: CannedStore) -> None:
    store.answers["GET /books"] = (200, rb'[{"id":1,"title":"\u001b]0;gotcha\u0007"}]')
    assert "\x1b" not in pygmy("search").stdout


@pytest.mark.parametrize(
    ("arguments", "asked", "body"),
    [
        (["restock", "1", "--count", "+5"], "PATCH /books/1", {"count": {"increment": 5}}),
        (["restock", "1", "--count", "-5"], "PATCH /books/1", {"count": {"increment": -5}}),
        (["restock", "1", "--count", "5"], "PATCH /books/1", {"count": 5}),
        (["price", "1", "27.50"], "PATCH /books/1", {"cost": 27.5}),
        (
            ["add", "--title", "T", "--topic", "U", "--cost", "1.10", "--count", "3"],
            "POST /books",
            {"title": "T", "topic": "U", "cost": 1.1, "count": 3},
        ),
    ],
)
def test_a_shopkeeper_sends_the_admin_token(
    pygmy: Callable[..., Result], store: CannedStore, token: Path, arguments: list[str], asked: str, body: object
) -> None:
    store.answers[asked] = (200, BOOK)
    assert pygmy(*arguments).exit_code == 0
    ((seen, headers, sent),) = store.seen
    assert (seen, json.loads(sent)) == (asked, body)
    assert headers["authorization"] == f"Bearer {token.read_text()}"
    assert headers["idempotency-key"]


def test_a_book_is_removed(pygmy: Callable[..., Result], store: CannedStore, token: Path) -> None:
    store.answers["DELETE /books/1"] = (204, b"")
    assert pygmy("remove", "1").exit_code == 0


def test_without_a_token_nothing_is_sent(pygmy: Callable[..., Result], store: CannedStore) -> None:
    result = pygmy("price", "1", "3")
    assert (result.exit_code, store.seen) == (2, [])
    assert "admin.token" in result.stderr


def test_the_token_file_is_the_one_named(
    pygmy: Callable[..., Result], store: CannedStore, token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.answers["GET /orders"] = (200, b"[" + ORDER + b"," + BASKET + b"]")
    elsewhere = token.rename(token.parent / "elsewhere")
    monkeypatch.setenv("PYGMY_TOKEN_FILE", "/nowhere")
    result = pygmy("orders", "--token-file", str(elsewhere))
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["79", "80"]
    monkeypatch.setenv("PYGMY_TOKEN_FILE", str(elsewhere))
    assert pygmy("orders").exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["lookup", "0"],
        ["lookup", "one"],
        ["buy"],
        ["buy", "1", "--quantity", "0"],
        ["restock", "1", "--count", "+"],
        ["restock", "1", "--count", "1_0"],
        ["price", "1", "1.234"],
        ["price", "1", "nan"],
        ["price", "1", "1000000.01"],
        ["--frontend-server", "a b", "lookup", "1"],
        ["--frontend-server", "host:0", "lookup", "1"],
        ["--frontend-server", "host:99999", "lookup", "1"],
        ["--timeout", "0", "lookup", "1"],
        ["nosuch"],
    ],
)
def test_mistakes_are_usage_errors_and_send_nothing(
    pygmy: Callable[..., Result], store: CannedStore, token: Path, arguments: list[str]
) -> None:
    result = pygmy(*arguments)
    assert (result.exit_code, result.stdout, store.seen) == (2, "", [])


@pytest.mark.parametrize(
    ("server", "host"),
    [("x", "x:5002"), ("x:80", "x"), ("http://x:81/", "x:81"), ("[::1]", "[::1]:5002"), ("[::1]:7", "[::1]:7")],
)
def test_the_front_end_is_named_in_any_usual_way(
    pygmy: Callable[..., Result], store: CannedStore, server: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pygmy("--frontend-server", server, "lookup", "1")
    pygmy("--frontend_server", server, "lookup", "1")
    monkeypatch.setenv("PYGMY_FRONTEND", server)
    pygmy("lookup", "1")
    assert [headers["host"] for _, headers, _ in store.seen] == [host] * 3


@pytest.mark.parametrize(("command", "asked"), [("lookup", "GET /books/1"), ("buy", "POST /books/1")])
def test_the_404_of_another_server_says_nothing_about_books(
    pygmy: Callable[..., Result], store: CannedStore, command: str, asked: str
) -> None:
    store.answers[asked] = (404, b"<html>Not found</html>")
    result = pygmy(command, "1")
    assert (result.exit_code, "is no Pygmy front end" in result.stderr) == (69, True)


# ---- status


def _node(name: str, state: str = "RUNNING", **extra: Any) -> NodeStatus:
    return NodeStatus(name, name.partition("-")[0], f"http://{name}", state, **extra)


def _health(message: str = "Healthy") -> Health:
    return Health(message, "frontend", "frontend-0", "RUNNING", 1, 2)


NODES = ["catalog-0", "catalog-1", "order-0", "order-1", "frontend-0"]


def test_the_verdict_says_in_one_line_how_the_store_is() -> None:
    well = [_node(name) for name in NODES]
    assert verdict(_health(), well) == "Open. Every tier has 2 copies."
    hurt = [_node(name, "DOWN", why="refused") if name == "order-1" else _node(name) for name in NODES]
    assert verdict(_health(), hurt) == "Open, but order has 1 copy: order-1 is down (refused)."
    down = [_node(name, "DOWN" if name == "catalog-1" else "RUNNING") for name in NODES]
    assert verdict(_health(), down) == "Open, but catalog has 1 copy: catalog-1 is down."
    assert verdict(_health("No catalog answers."), hurt) == "Closed: No catalog answers."


@pytest.mark.parametrize(("message", "status", "code"), [("Healthy", 200, 0), ("No catalog.", 503, 69)])
def test_status_shows_every_node_and_fails_when_the_store_is_closed(
    pygmy: Callable[..., Result], store: CannedStore, message: str, status: int, code: int
) -> None:
    health = {"message": message, "role": "frontend", "node": "frontend-0", "state": "RUNNING"}
    store.answers["GET /health"] = (status, json.dumps({**health, "epoch": 3, "redundancy": 2}).encode())
    nodes = [
        {"node": name, "role": name.partition("-")[0], "url": f"http://{name}", "state": "RUNNING", "epoch": 3}
        for name in NODES
    ]
    store.answers["GET /cluster"] = (200, json.dumps({"node": "frontend-0", "nodes": nodes}).encode())
    result = pygmy("status")
    assert result.exit_code == code
    assert [line.split()[0] for line in result.stdout.splitlines()[1:-1]] == NODES
    assert json.loads(pygmy("--json", "status").stdout)["cluster"]["nodes"] == nodes


def _tier(**changes: Any) -> dict[str, Any]:
    """The catalog tier as a front end tells of it."""
    view = {
        "epoch": 3,
        "gen": 1,
        "leader": "catalog-0",
        "members": {"catalog-0": 7, "catalog-1": 8},
        "sources": ["catalog-0", "catalog-1"],
    }
    head = {"epoch": 3, "seq": 1234, "hash": "9f3c1a2b" * 4}
    tier = {"tier": "catalog", "view": view, "other_views": [], "primary": "catalog-1", "redundancy": 2, "head": head}
    return {**tier, "heads": {"catalog-0": head, "catalog-1": head}, "diverged": [], **changes}


def _overview(*tiers: dict[str, Any], nodes: list[NodeStatus] | None = None) -> list[str]:
    """The lines below the table."""
    nodes = [_node(name) for name in NODES] if nodes is None else nodes
    body = ClusterBody("frontend-0", tuple(nodes), tiers=msgspec.convert(tiers, tuple[TierStatus, ...]))
    return overview(_health(), body).splitlines()[1 + len(nodes) :]


def test_status_has_a_line_a_tier() -> None:
    view = _tier()["view"]
    three = {**view["members"], "catalog-2": 9}
    joining = {**view, "members": three}
    assert _overview(_tier(), _tier(view=joining), _tier(view=None, head=None))[:-1] == [
        "catalog  view 3.1: catalog-0 (leads), catalog-1; primary catalog-1; sources both; head 3-1234 9f3c1a2b",
        "catalog  view 3.1: catalog-0 (leads), catalog-1, catalog-2; primary catalog-1; sources catalog-0, catalog-1;"
        " head 3-1234 9f3c1a2b",
        "catalog  no view: nobody in it can be reached",
    ]


def test_replicas_that_disagree_about_the_view_are_shown_both() -> None:
    other = {**_tier()["view"], "epoch": 2, "leader": "catalog-1", "told_by": ["catalog-1"]}
    assert _overview(_tier(other_views=[other]))[1] == (
        "catalog  catalog-1 in another view 2.1: catalog-0, catalog-1 (leads)"
    )


def test_diverged_copies_cannot_be_overlooked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pygmy.cli.terminal.colourful", lambda stream: True)
    odd = {"epoch": 3, "seq": 1234, "hash": "77aa0011" * 4}
    heads = {"catalog-0": _tier()["head"], "catalog-1": odd}
    lines = _overview(_tier(heads=heads, diverged=["catalog-0", "catalog-1"]))
    told = "catalog  DIVERGED: catalog-0 has 3-1234 9f3c1a2b, catalog-1 has 3-1234 77aa0011"
    assert lines[0] == f"\x1b[31m{told}\x1b[0m"
    assert lines[-1] == "\x1b[31mOpen, but DIVERGED:\x1b[0m the copies of catalog differ."


def test_status_says_why_a_node_does_not_serve_and_how_far_it_is() -> None:
    nodes = [
        _node("catalog-0", why="The node's read lease has run out."),
        _node("catalog-1", "INIT", why="It has not caught up.", progress=40),
        *[_node(name) for name in NODES[2:]],
    ]
    table = overview(_health(), ClusterBody("frontend-0", tuple(nodes))).splitlines()
    assert "INIT 40 %" in table[2]
    assert table[len(nodes) + 1 :] == [
        "catalog-0 does not serve: The node's read lease has run out.",
        "catalog-1 does not serve: It has not caught up.",
        "Open, but catalog has 1 copy: catalog-0 is not serving, catalog-1 is catching up (40 %).",
    ]


def test_the_table_fits_a_terminal_of_a_hundred_columns() -> None:
    head = Head(123, 12_345_678, "9f3c1a2b" * 4)
    node = NodeStatus("frontend-0", "frontend", "http://localhost:5002", "INIT 99 %", 123, 0, 12.3, head=head)
    assert max(map(len, cluster_table([node]).splitlines())) <= 100


@pytest.mark.parametrize("seconds", ["0", "-1", "x", "nan"])
def test_watch_wants_a_sane_number_of_seconds(pygmy: Callable[..., Result], seconds: str) -> None:
    result = pygmy("status", "--watch", seconds)
    assert (result.exit_code, result.stdout) == (2, "")


# ---- with sockets, as a process


def _status_answers(connection: socket.socket, request: bytes) -> None:
    """What a front end says of itself and its store."""
    health = {"message": "Healthy", "role": "frontend", "node": "frontend-0", "state": "RUNNING"}
    nodes = [{"node": name, "role": "catalog", "url": "http://x", "state": "RUNNING", "epoch": 3} for name in NODES]
    about = {**health, "epoch": 3, "redundancy": 2}
    cluster = {"node": "frontend-0", "nodes": nodes, "tiers": [_tier()]}
    body = json.dumps(about if b"/health" in request.split(b"\r\n")[0] else cluster).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
    connection.sendall(head + body)
    connection.close()


def _watching(address: str, *options: str, stdout: Any = subprocess.PIPE, **environment: str) -> Any:
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "pygmy", "--frontend-server", address, *options, "status", "--watch", "0.1"],
        stdout=stdout,
        stderr=subprocess.PIPE,
        env={**{k: v for k, v in os.environ.items() if k != "NO_COLOR"}, **environment},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def _read_until(read: Callable[[], bytes], wanted: bytes, count: int) -> bytes:
    seen = b""
    while seen.count(wanted) < count:
        chunk = read()
        assert chunk, seen
        seen += chunk
    return seen


def test_watch_prints_table_after_table_and_ctrl_c_is_a_proper_end_of_it() -> None:
    server = Listener(lambda connection: _status_answers(connection, server.requests[-1]))
    process = _watching(server.address)
    try:
        shown = _read_until(lambda: os.read(process.stdout.fileno(), 65536), b"Open.", 3).decode()
        assert shown.count("NODE  ") >= 3
        assert "\x1b" not in shown
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        assert (process.returncode, errors) == (0, b"")
    finally:
        process.kill()
        process.wait()
        server.close()


def test_watch_draws_over_its_last_picture_on_a_terminal() -> None:
    """The screen is cleared once; after that only the rest of each line is, so nothing flickers."""
    server = Listener(lambda connection: _status_answers(connection, server.requests[-1]))
    reader, writer = pty.openpty()
    process = _watching(server.address, stdout=writer, TERM="xterm")
    os.close(writer)
    try:
        shown = _read_until(lambda: os.read(reader, 65536), b"\x1b[H", 4)
        assert shown.count(b"\x1b[2J") == 1
        assert b"NODE" in shown
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(reader)
        server.close()


def test_watch_goes_on_while_the_front_end_is_away() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    process = _watching(f"127.0.0.1:{port}")
    server = None
    try:
        away = _read_until(lambda: os.read(process.stdout.fileno(), 65536), b"Asking again", 2)
        assert f"There is no store at http://127.0.0.1:{port}".encode() in away
        server = Listener(lambda connection: _status_answers(connection, server.requests[-1]), port)  # type: ignore[union-attr]
        _read_until(lambda: os.read(process.stdout.fileno(), 65536), b"Open.", 1)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        if server is not None:
            server.close()


def test_watch_with_json_prints_a_line_of_json_each_time() -> None:
    server = Listener(lambda connection: _status_answers(connection, server.requests[-1]))
    process = _watching(server.address, "--json")
    try:
        shown = _read_until(lambda: os.read(process.stdout.fileno(), 65536), b"\n", 3)
        tiers = [json.loads(line)["cluster"]["tiers"][0]["primary"] for line in shown.splitlines()[:3]]
        assert tiers == ["catalog-1"] * 3
    finally:
        process.kill()
        process.wait()
        server.close()


class Listener:
    """A server that does one thing with every connection, in a thread of its own."""

    def __init__(self, then: Callable[[socket.socket], None], port: int = 0) -> None:
        self._socket = socket.create_server(("127.0.0.1", port))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.requests: list[bytes] = []
        self._then = then
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            request = b""
            while b"\r\n\r\n" not in request:
                request += connection.recv(65536)
            self.requests.append(request)
            self._then(connection)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()

    def key(self) -> str:
        line = next(
            line for line in self.requests[0].decode().splitlines() if line.lower().startswith("idempotency-key:")
        )
        return line.partition(":")[2].strip()


def _process(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "pygmy", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
        check=False,
    )


def test_nobody_there_is_unavailable_also_for_a_buy() -> None:
    """Nothing was sent, so nothing is unknown."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    for command in (["lookup", "1"], ["buy", "1"]):
        result = _process("--frontend-server", address, *command)
        assert (result.returncode, result.stdout) == (69, "")
        assert f"There is no store at http://{address}" in result.stderr
        assert len(result.stderr.splitlines()) == 1


def _hang_up(connection: socket.socket) -> None:
    connection.close()


def test_a_connection_lost_after_sending_leaves_the_outcome_open() -> None:
    server = Listener(_hang_up)
    try:
        result = _process("--frontend-server", server.address, "buy", "1")
        assert (result.returncode, result.stdout) == (75, "")
        assert f"--key {server.key()}" in result.stderr
        assert _process("--frontend-server", server.address, "lookup", "1").returncode == 69
    finally:
        server.close()


def test_no_answer_in_time_leaves_the_outcome_of_a_buy_open() -> None:
    kept = []
    server = Listener(kept.append)
    try:
        result = _process("--timeout", "0.5", "--frontend-server", server.address, "buy", "1")
        assert result.returncode == 75
        assert "no answer within 0.5 s" in result.stderr
        assert f"--key {server.key()}" in result.stderr
        assert _process("--timeout", "0.5", "--frontend-server", server.address, "search").returncode == 69
    finally:
        server.close()


def test_an_interrupted_buy_tells_the_key_too() -> None:
    asked = threading.Event()
    kept = []

    def keep(connection: socket.socket) -> None:
        kept.append(connection)
        asked.set()

    server = Listener(keep)
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "pygmy", "--frontend-server", server.address, "buy", "1"],
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        assert asked.wait(30)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 75
        assert errors.startswith("Interrupted")
        assert f"--key {server.key()}" in errors
    finally:
        server.close()


def _on_terminal(server: str, **environment: str) -> bytes:
    """What `pygmy lookup 1` writes to a terminal."""
    reader, writer = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "pygmy", "--frontend-server", server, "lookup", "1"],
        stdout=writer,
        stderr=writer,
        env={**{k: v for k, v in os.environ.items() if k != "NO_COLOR"}, "TERM": "xterm", **environment},
    )
    os.close(writer)
    shown = b""
    try:
        while chunk := os.read(reader, 65536):
            shown += chunk
    except OSError:
        pass  # how Linux says that the terminal was closed
    finally:
        os.close(reader)
    assert process.wait(30) == 0
    return shown


def test_colour_is_for_terminals_whose_user_wants_it() -> None:
    def answer(connection: socket.socket) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(BOOK)
        connection.sendall(head + BOOK)
        connection.close()

    server = Listener(answer)
    try:
        assert b"\x1b[" in _on_terminal(server.address)
        assert b"\x1b[" not in _on_terminal(server.address, NO_COLOR="1")
        assert b"RPCs" in _on_terminal(server.address, NO_COLOR="1")
        assert "\x1b[" not in _process("--frontend-server", server.address, "lookup", "1").stdout
    finally:
        server.close()


@pytest.mark.parametrize("word", ["-h", "--help"])
@pytest.mark.parametrize("command", [[], *([name] for name in main.commands), ["open", "cluster.txt"]])
def test_every_command_tells_how_it_is_used(command: list[str], word: str) -> None:
    result = CliRunner().invoke(main, [*command, word], prog_name="pygmy")
    named = "up" if command[:1] == ["open"] else " ".join(command)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"Usage: pygmy {named}".rstrip() + " ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_the_shells_script(shell: str) -> None:
    result = CliRunner().invoke(main, ["completion", shell])
    assert result.exit_code == 0
    assert "_PYGMY_COMPLETE" in result.stdout


def test_an_empty_key_is_none(pygmy: Callable[..., Result], store: CannedStore) -> None:
    """It would be a variable of a script that was never set, and the purchase would be made anew each time."""
    result = pygmy("buy", "1", "--key", "")
    assert (result.exit_code, store.seen) == (2, [])
    assert "expected 1 to 255 visible ASCII characters" in result.stderr


def test_ctrl_c_before_a_command_has_begun_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script would take an audit that ends with 1 for one that has found the data broken."""

    def interrupted(self: object, name: str) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr("pygmy.cli.commands.Commands.__getitem__", interrupted)
    monkeypatch.setattr("pygmy.cli.commands.Commands.get", interrupted)
    assert CliRunner().invoke(main, ["audit", "."]).exit_code == 130
