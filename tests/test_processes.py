"""The store as people run it: real nodes that are stopped, killed, frozen and damaged while customers come and go."""

import itertools
import re
import resource
import socket
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from pygmy.cluster import Role
from pygmy.database.lock import FileLock
from pygmy.datadir import log_path
from tests.support.customers import PLENTY, Prices, buy, customer, ledger_agrees
from tests.support.processes import LONGEST, Crowd, Processes, Reply, burst, processes, request_bytes

TOPIC = "distributed%20systems"
SYNC = r"sync from (\S+) \(RUNNING\): (\d+) batches, (\d+) rows, (\d+) bytes, \d+ ms$"
SCARCE = 150
REPLICAS = ("catalog-0", "catalog-1", "order-0", "order-1")

# Each test has books of its own, so that what one of them sells is no other's business.
_ids = itertools.count(1)
BOOKS: list[dict[str, object]] = []


def book(count: int = PLENTY) -> int:
    """One more book on the shelves; its id."""
    item = next(_ids)
    topic = "distributed systems" if item % 2 else "graduate school"
    BOOKS.append({"id": item, "title": f"Book {item}", "topic": topic, "cost": 10, "count": count})
    return item


KILLED, SERVED, STOPPED, BROKEN = book(), book(), book(), book()
CONTENDED, CONTENDED_IN_FRONT, THREE_LEFT = book(SCARCE), book(SCARCE), book(3)
CACHED = [book() for _ in range(4)]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Five nodes without caches."""
    with processes(tmp_path_factory.mktemp("plain"), cache=False) as store:
        yield store


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Processes]]:
    """At most one: the store that all tests below share, and that they abuse one after the other."""
    stores: list[Processes] = []
    yield stores
    for store in stores:
        store.close()


@pytest.fixture
def store(stores: list[Processes], tmp_path_factory: pytest.TempPathFactory) -> Processes:
    """Six nodes with caches, all of them well, whatever the test before has done to them."""
    if not stores:
        stores.append(Processes(tmp_path_factory.mktemp("store"), frontends=2, books=BOOKS))
    try:
        stores[0].whole()
    except BaseException:
        stores.pop().close()  # this test's failure is not the next one's
        raise
    return stores[0]


# ---- five experiments, without caches


def forwarded(store: Processes, what: str, rids: list[str]) -> list[str]:
    """Where the front end sent each of these requests last. The log is written in order, and now and then."""
    end = f"end-{uuid4()}"
    store.get("frontend-0", "/books/1", {"X-Request-ID": end})
    store.wait_log("frontend-0", rf"\[{end}\] forward ")
    lines = re.findall(rf"\[(\S+)\] forward {re.escape(what)} -> (\S+)$", store.log("frontend-0"), re.MULTILINE)
    last = dict(lines)
    return [last[rid] for rid in rids]


def four(store: Processes, role: Role) -> list[str]:
    """Four equal requests, all answered; the servers that they went to."""
    rids = [f"four-{uuid4()}" for _ in range(4)]
    for rid in rids:
        if role is Role.CATALOG:
            reply = store.get("frontend-0", f"/books?topic={TOPIC}", {"X-Request-ID": rid})
            assert (reply.status, len(reply.json)) == (200, 2)
        else:
            assert buy(store, 7, rid=rid).status == 200
    return forwarded(store, f"GET /books?topic={TOPIC}" if role is Role.CATALOG else "POST /books/7", rids)


@pytest.mark.parametrize("victim", [0, 1])
def test_reads_go_evenly_to_both_replicas_and_writes_to_the_first_without_one_and_back(
    plain: Processes, victim: int
) -> None:
    """One server of each tier is stopped, and back it fetches what it has missed: no more and no less."""
    plain.whole()
    tiers = (Role.CATALOG, Role.ORDER)
    stopped = {role: plain.cluster.tier(role)[victim] for role in tiers}
    left = {role: plain.cluster.tier(role)[1 - victim] for role in tiers}
    first = plain.cluster.orders[0].url
    assert Counter(four(plain, Role.CATALOG)) == {node.url: 2 for node in plain.cluster.catalogs}
    assert four(plain, Role.ORDER) == [first] * 4

    since = {role: plain.mark(stopped[role].name) for role in tiers}
    for role in tiers:
        plain.stop(stopped[role].name)
    for role in tiers:
        assert four(plain, role) == [left[role].url] * 4
    assert [buy(plain, 1).status for _ in range(3)] == [200] * 3

    plain.whole()
    plain.await_heartbeats()
    for role in tiers:
        lines = plain.wait_log(stopped[role].name, SYNC, since[role])
        assert {line[1] for line in lines} == {left[role].url}
        batches, rows, size = (sum(int(line[part]) for line in lines) for part in (2, 3, 4))
        assert 7 <= batches <= 12, role  # seven buys, and perhaps a mark of the reconciler's now and then
        assert rows >= batches
        assert size >= 100 * batches
        assert len(plain.tables_agree(role).splitlines()) >= 7
    assert Counter(four(plain, Role.CATALOG)) == {node.url: 2 for node in plain.cluster.catalogs}
    assert four(plain, Role.ORDER) == [first] * 4


def test_heartbeats_are_in_the_log_and_tell_who_is_gone(plain: Processes) -> None:
    plain.whole()
    since = plain.mark("frontend-0")
    for name in REPLICAS:
        plain.wait_log("frontend-0", rf" heartbeat {plain.node(name).url} 200 RUNNING$", since, count=2)
    plain.kill9("order-1")
    plain.wait_log("frontend-0", rf" heartbeat {plain.node('order-1').url} refused$", since)


# ---- kill -9


@pytest.mark.parametrize("victim", ["catalog-0", "catalog-1", "order-0"])
def test_kill_9_of_any_replica_among_buyers_loses_nothing_and_sells_nothing_twice(
    store: Processes, victim: str
) -> None:
    """The first of a tier has the primary copy, the other one has not."""
    item = killed_item()
    with Crowd([customer(store, item)] * 8) as crowd:
        crowd.reaches(16)
        store.kill9(victim)
        crowd.reaches(16)
        store.start(victim)
        store.wait_running(victim)
        crowd.reaches(16)
        bought = crowd.stop()
    ledger_agrees(store, item, bought)


@pytest.mark.parametrize(
    "victims", [("catalog-0", "catalog-1"), ("order-0", "order-1"), (*REPLICAS, "frontend-0", "frontend-1")]
)
def test_after_kill_9_of_a_whole_tier_or_of_everything_all_acknowledged_orders_are_there(
    store: Processes, victims: tuple[str, ...]
) -> None:
    item = killed_item()
    with Crowd([customer(store, item)] * 8) as crowd:
        crowd.reaches(16)
        store.kill9(*victims)
        store.start(*victims)
        crowd.reaches(16)
        bought = crowd.stop()
    store.await_whole()
    ledger_agrees(store, item, bought)
    for role in (Role.CATALOG, Role.ORDER):
        store.tables_agree(role)


KILLABLE = [book() for _ in range(7)]


def killed_item() -> int:
    return KILLABLE.pop()


# ---- many buyers at once


def outcomes(replies: list[Reply]) -> Counter[int]:
    return Counter(reply.status for reply in replies)


def test_200_buyers_at_both_order_servers_at_once_get_each_copy_once(store: Processes) -> None:
    servers = itertools.cycle(store.cluster.orders)
    headers = [{**store.member, "Idempotency-Key": f"k-{uuid4()}"} for _ in range(200)]
    replies = burst([(next(servers), request_bytes("POST", f"/books/{CONTENDED}", headers=one)) for one in headers])
    assert_each_copy_once(store, CONTENDED, replies)
    again = burst([(next(servers), request_bytes("POST", f"/books/{CONTENDED}", headers=one)) for one in headers])
    assert [(one.status, one.json.get("OrderId")) for one in again] == [
        (one.status, one.json.get("OrderId")) for one in replies
    ]


def test_200_buyers_at_two_front_ends_at_once_get_each_copy_once(store: Processes) -> None:
    doors = itertools.cycle(store.cluster.frontends)
    replies = burst([(next(doors), request_bytes("POST", f"/books/{CONTENDED_IN_FRONT}")) for _ in range(200)])
    assert_each_copy_once(store, CONTENDED_IN_FRONT, replies)


def assert_each_copy_once(store: Processes, item: int, replies: list[Reply]) -> None:
    assert outcomes(replies) == {200: SCARCE, 409: 200 - SCARCE}
    assert {reply.json["count"] for reply in replies if reply.status == 409} == {0}
    numbers = {reply.json["OrderId"] for reply in replies if reply.status == 200}
    assert len(numbers) == SCARCE
    assert {order["OrderId"] for order in store.orders() if order["ID"] == item} == numbers
    assert store.count(item) == 0


def test_of_four_buyers_for_three_copies_exactly_three_succeed(store: Processes) -> None:
    doors = itertools.cycle(store.cluster.frontends)
    replies = burst([(next(doors), request_bytes("POST", f"/books/{THREE_LEFT}")) for _ in range(4)])
    assert outcomes(replies) == {200: 3, 409: 1}
    assert store.count(THREE_LEFT) == 0


# ---- a frozen replica


@pytest.fixture
def pausing(tmp_path: Path) -> Iterator[Processes]:
    """A store of its own: what a pause may break is not other tests' business."""
    with processes(tmp_path, frontends=2, books=BOOKS) as store:
        yield store


@pytest.mark.parametrize("victim", ["catalog-0", "catalog-1"])
def test_the_store_goes_on_without_a_frozen_catalog_which_shows_nothing_stale_once_thawed(
    pausing: Processes, victim: str
) -> None:
    """Both front ends hold entries from both catalogs when one of these freezes."""
    store = pausing
    prices = Prices(store, CACHED)
    doors = [node.name for node in store.cluster.frontends]
    with Crowd([prices.reader(door) for door in doors for _ in range(2)]) as crowd:
        prices.raise_all("frontend-0")
        crowd.reaches(100)
        store.freeze(victim)
        prices.raise_all("frontend-0")
        prices.raise_all("frontend-1")
        assert buy(store, SERVED).status == 200
        crowd.reaches(100)
        store.thaw(victim)
        for item in CACHED * 5:
            prices.look(victim, item)
        store.wait_running(victim)
        prices.raise_all("frontend-1")
        crowd.reaches(100)
        crowd.stop()
    store.await_whole()
    store.tables_agree(Role.CATALOG)


# ---- SIGTERM


@pytest.mark.parametrize("victim", ["catalog-0", "order-1"])
def test_an_orderly_stop_of_one_replica_under_load_loses_no_request(store: Processes, victim: str) -> None:
    """These customers ask once: every single request is answered well."""

    def ask_once() -> tuple[str, int]:
        reply = buy(store, STOPPED)
        assert reply.status == 200, reply
        assert store.get("frontend-1", f"/books/{STOPPED}").status == 200
        return "", reply.json["OrderId"]

    with Crowd([ask_once] * 8) as crowd:
        crowd.reaches(16)
        assert store.stop(victim) in (0, -15)
        crowd.reaches(16)
        store.start(victim)
        store.wait_running(victim)
        crowd.reaches(16)
        crowd.stop()


# ---- what keeps a node from starting, and what ends it


def refused(process: Any) -> int:
    return int(process.wait(LONGEST))


def test_a_second_process_on_a_data_directory_is_refused_in_one_line(store: Processes, tmp_path: Path) -> None:
    command = store.store.command(store.node("order-1"), daemon=False)
    second = store.spawn([*command, "--port", "tcp:0:interface=127.0.0.1"], tmp_path / "errors")
    assert refused(second) == 1
    (line,) = (tmp_path / "errors").read_text().splitlines()
    assert "order-1 is already running" in line
    assert str(store.pid("order-1")) in line
    assert buy(store, SERVED, to="order-1").status == 200


def test_a_database_that_another_process_has_open_is_refused_in_one_line(store: Processes) -> None:
    """Also where the pid file is gone: two processes on one database would tear it."""
    store.stop("order-1")
    lock = FileLock(str(store.data / "order-1" / "order.sqlite"))
    lock.acquire()
    try:
        assert_refuses_to_start(store, "order-1", "order.sqlite is in use by process")
    finally:
        lock.release()


def test_a_taken_port_is_told_in_one_line(store: Processes) -> None:
    store.stop("order-1")
    with socket.create_server(("127.0.0.1", store.node("order-1").port)):
        assert_refuses_to_start(store, "order-1", str(store.node("order-1").port))


@pytest.mark.parametrize(("name", "damage"), [("catalog-1", "garbage"), ("order-1", "pages")])
def test_a_damaged_database_ends_its_node_with_one_line_and_is_filled_anew(
    store: Processes, name: str, damage: str
) -> None:
    assert buy(store, SERVED).status == 200
    store.stop(name)
    (file,) = (store.data / name).glob("*.sqlite")
    data = file.read_bytes()
    assert not file.with_name(f"{file.name}-wal").exists()
    file.write_bytes(b"This is no database. " * 4096 if damage == "garbage" else _without_pages(file, data))
    assert_refuses_to_start(store, name, "sqlite")
    for leftover in file.parent.glob("*.sqlite*"):
        leftover.unlink()
    store.whole()
    store.tables_agree(store.node(name).role)


def _without_pages(file: Path, data: bytes) -> bytes:
    """The file with an intact first page and rubbish where its tables begin."""
    connection = sqlite3.connect(file)
    size: int = connection.execute("PRAGMA page_size").fetchone()[0]
    connection.close()
    return data[:size] + b"\xa5" * (len(data) - size)


def assert_refuses_to_start(store: Processes, name: str, why: str) -> None:
    """Exit code 1 and one line in the log, without a traceback."""
    since = store.mark(name)
    assert refused(store.launch(name)) == 1
    said = store.log(name, since)
    (line,) = [line for line in said.splitlines() if f"{name} cannot start" in line]
    assert why in line
    assert "Traceback" not in said + store.errors(name)


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit is Linux's")
@pytest.mark.parametrize("victim", ["catalog-1", "order-0"])
def test_a_node_whose_disk_fails_ends_at_once_and_the_others_go_on(store: Processes, victim: str) -> None:
    """A write beyond the limit fails as on a full disk. A commit that failed must not be answered, nor retried."""
    item = DISK.pop()
    since = store.mark(victim)
    with Crowd([customer(store, item)] * 4) as crowd:
        crowd.reaches(8)
        room = log_path(store.data, victim).stat().st_size + 65_536  # for its last words
        resource.prlimit(store.pid(victim), resource.RLIMIT_FSIZE, (room, room))
        assert store.ended(victim) == 70
        (line,) = [line for line in store.log(victim, since).splitlines() if "stops at once" in line]
        assert "critical" in line
        crowd.reaches(16)
        store.start(victim)
        store.wait_running(victim)
        crowd.reaches(8)
        bought = crowd.stop()
    ledger_agrees(store, item, bought)


DISK = [book(), book()]
