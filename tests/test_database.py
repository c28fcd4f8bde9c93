"""The store: what it confirms is on disk, in order, once; and it says clearly when it cannot be used."""

import os
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread

from pygmy.database import Boot, Change, Store, StoreBroken, StoreLocked, StoreMismatch, Undo
from pygmy.database.schema import steps
from pygmy.messages.operations import Mark
from pygmy.messages.replication import View
from tests.support.inline_store import InlineReactor, InlineThreads, inline_store, now_of
from tests.support.log_samples import batch, book, order_step, refusal, sale, sell_step


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "replica.db")


def filled(path: str, count: int) -> Store:
    store = inline_store(path, "catalog")
    for seq in range(1, count + 1):
        commit_step(store, seq)
    return store


def commit_step(store: Store, seq: int) -> None:
    step, changes = sell_step(seq)
    now_of(store.commit(seq, [step], changes))


def booted(path: str) -> Boot:
    """What the file holds, read by a store of its own."""
    store = inline_store(path, "catalog")
    boot: Boot = now_of(store.boot())
    now_of(store.close())
    return boot


class HeldThreads(InlineThreads):
    """A thread that gets round to its work when told, so that other work can gather meanwhile."""

    def __init__(self) -> None:
        self.held: list[Callable[[], None]] = []
        self.holding = False

    def callInThreadWithCallback(self, *args: Any, **kwargs: Any) -> None:
        if self.holding:
            self.held.append(lambda: InlineThreads.callInThreadWithCallback(self, *args, **kwargs))
        else:
            super().callInThreadWithCallback(*args, **kwargs)

    def step(self) -> None:
        self.held.pop(0)()


# ---- what is on disk


def test_a_replica_starts_again_from_what_it_had(path: str) -> None:
    store = filled(path, 5)
    view = View(3, 1, {"catalog-0": 4}, frozenset(["catalog-0"]), "catalog-0")
    now_of(store.save_view(view, True))
    assert now_of(store.boot()).incarnation == 1
    now_of(store.close())
    boot = booted(path)
    assert boot == Boot(
        incarnation=2,
        previous=1,
        view=view,
        member=True,
        last=(sell_step(4)[0], sell_step(5)[0]),
        rows=(book(count=95, seq=5),),
        undo=(Undo(1, book(count=96, seq=4)),),
    )


def test_an_order_replica_keeps_marks_in_memory_and_orders_on_disk(path: str) -> None:
    store = inline_store(path, "order")
    for seq in (1, 2, 3):
        step, changes = order_step(seq)
        now_of(store.commit(seq, [step], changes))
    now_of(store.close())
    store = inline_store(path, "order")
    boot = now_of(store.boot())
    assert boot.rows == (Mark("last_order_id", 3),)
    assert boot.undo == (Undo("last_order_id", Mark("last_order_id", 2)),)
    assert [order.order_id for order in now_of(store.orders([3, 9, 1]))] == [3, 1]
    assert now_of(store.orders([2])) == (order_step(2)[1][0].after,)
    assert [order.order_id for order in now_of(store.orders_page(1, 10, 2))] == [2]
    assert [order.order_id for order in now_of(store.orders_page(0, 2, 9))] == [1, 2]
    now_of(store.commit(3, [], []))
    assert now_of(store.orders([3])) == ()
    assert now_of(store.boot()).rows == (Mark("last_order_id", 2),)


def test_the_settings_that_durability_rests_on_are_in_force(path: str) -> None:
    store = filled(path, 1)

    def pragmas(connection: sqlite3.Connection) -> list[int | str]:
        names = ("journal_mode", "synchronous", "busy_timeout", "locking_mode")
        return [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names]

    assert now_of(store._file._pool.runWithConnection(pragmas)) == ["wal", 2, 5000, "normal"]
    assert (store._file._pool.min, store._file._pool.max) == (1, 1)


def test_several_batches_in_one_commit_leave_the_last_rows_and_the_last_undo(path: str) -> None:
    store = inline_store(path, "catalog")
    pairs = [sell_step(seq) for seq in (1, 2, 3)]
    now_of(store.commit(1, [b for b, _ in pairs], [c for _, changes in pairs for c in changes]))
    boot = now_of(store.boot())
    assert boot.rows == (book(count=97, seq=3),)
    assert boot.undo == (Undo(1, book(count=98, seq=2)),)


# ---- order and groups


def test_all_that_waits_shares_one_transaction_and_is_answered_in_order(path: str) -> None:
    groups: list[int] = []
    threads: Any = HeldThreads()
    opening = Store.open(
        path, "catalog", InlineReactor(), threads=threads, now=lambda: 7.5, observe=lambda n, s: groups.append(n)
    )
    store: Store = now_of(opening)
    threads.holding = True
    fired: list[object] = []
    for seq in range(1, 6):
        step, changes = sell_step(seq)
        store.commit(seq, [step], changes).addCallback(lambda _, seq=seq: fired.append(seq))
        store.find(["op2"]).addCallback(lambda found, seq=seq: fired.append((seq, sorted(found[0]), found[1])))
    assert (store.pending, len(threads.held)) == (5, 1)
    threads.step()
    assert fired == [1]
    assert (store.pending, len(threads.held)) == (4, 1)
    threads.step()
    finds = [(seq, ["op2"] if seq > 1 else [], seq) for seq in range(1, 6)]
    assert fired == [1, finds[0], 2, finds[1], 3, finds[2], 4, finds[3], 5, finds[4]]
    assert (store.pending, threads.held) == (0, [])
    assert groups == [1, 4]


def test_a_barrier_fires_after_all_before_it_and_work_asked_for_by_an_answer_gets_its_turn(path: str) -> None:
    store = inline_store(path, "catalog")
    fired: list[str] = []
    step, changes = sell_step(1)

    def then(_: None) -> None:
        fired.append("commit")
        store.commit(2, [], []).addCallback(lambda _: fired.append("barrier"))

    store.commit(1, [step], changes).addCallback(then)
    assert fired == ["commit", "barrier"]


def test_a_cancelled_answer_does_not_cancel_the_commit_or_disturb_the_next(path: str) -> None:
    threads: Any = HeldThreads()
    store: Store = now_of(Store.open(path, "catalog", InlineReactor(), threads=threads))
    threads.holding = True
    first = store.commit(1, *([sell_step(1)[0]], sell_step(1)[1]))
    first.addErrback(lambda failure: None)
    second = store.find(["op1"])
    first.cancel()
    threads.step()
    threads.step()
    assert list(now_of(second)[0]) == ["op1"]


def test_op_ids_are_listed_page_by_page_also_within_a_batch(path: str) -> None:
    store = filled(path, 2)
    now_of(store.commit(3, [batch(3, sale("x", left=97), sale("y", left=96), sale("z", left=95))], []))
    pages, place = [], (0, -1)
    while page := now_of(store.op_ids(place, 2)):
        pages.append([op_id for _, _, op_id in page])
        place = page[-1][:2]
    assert pages == [["op1", "op2"], ["x", "y"], ["z"]]


# ---- truncation


def test_a_dropped_batch_leaves_no_trace(path: str) -> None:
    store = filled(path, 3)
    now_of(store.commit(3, [], []))
    assert now_of(store.find(["op2", "op3"]))[0].keys() == {"op2"}
    boot = now_of(store.boot())
    assert (boot.rows, boot.undo) == ((book(count=98, seq=2),), ())
    assert boot.last == (sell_step(1)[0], sell_step(2)[0])


def test_a_dropped_batch_gives_way_to_another_in_the_same_transaction(path: str) -> None:
    store = filled(path, 3)
    other = batch(3, sale("op3", left=50), sale("new", left=49), epoch=2, base_epoch=1)
    changes = [Change(3, book(count=98, seq=2), book(count=49, seq=3)), Change(3, None, book(2, 5, 3))]
    now_of(store.commit(3, [other], changes))
    found, upto = now_of(store.find(["op3", "new", "x"]))
    assert {op_id: tuple(where[1:]) for op_id, where in found.items()} == {"op3": (2, 3, 0), "new": (2, 3, 1)}
    assert (found["new"].entry, upto) == (other.entries[1], 3)
    assert now_of(store.boot()).rows == (book(count=49, seq=3), book(2, 5, 3))
    now_of(store.commit(3, [], []))
    assert now_of(store.boot()).rows == (book(count=98, seq=2),)


def test_the_first_batch_can_be_dropped_too(path: str) -> None:
    store = filled(path, 1)
    now_of(store.commit(1, [], []))
    boot = now_of(store.boot())
    assert (boot.last, boot.rows) == ((), ())


@pytest.mark.parametrize("cut", [0, 2, 5])
def test_only_the_last_batch_can_be_dropped(path: str, cut: int) -> None:
    store = filled(path, 3)
    with pytest.raises(StoreBroken, match=r"last batch|a cut at 5"):
        now_of(store.commit(cut, [], []))
    assert [b.seq for b in booted_after_failure(store, path).last] == [2, 3]


def test_a_batch_that_was_dropped_already_is_no_licence_to_drop_the_one_before(path: str) -> None:
    store = filled(path, 3)
    now_of(store.commit(3, [], []))
    with pytest.raises(StoreBroken, match="only the last batch"):
        now_of(store.commit(2, [], []))


def booted_after_failure(store: Store, path: str) -> Boot:
    now_of(store.close())
    return booted(path)


# ---- failures


def test_an_op_id_recorded_twice_breaks_the_store_and_writes_nothing_of_its_group(path: str) -> None:
    threads: Any = HeldThreads()
    store: Store = now_of(Store.open(path, "catalog", InlineReactor(), threads=threads))
    threads.holding = True
    one = store.commit(1, [sell_step(1)[0]], sell_step(1)[1])
    two = store.commit(2, [sell_step(2)[0]], sell_step(2)[1])
    again = store.commit(3, [batch(3, sale("op4"), sale("op1"))], [Change(3, None, book(7))])
    read = store.find(["op1"])
    threads.step()
    threads.holding = False
    threads.step()
    now_of(one)
    for lost in (two, again, read):
        with pytest.raises(StoreBroken, match=r"UNIQUE constraint failed: entries\.op_id"):
            now_of(lost)
    with pytest.raises(StoreBroken, match="UNIQUE"):
        now_of(store.find(["op1"]))
    assert store.pending == 0
    boot = booted_after_failure(store, path)
    assert (boot.last, boot.rows) == ((sell_step(1)[0],), (book(count=99, seq=1),))


def test_a_batch_that_does_not_follow_is_refused(path: str) -> None:
    store = filled(path, 1)
    with pytest.raises(StoreBroken, match=r"batch \(2, 2\) follows \(2, 1\), but the log ends with \(1, 1\)"):
        now_of(store.commit(2, [batch(2, sale("x"), epoch=2)], []))


def test_a_full_disk_breaks_the_store_and_keeps_what_was_confirmed(path: str) -> None:
    store = filled(path, 3)
    now_of(store._file._pool.runWithConnection(lambda c: c.execute("PRAGMA max_page_count = 1").fetchone()))
    big = batch(4, *(sale(f"big{i}" + "x" * 1000) for i in range(100)))
    with pytest.raises(StoreBroken, match="full"):
        now_of(store.commit(4, [big], []))
    assert booted_after_failure(store, path).last[-1].seq == 3


def test_a_read_that_cannot_be_done_fails_alone(path: str) -> None:
    store = filled(path, 2)
    with pytest.raises(TypeError):
        now_of(store.batches(1, 2, None))  # type: ignore[arg-type]
    assert now_of(store.find(["op1"]))[1] == 2


def test_a_closed_store_refuses_work_and_closes_again(path: str) -> None:
    store = filled(path, 1)
    now_of(store.close())
    with pytest.raises(StoreBroken, match="closed"):
        now_of(store.find(["op1"]))
    now_of(store.close())


# ---- opening


def test_a_file_in_use_is_refused_until_its_user_is_gone(path: str) -> None:
    store = filled(path, 1)
    with pytest.raises(StoreLocked, match=rf"in use by process {os.getpid()}"):
        inline_store(path, "catalog")
    now_of(store.close())
    assert booted(path).last == (sell_step(1)[0],)


def test_a_file_that_is_no_database_is_named(path: str) -> None:
    Path(path).write_bytes(b"garbage " * 1000)
    with pytest.raises(StoreBroken, match=r"replica.db cannot be opened: file is not a database"):
        inline_store(path, "catalog")
    Path(path).unlink()
    now_of(filled(path, 1).close())


def test_a_directory_that_is_not_there_is_named(path: str) -> None:
    with pytest.raises(StoreBroken, match="No such file"):
        inline_store(path + "/x/y.db", "catalog")


def test_a_damaged_page_breaks_the_boot_and_not_the_books(path: str) -> None:
    store = inline_store(path, "catalog")
    books = [Change(1, None, book(item)) for item in range(1, 2000)]
    now_of(store.commit(1, [batch(1, sale("op1"))], books))
    now_of(store.close())
    content = bytearray(Path(path).read_bytes())
    for page in range(10 * 4096, len(content), 4096):
        content[page : page + 512] = b"\xff" * 512
    Path(path).write_bytes(content)
    with pytest.raises(StoreBroken, match="malformed"):
        now_of(inline_store(path, "catalog").boot())


def test_a_database_of_the_other_tier_or_of_another_program_is_refused(path: str, tmp_path: Path) -> None:
    now_of(filled(path, 1).close())
    with pytest.raises(StoreMismatch, match="of the catalog tier, not of the order tier"):
        inline_store(path, "order")
    other = str(tmp_path / "other.db")
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE t (x)")
    with pytest.raises(StoreMismatch, match="not a database of Pygmy's"):
        inline_store(other, "catalog")
    assert sqlite3.connect(other).execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_an_older_schema_is_brought_up_to_date_once_and_keeps_its_data(path: str) -> None:
    now_of(filled(path, 2).close())
    first = steps("catalog")
    upgraded = [*first, "ALTER TABLE books ADD COLUMN isbn TEXT; -- later\nINSERT INTO meta VALUES ('x', 1);\n"]
    for _ in range(2):
        now_of(inline_store(path, "catalog", steps=upgraded).close())
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(first) + 1,)
        assert connection.execute("SELECT item, count, isbn FROM books").fetchall() == [(1, 98, None)]
        assert connection.execute("SELECT value FROM meta WHERE key = 'x'").fetchall() == [(1,)]


def test_an_upgrade_that_fails_leaves_the_old_schema_whole(path: str) -> None:
    now_of(filled(path, 2).close())
    broken = [*steps("catalog"), "ALTER TABLE books ADD COLUMN isbn TEXT;", "INSERT INTO nowhere VALUES (1);"]
    with pytest.raises(StoreBroken, match="no such table: nowhere"):
        inline_store(path, "catalog", steps=broken)
    assert booted(path).rows == (book(count=98, seq=2),)


def test_a_newer_schema_is_refused_and_left_alone(path: str) -> None:
    newer = [*steps("catalog"), "CREATE TABLE later (x);"]
    now_of(inline_store(path, "catalog", steps=newer).close())
    with pytest.raises(StoreMismatch, match="schema version 2, and this Pygmy knows only 1: use a newer Pygmy"):
        inline_store(path, "catalog")


def test_steps_are_numbered_without_a_gap(tmp_path: Path) -> None:
    (tmp_path / "0001_log.sql").write_text("A;\n")
    (tmp_path / "0001_catalog.sql").write_text("B;\n")
    (tmp_path / "0002_order.sql").write_text("C;\n")
    (tmp_path / "readme").write_text("")
    assert steps("catalog", tmp_path) == ["A;\nB;\n"]
    assert steps("order", tmp_path) == ["A;\n", "C;\n"]
    (tmp_path / "0004_log.sql").write_text("D;\n")
    with pytest.raises(StoreBroken, match="not numbered"):
        steps("order", tmp_path)


# ---- reads


def test_batches_come_in_order_within_the_limits_and_at_least_three(path: str) -> None:
    """Who asks for what follows its log names the last two that it has, however long they are: it needs a third."""
    store = filled(path, 6)

    def seqs(*limits: int) -> list[int]:
        return [b.seq for b in now_of(store.batches(*limits))]

    assert now_of(store.batches(2, 1, 10**6)) == (sell_step(2)[0],)
    assert seqs(1, 100, 10**6) == [1, 2, 3, 4, 5, 6]
    assert seqs(3, 2, 10**6) == [3, 4]
    assert seqs(2, 100, 0) == [2, 3, 4]
    assert seqs(1, 100, 1_000) == [1, 2, 3, 4, 5]
    assert seqs(7, 100, 10**6) == []


def test_sales_come_by_whole_batches_and_say_how_far_they_reach(path: str) -> None:
    store = inline_store(path, "catalog")
    batches = [
        batch(1, sale("a", at=10), refusal("b", at=10), sale("c", at=10)),
        batch(2, refusal("d", at=20)),
        batch(3, sale("e", at=30), sale("f", at=31)),
        batch(4, sale("g", at=40)),
    ]
    now_of(store.commit(1, batches, []))

    def sold(*args: int) -> tuple[list[str], int]:
        found, upto = now_of(store.sales(*args))
        return [s.op_id for s in found], upto

    assert sold(0, 99, 99, 99) == (["a", "c", "e", "f", "g"], 4)
    assert sold(0, 99, 99, 1) == (["a", "c"], 1)
    assert sold(1, 99, 99, 1) == (["e", "f"], 3)
    assert sold(0, 30, 99, 99) == (["a", "c"], 2)
    assert sold(0, 10, 99, 99) == (["a", "c"], 1)
    assert sold(0, 9, 99, 99) == ([], 0)
    assert sold(0, 99, 2, 99) == (["a", "c"], 2)
    assert sold(4, 99, 99, 99) == ([], 4)
    assert sold(9, 99, 99, 99) == ([], 9)
    (last,), _ = now_of(store.sales(3, 99, 4, 1))
    assert (last.result.epoch, last.result.seq, last.result.index, last.result.at) == (1, 4, 0, 40)
    assert (last.result.outcome, last.basket) == (batches[3].entries[0].outcome, False)


# ---- under a real reactor, and in a process that is killed


@pytest.fixture
def sqlite_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[int]]:
    """The idents of all threads that call SQLite through a connection or a cursor."""
    seen: set[int] = set()

    def noting(base: type, names: tuple[str, ...]) -> dict[str, Any]:
        def noted(name: str) -> Callable[..., Any]:
            original = getattr(base, name)

            def call(self: Any, *args: Any, **kwargs: Any) -> Any:
                seen.add(threading.get_ident())
                return original(self, *args, **kwargs)

            return call

        return {name: noted(name) for name in names}

    statements = ("execute", "executemany", "executescript", "close")
    cursor = type("Cursor", (sqlite3.Cursor,), noting(sqlite3.Cursor, (*statements, "fetchone", "fetchall")))
    methods = noting(sqlite3.Connection, (*statements, "commit", "rollback", "__init__"))
    methods["cursor"] = lambda self: sqlite3.Connection.cursor(self, cursor)
    connection = type("Connection", (sqlite3.Connection,), methods)
    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **kwargs: real(*args, factory=connection, **kwargs))
    return seen


@pytest_twisted.ensureDeferred
async def test_sqlite_is_never_called_on_the_reactor_thread(path: str, sqlite_threads: set[int]) -> None:
    from twisted.internet import reactor  # noqa: TID251

    store = await Store.open(path, "catalog", reactor)
    steps = [sell_step(seq) for seq in range(1, 51)]
    commits: list[Deferred[None]] = [store.commit(b.seq, [b], changes) for b, changes in steps]
    await gatherResults(commits)
    await store.find(["op1"])
    assert (await store.boot()).last[-1].seq == 50
    await store.batches(1, 10, 1000)
    await store.sales(0, 10**6, 50, 10)
    await store.save_view(View(1, 0, {}, frozenset(), ""), True)
    await store.close()
    assert len(sqlite_threads) == 1
    store = await Store.open(path, "catalog", reactor)
    store._file._pool.close()  # as when the reactor shuts down while it is open
    assert store._file._pool.connections == {}
    assert len(sqlite_threads) <= 2
    assert threading.get_ident() not in sqlite_threads


WRITER = """
import sys
from twisted.internet import defer, reactor
from pygmy.database import Store
from tests.support.log_samples import sell_step

async def write():
    store = await Store.open(sys.argv[1], "catalog", reactor)
    for seq in range(1, 100000):
        batch, changes = sell_step(seq)
        store.commit(seq, [batch], changes).addCallback(lambda _, seq=seq: print(seq, flush=True))
        if seq % 5 == 0:
            await store.commit(seq + 1, [], [])

reactor.callWhenRunning(lambda: defer.Deferred.fromCoroutine(write()).addErrback(print))
reactor.run()
"""


@pytest_twisted.ensureDeferred
async def test_a_killed_process_keeps_what_it_confirmed_and_its_lock_dies_with_it(path: str) -> None:
    def until_killed() -> int:
        with Popen([sys.executable, "-c", WRITER, path], stdout=PIPE, cwd=Path(__file__).parents[1]) as writer:
            assert writer.stdout is not None
            confirmed = [int(writer.stdout.readline()) for _ in range(40)]
            with pytest.raises(StoreLocked, match=str(writer.pid)):
                inline_store(path, "catalog")
            writer.send_signal(signal.SIGKILL)
            confirmed += [int(line) for line in writer.stdout.read().split(b"\n")[:-1]]
        assert confirmed == list(range(1, len(confirmed) + 1))
        return confirmed[-1]

    confirmed = await deferToThread(until_killed)
    boot = booted(path)
    head = boot.last[-1].seq
    assert head >= confirmed
    assert boot.last[-1] == sell_step(head)[0]
    assert boot.rows == (book(count=100 - head, seq=head),)
    store = inline_store(path, "catalog")
    assert len(now_of(store.find([f"op{seq}" for seq in range(1, head + 2)]))[0]) == head
