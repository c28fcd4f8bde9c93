"""What strangers may do to a node without hurting its customers, and what no answer or log may ever tell."""

import contextlib
import random
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.processes import LONGEST, Crowd, Processes, Reply, ask, processes, read_reply

PROBLEM = "application/problem+json"
ROLES = ("catalog-0", "order-0", "frontend-0")
LARGE = 100 * 1024 * 1024
MEMORY = 64 * 1024  # KiB that an attack may cost a node


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """One node of each role."""
    with processes(tmp_path_factory.mktemp("hostile"), catalogs=1, orders=1) as store:
        # More of it than a quick machine's customers can buy during all the attacks.
        assert store.patch("catalog-0", "/books/2", {"count": {"increment": 1_000_000}}).status == 200
        yield store


def assert_problem(reply: Reply, status: int) -> None:
    assert reply.status == status, reply
    assert reply.headers["content-type"] == PROBLEM
    body = reply.json
    assert body["status"] == status
    assert {"type", "title", "detail"} <= body.keys()
    assert body["request_id"]
    assert body["request_id"] == reply.headers["x-request-id"]


# ---- attacks, during which ordinary customers are served


def connected(store: Processes, name: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", store.node(name).port), LONGEST)


class Attack(contextlib.ExitStack):
    """Connections to one node, open until the end of the attack."""

    def __init__(self, store: Processes, name: str) -> None:
        super().__init__()
        self._store = store
        self._name = name

    def connect(self, data: bytes = b"") -> socket.socket:
        sock = self.enter_context(connected(self._store, self._name))
        sock.sendall(data)
        return sock


def half_sent_requests(attack: Attack) -> None:
    for number in range(300):
        attack.connect(b"POST /books/1 HTTP/1.1\r\nHost: localhost\r\nX-Half: "[: 10 + number % 40])


def garbage(attack: Attack) -> None:
    noise = random.Random(677)
    for _ in range(40):
        sock = attack.connect(noise.randbytes(2000) + b"\r\n\r\n")
        assert_problem(read_reply(sock), 400)


def slow_bodies(attack: Attack) -> None:
    head = (
        b"POST /books/1 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n"
    )
    slow = [attack.connect(head + b"{") for _ in range(100)]
    for _ in range(3):
        for sock in slow:
            sock.sendall(b" ")


def ten_thousand_headers(attack: Attack) -> None:
    head = b"GET /books/1 HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(10_000))
    for _ in range(10):
        assert_problem(read_reply(attack.connect(head + b"\r\n")), 431)


def a_body_of_100_megabytes(attack: Attack) -> None:
    """Announced; and in chunks, sent as far as the other side takes it."""
    head = b"POST /books/1 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    assert_problem(read_reply(attack.connect(head + b"Content-Length: %d\r\n\r\n" % LARGE)), 413)
    sock = attack.connect(head + b"Transfer-Encoding: chunked\r\n\r\n")
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    assert_problem(_reply_to_flood(sock, chunk, LARGE // 0x10000), 413)


def _reply_to_flood(sock: socket.socket, chunk: bytes, times: int) -> Reply:
    """The answer that comes while the flood is still being sent (it is there before the connection is reset)."""
    answer = b""
    sock.setblocking(False)
    for _ in range(times):
        with contextlib.suppress(BlockingIOError):
            answer = sock.recv(65536)
        if answer:
            break
        sock.setblocking(True)
        sock.sendall(chunk)
        sock.setblocking(False)
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in lines)
    return Reply(int(first.split()[1]), fields, body)


def idle_connections(attack: Attack) -> None:
    for _ in range(400):
        attack.connect()


def endless_pipelines(attack: Attack) -> None:
    """Requests without end from clients that read no answer."""
    for _ in range(5):
        sock = attack.connect()
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError, ConnectionError):
            for _ in range(10_000):
                sock.send(b"GET /books HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100)


ATTACKS: list[Callable[[Attack], None]] = [
    half_sent_requests,
    garbage,
    slow_bodies,
    ten_thousand_headers,
    a_body_of_100_megabytes,
    idle_connections,
    endless_pipelines,
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
@pytest.mark.parametrize("target", ["frontend-0", "catalog-0"])
def test_ordinary_customers_are_served_under(store: Processes, target: str, attack: Callable[[Attack], None]) -> None:
    def customer() -> bool:
        for name in ("frontend-0", "catalog-0"):
            reply = store.get(name, "/books/1")
            assert reply.status == 200, reply
        reply = store.post("frontend-0", "/books/2")
        assert reply.status == 200, reply
        return True

    before = memory(store, target)
    with Crowd([customer] * 2) as crowd, Attack(store, target) as under_way:
        crowd.reaches(2)
        attack(under_way)
        crowd.reaches(6)
        crowd.stop()
    assert memory(store, target) - before < MEMORY


def memory(store: Processes, name: str) -> int:
    """The most memory that the process ever had, in KiB."""
    status = Path(f"/proc/{store.pid(name)}/status")
    if not status.exists():
        return 0
    (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1])


# ---- errors


WRONG = [
    ("GET", "/nosuch", {}, None, 404),
    ("GET", "/", {}, None, 404),
    ("GET", "/books/1/2/3", {}, None, 404),
    ("GET", "//", {}, None, 404),
    ("GET", "/%ff", {}, None, 400),
    ("GET", "/" + "x" * 20_000, {}, None, 414),
    ("GET", "/health", {"X-Long": "x" * 20_000}, None, 431),
    ("GET", "/health", {f"X-{number}": "y" for number in range(100)}, None, 431),
    ("DELETE", "/health", {}, None, 405),
    ("PUT", "/metrics", {}, None, 405),
    ("FROB", "/cluster", {}, None, 405),
    ("FROB", "/nosuch", {}, None, 404),
    ("OPTIONS", "*", {}, None, 404),
    ("POST", "/health", {"Content-Type": "application/json"}, b" " * 70_000, 413),
    ("POST", "/internal", {}, b"{}", 401),
    ("POST", "/internal", {"Authorization": "Bearer wrong-secret-of-some-length"}, b"{}", 403),
    ("GET", "/internal", {}, None, 405),
    ("GET", "/cluster?x=1", {}, None, 400),
    ("GET", "/openapi.json", {}, b"{}", 400),
    ("POST", "/health", {"If-Match": "*"}, None, 400),
]
WRONG_BY_ROLE = [
    ("frontend-0", "GET", "/books/zero", {}, None, 400),
    ("frontend-0", "GET", "/books?limit=1e3", {}, None, 400),
    ("frontend-0", "GET", "/books/999", {}, None, 404),
    ("frontend-0", "GET", "/books/1?x=1", {}, None, 400),
    ("frontend-0", "GET", f"/books/{2**63}", {}, None, 400),
    ("frontend-0", "POST", "/books/1", {"If-Match": "*"}, None, 400),
    ("frontend-0", "PUT", "/books/1", {}, None, 405),
    ("frontend-0", "POST", "/books/1", {"Content-Type": "application/json"}, b"{", 400),
    ("frontend-0", "POST", "/books/1", {"Content-Type": "text/plain"}, b"{}", 415),
    ("frontend-0", "POST", "/books/1", {"Idempotency-Key": "\x7f"}, None, 400),
    ("frontend-0", "GET", "/orders", {}, None, 401),
    ("frontend-0", "GET", "/orders", {"Authorization": "Bearer wrong-secret-of-some-length"}, None, 403),
    ("catalog-0", "GET", "/table", {}, None, 401),
    ("catalog-0", "PATCH", "/books/1", {"Content-Type": "application/json"}, b"{}", 401),
    ("catalog-0", "POST", "/books/1", {}, None, 405),
    ("order-0", "GET", "/table", {"Authorization": "Bearer wrong-secret-of-some-length"}, None, 403),
    ("order-0", "POST", "/books/1", {}, None, 401),
    ("order-0", "GET", "/books/1", {}, None, 405),
]


@pytest.mark.parametrize(
    ("name", "method", "path", "headers", "body", "status"),
    [(role, *wrong) for role in ROLES for wrong in WRONG] + WRONG_BY_ROLE,
    ids=lambda value: str(value)[:30],
)
def test_every_error_is_problem_json_with_the_request_id(
    store: Processes, name: str, method: str, path: str, headers: dict[str, str], body: bytes | None, status: int
) -> None:
    rid = f"wrong-{uuid4()}"
    reply = ask(store.node(name), method, path, body, headers)
    assert_problem(reply, status)
    if status not in (414, 431):  # these are refused before their headers are read
        named = ask(store.node(name), method, path, body, {**headers, "X-Request-ID": rid})
        assert named.json["request_id"] == rid
    if status == 405:
        assert reply.headers["allow"]
    if status == 401:
        assert reply.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("item", [2**53 + 1, 2**63 - 1])
def test_the_highest_ids_are_unknown_books_and_orders_and_nothing_worse(store: Processes, item: int) -> None:
    admin = {"Authorization": f"Bearer {store.token}"}
    for name, method, path, body in [
        ("frontend-0", "GET", f"/books/{item}", None),
        ("frontend-0", "POST", f"/books/{item}", None),
        ("frontend-0", "POST", "/orders", b'{"items":[{"id":%d}]}' % item),
        ("frontend-0", "PATCH", f"/books/{item}", b'{"count":1}'),
        ("frontend-0", "DELETE", f"/books/{item}", None),
        ("catalog-0", "GET", f"/books/{item}", None),
    ]:
        reply = ask(store.node(name), method, path, body, {**admin, "Content-Type": "application/json"})
        assert_problem(reply, 404)
        assert reply.json["item"] == item
    reply = store.get("frontend-0", f"/orders/{item}", admin)
    assert_problem(reply, 404)
    assert reply.json["order"] == item
    for path in ("/books", "/orders"):
        assert store.get("frontend-0", f"{path}?after={item}", admin).json == []


# ---- secrets and request ids


def test_no_secret_is_told_or_logged_or_shown_in_the_process_list(store: Processes) -> None:
    secrets = (store.secret, store.token)
    shown: list[bytes] = []
    for name in ROLES:
        for secret in secrets:
            bearer = {"Authorization": f"Bearer {secret}"}
            for path in ("/health", "/metrics", "/cluster", "/openapi.json", "/table", "/orders", "/nosuch"):
                shown.append(b"%r" % (store.get(name, path, bearer),))
            shown += [
                b"%r" % (ask(store.node(name), "POST", path, body, {**bearer, "Content-Type": "application/json"}),)
                for path in ("/internal", "/books", "/books/1", "/orders")
                for body in (b"{", b"[]", b'{"id": 1}', b"\xff")
            ]
            shown.append(
                b"%r" % (ask(store.node(name), "GET", "/table", None, {"Authorization": f"Basic {secret}"}),)
            )
            shown.append(
                b"%r" % (ask(store.node(name), "GET", "/table", None, {"Authorization": f"Bearer {secret}x"}),)
            )
        process = Path(f"/proc/{store.pid(name)}")
        if process.exists():
            shown += [(process / what).read_bytes() for what in ("cmdline", "environ")]
    files = [file for file in store.directory.rglob("*") if file.is_file()]
    kept = {file.name for file in files if any(secret.encode() in file.read_bytes() for secret in secrets)}
    assert kept == {"cluster.secret", "admin.token"}
    assert {file.name for file in files} >= {"catalog.log", "orders.log", "frontend.log", "frontend-0.stderr"}
    told = [text for text in shown if any(secret.encode() in text for secret in secrets)]
    assert told == []
    for name in ("cluster.secret", "admin.token"):
        assert (store.data / name).stat().st_mode & 0o777 == 0o600


def test_one_request_id_ties_the_three_tiers_of_a_buy_together(store: Processes) -> None:
    rid = f"buyer-{uuid4()}"
    reply = store.post("frontend-0", "/books/3", None, {"X-Request-ID": rid})
    assert (reply.status, reply.headers["x-request-id"]) == (200, rid)
    for name in ROLES:
        store.wait_log(name, rf"^\S+ info \[{rid}\] \S+")
