"""Backups: online, whole, nobody's member, counted; and what goes wrong with one harms nothing."""

import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any, NamedTuple

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread

from pygmy import backups
from pygmy.backups import Backups, existing, prune
from pygmy.database import BackupFailed, Boot, Store, StoreBroken, backup
from pygmy.database.backup import seal
from pygmy.database.longjob import LongJob
from pygmy.errors import Problem
from pygmy.messages.operations import Tier
from pygmy.messages.replication import View
from pygmy.restoring import prove
from pygmy.schedule import Schedule
from tests.support.crashing import crash_after
from tests.support.inline_store import inline_store, now_of
from tests.support.real_log import COPIES, member, steps

HOUR = 3600.0
WALL = 1_795_000_000_000  # ms: 2026-11-18 11:06:40 UTC


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog.sqlite"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return tmp_path / "copy.sqlite"


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pause after each page."""
    monkeypatch.setattr(backup, "PAGES", 1)


def at_each_pause(monkeypatch: pytest.MonkeyPatch, act: Callable[[int], object]) -> None:
    """Call act(1), act(2), ... as the pauses of a copy begin."""
    pauses = iter(range(1, 1_000_000))
    original = LongJob.pause

    def pause(self: LongJob, connection: sqlite3.Connection) -> None:
        act(next(pauses))
        original(self, connection)

    monkeypatch.setattr(LongJob, "pause", pause)


def boot_of(path: Path, tier: Tier = "catalog") -> Boot:
    store = inline_store(path, tier)
    boot: Boot = now_of(store.boot())
    now_of(store.close())
    return boot


def proven(path: Path) -> int:
    """The seq of the last batch of a database in which log, hashes, outcomes and rows agree to the last one."""
    prove(path, str(path))
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        return int(connection.execute("SELECT coalesce(max(seq), 0) FROM batches").fetchone()[0])


# ---- one copy


@pytest.mark.parametrize("tier", ["catalog", "order"])
def test_a_backup_holds_everything_but_what_makes_a_member(path: Path, copy: Path, tier: Tier) -> None:
    member(path, tier, 5)
    store = inline_store(path, tier)
    now_of(store.copy_to(str(copy)))
    now_of(store.close())
    assert seal(copy, "x-0", tier, 7).head == (1, 5)
    with closing(sqlite3.connect(copy)) as connection:
        meta = dict(connection.execute("SELECT key, value FROM meta"))
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert meta == {"member": 0, "tier": tier, "backup": f'{{"node":"x-0","tier":"{tier}","head":[1,5],"at":7}}'}
    assert proven(copy) == 5
    original, restored = boot_of(path, tier), boot_of(copy, tier)
    assert (restored.member, restored.view, restored.incarnation) == (False, None, 1)
    assert (original.member, original.incarnation) == (True, 2)
    for same in ("last", "rows", "undo"):
        assert getattr(restored, same) == getattr(original, same)


def test_the_last_batch_of_a_backup_can_still_be_dropped(path: Path, copy: Path) -> None:
    """It may be one that was never chosen."""
    member(path, "catalog", 5)
    store = inline_store(path, "catalog")
    now_of(store.copy_to(str(copy)))
    seal(copy, "catalog-0", "catalog", 7)
    restored = inline_store(copy, "catalog")
    now_of(restored.commit(5, [], []))
    now_of(restored.close())
    assert proven(copy) == 4


def test_commits_and_reads_go_on_during_a_copy_which_shows_one_moment(
    path: Path, copy: Path, small_steps: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    member(path, "catalog", 5)
    store = inline_store(path, "catalog")
    to_come = steps("catalog", 400)[5:]
    confirmed: list[int] = []
    found: list[int] = []

    def write(pause: int) -> None:
        if pause <= 6:
            batch, changes = to_come[pause - 1]
            store.commit(batch.seq, [batch], changes).addCallback(lambda _: confirmed.append(batch.seq))
            finding = store.find([f"op{batch.seq}"])
            finding.addCallback(lambda answer: found.extend(entry.seq for entry in answer[0].values()))

    at_each_pause(monkeypatch, write)
    copying = store.copy_to(str(copy))
    copying.addCallback(lambda _: confirmed.append(0))
    assert confirmed == [*range(6, 12), 0]
    assert found == list(range(6, 12))
    seal(copy, "catalog-0", "catalog", 7)
    assert proven(copy) == 11
    now_of(store.close())
    assert proven(path) == 11


@pytest_twisted.ensureDeferred
async def test_under_the_reactor_a_copy_is_of_one_moment_and_lets_commits_through(path: Path, copy: Path) -> None:
    from twisted.internet import reactor  # noqa: TID251

    member(path, "catalog", 1)
    store = await Store.open(str(path), "catalog", reactor)
    ballast = [("x" * 3000, n) for n in range(20_000)]

    def grow(connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO meta VALUES ('ballast' || ?2, ?1)", ballast)
        connection.execute("COMMIT")

    await store._file._pool.runWithConnection(grow)
    confirmed: list[int] = []
    copied: list[int] = []
    copying = store.copy_to(str(copy)).addCallback(lambda _: copied.append(len(confirmed)))
    for batch, changes in steps("catalog", 900)[1:]:
        await store.commit(batch.seq, [batch], changes)
        confirmed.append(batch.seq)
        if copied:
            break
    await copying
    assert copied[0] > 3
    await store.close()
    assert confirmed[0] <= await deferToThread(lambda: seal(copy, "catalog-0", "catalog", 7).head[1]) <= confirmed[-1]
    assert proven(copy) >= confirmed[0]


# ---- what goes wrong with a copy


def goes_on(store: Store, seq: int) -> None:
    batch, changes = steps("catalog", seq)[-1]
    now_of(store.commit(seq, [batch], changes))


def test_a_disk_that_would_be_full_gets_no_backup(path: Path, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backup that took the last room would stop the node itself at its next commit."""
    member(path, "catalog", 5)
    store = inline_store(path, "catalog")
    usage = shutil.disk_usage(copy.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=backup.RESERVE + 8192))
    with pytest.raises(BackupFailed, match=r"copy\.sqlite would take .* bytes, and leave less than 67,108,864"):
        now_of(store.copy_to(str(copy)))
    assert not copy.exists()
    goes_on(store, 6)


def test_a_disk_that_fills_up_on_the_way_ends_the_backup_only(
    path: Path, copy: Path, small_steps: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    member(path, "catalog", 5)
    store = inline_store(path, "catalog")
    connect = sqlite3.connect

    def small(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.execute("PRAGMA max_page_count = 3")
        return connection

    monkeypatch.setattr(sqlite3, "connect", small)
    with pytest.raises(BackupFailed, match="full"):
        now_of(store.copy_to(str(copy)))
    goes_on(store, 6)


def test_a_copy_to_nowhere_breaks_nothing(path: Path) -> None:
    member(path, "catalog", 5)
    store = inline_store(path, "catalog")
    with pytest.raises(BackupFailed, match="Not a directory"):
        now_of(store.copy_to(str(path / "x" / "copy.sqlite")))
    goes_on(store, 6)


def test_a_store_that_closes_ends_its_copy_and_finishes_its_writes(
    path: Path, copy: Path, small_steps: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    member(path, "catalog", 5)
    store = inline_store(path, "catalog")
    batch, changes = steps("catalog", 6)[-1]
    done: list[Deferred[None]] = []

    def close(pause: int) -> None:
        if pause == 3:
            done.append(store.commit(6, [batch], changes))
            done.append(store.close())

    at_each_pause(monkeypatch, close)
    with pytest.raises(BackupFailed, match="closed"):
        now_of(store.copy_to(str(copy)))
    for one in done:
        now_of(one)
    assert proven(path) == 6
    with pytest.raises(StoreBroken, match="closed"):
        now_of(store.copy_to(str(copy)))


def test_a_line_that_breaks_during_a_copy_is_broken(
    path: Path, copy: Path, small_steps: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    member(path, "catalog", 5)
    store = inline_store(path, "catalog")
    batch, changes = steps("catalog", 8)[-1]
    lost: list[Deferred[None]] = []
    at_each_pause(monkeypatch, lambda pause: lost.append(store.commit(8, [batch], changes)) if pause == 2 else None)
    with pytest.raises(BackupFailed, match="a cut at 8"):
        now_of(store.copy_to(str(copy)))
    with pytest.raises(StoreBroken, match="a cut at 8"):
        now_of(lost[0])
    with pytest.raises(StoreBroken, match="a cut at 8"):
        now_of(store.find(["op1"]))


def test_a_damaged_database_gives_no_backup(path: Path, copy: Path) -> None:
    member(path, "catalog", 50)
    content = bytearray(path.read_bytes())
    content[-4096:] = b"\xff" * 4096
    copy.write_bytes(content)
    with pytest.raises(BackupFailed, match=r"damaged|malformed"):
        seal(copy, "catalog-0", "catalog", 7)


# ---- a node's backups


class Replica(NamedTuple):
    """A node's backups with a clock of their own; its store is real."""

    store: Store
    home: Path
    clock: Clock
    backups: Backups

    def pass_hours(self, hours: float) -> None:
        for _ in range(round(hours * 60)):
            self.clock.advance(60)

    def write(self, seq: int) -> None:
        goes_on(self.store, seq)

    def names(self) -> list[str]:
        return sorted(path.name for path in self.home.iterdir()) if self.home.exists() else []

    def seqs(self) -> list[int]:
        return [one.seq for one in existing(self.home, "catalog-0")]


Makes = Callable[..., Replica]


def at_once(function: Callable[[], Any]) -> Deferred[Any]:
    done: Deferred[Any] = Deferred()
    try:
        done.callback(function())
    except Exception:
        done.errback()
    return done


@pytest.fixture
def makes(path: Path) -> Iterator[Makes]:
    """Each call is a node's start; what is in its directory stays."""
    stores: list[Store] = []

    def make(hours: float = 6.0, kept: int = 7, passed: float = 0.0, seq: int = 5, **options: Any) -> Replica:
        for store in stores:
            now_of(store.close())
        if not path.exists():
            member(path, "catalog", seq)
        store = inline_store(path, "catalog")
        stores.append(store)
        clock = Clock()
        clock.advance(passed)
        home = path.parent / "backups"

        def wall() -> int:
            return WALL + round(clock.seconds() * 1000)

        def head() -> int:
            return int(now_of(store.find([]))[1])

        made = Backups(
            "catalog-0", "catalog", home, options.get("store", store), head, Schedule(hours, kept), clock, wall,
            options.get("in_thread", at_once),
        )  # fmt: skip
        made.startService()
        return Replica(store, home, clock, made)

    yield make
    for store in stores:
        now_of(store.close())


def test_a_backup_that_is_asked_for_is_there_under_its_name(makes: Makes) -> None:
    node = makes(hours=0)
    body = now_of(node.backups.back_up())
    assert node.names() == ["catalog-0-20261118T110640Z-5.sqlite"]
    assert (body.node, body.file, body.head) == ("catalog-0", str(node.home / node.names()[0]), 5)
    assert body.bytes == Path(body.file).stat().st_size
    assert proven(Path(body.file)) == 5


def test_backups_come_on_schedule_but_not_at_the_start(makes: Makes) -> None:
    node = makes(hours=6)
    node.clock.advance(1)
    assert node.names() == []
    node.pass_hours(1)
    assert node.seqs() == [5]
    node.write(6)
    node.pass_hours(4.9)
    assert node.seqs() == [5]
    node.pass_hours(1.2)
    assert node.seqs() == [5, 6]


def test_the_schedule_outlives_the_process(makes: Makes) -> None:
    """A node that is started again and again still backs itself up every six hours, and not at each start."""
    first = makes(hours=6)
    first.pass_hours(1)
    assert first.seqs() == [5]
    second = makes(hours=6, passed=1 * HOUR)
    second.write(6)
    second.pass_hours(4.9)
    assert second.seqs() == [5]
    third = makes(hours=6, passed=6 * HOUR)
    third.pass_hours(0.2)
    assert third.seqs() == [5, 6]


def test_what_has_not_changed_is_not_backed_up_again(makes: Makes) -> None:
    node = makes(hours=1)
    node.pass_hours(10)
    assert node.seqs() == [5]
    node.write(6)
    node.pass_hours(0.2)
    assert node.seqs() == [5, 6]


def test_zero_hours_are_never(makes: Makes) -> None:
    node = makes(hours=0)
    node.pass_hours(48)
    assert node.names() == []
    node.backups.stopService()


def test_an_empty_store_is_not_backed_up_by_itself(makes: Makes) -> None:
    node = makes(hours=1, seq=0)
    node.pass_hours(3)
    assert node.names() == []


def test_after_it_was_stopped_nothing_is_made(makes: Makes) -> None:
    node = makes(hours=1)
    node.backups.stopService()
    node.pass_hours(3)
    assert node.names() == []


def test_a_date_in_the_future_does_not_put_the_others_off(makes: Makes) -> None:
    node = makes(hours=1)
    node.home.mkdir()
    (node.home / "catalog-0-29991231T000000Z-1.sqlite").write_bytes(b"")
    node.pass_hours(1)
    assert sorted(node.seqs()) == [1, 5]


def test_only_the_newest_are_kept_and_other_files_stay(makes: Makes) -> None:
    node = makes(hours=0, kept=2)
    node.home.mkdir()
    others = ["catalog-1-20200101T000000Z-1.sqlite", "catalog-0-20200101T000000Z-1.sqlite.gz", "my own.sqlite"]
    others.append("catalog-0-20201340T000000Z-1.sqlite")
    for name in others:
        (node.home / name).write_bytes(b"mine")
    for seq in (6, 7, 8):
        node.write(seq)
        node.clock.advance(60)
        now_of(node.backups.back_up())
    assert node.seqs() == [7, 8]
    assert set(others) < set(node.names())


def test_the_one_just_made_is_never_the_one_that_goes(tmp_path: Path) -> None:
    """As when the clock was wrong, and all others are from the future."""
    names = [f"catalog-0-2{n}991231T000000Z-{n}.sqlite" for n in range(4)]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    prune(tmp_path, "catalog-0", 2, tmp_path / names[0])
    assert sorted(path.name for path in tmp_path.iterdir()) == [names[0], names[3]]


def test_who_asks_while_one_is_made_shares_it(makes: Makes) -> None:
    held: list[Callable[[], None]] = []

    def later(function: Callable[[], Any]) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        held.append(lambda: at_once(function).chainDeferred(done))
        return done

    node = makes(hours=0, in_thread=later)
    first, second = node.backups.back_up(), node.backups.back_up()
    assert len(held) == 1
    while held:
        held.pop(0)()
    assert now_of(first) == now_of(second)
    third = node.backups.back_up()
    assert held
    while held:
        held.pop(0)()
    assert now_of(third).head == 5


def test_a_backup_that_fails_is_told_in_one_line_and_tried_again(
    makes: Makes, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = makes(hours=6)
    monkeypatch.setattr(backup, "RESERVE", 1 << 62)
    told: list[str] = []
    monkeypatch.setattr(backups.log, "error", lambda text, **fields: told.append(text.format(**fields)))
    with pytest.raises(Problem, match=r"503 .*catalog-0 could not back itself up: .* would take"):
        now_of(node.backups.back_up())
    node.pass_hours(0.2)
    assert len(told) == 3
    assert len(told[0].splitlines()) == 1
    assert node.names() == []
    node.write(6)
    monkeypatch.setattr(backup, "RESERVE", 0)
    node.pass_hours(0.1)
    assert node.seqs() == [6]


@pytest.mark.parametrize("step", ["make_durable", "seal", "settle"])
def test_a_failure_at_any_step_leaves_nothing_behind(
    makes: Makes, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    node = makes(hours=0)

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(backups, step, full)
        with pytest.raises(Problem, match="No space left"):
            now_of(node.backups.back_up())
    assert node.names() == []
    now_of(node.backups.back_up())
    assert node.seqs() == [5]


def test_what_a_crash_left_behind_is_removed(makes: Makes) -> None:
    node = makes(hours=0)
    node.home.mkdir()
    for end in ("", "-wal", "-shm", "-journal"):
        (node.home / f"draft.sqlite{end}").write_bytes(b"half a backup")
    now_of(node.backups.back_up())
    assert node.names() == ["catalog-0-20261118T110640Z-5.sqlite"]
    assert proven(node.home / node.names()[0]) == 5


def test_a_crash_at_any_moment_leaves_whole_backups_only(tmp_path: Path, small_steps: None) -> None:
    """And the next backup clears away the rest."""
    path, seqs = tmp_path / "catalog.sqlite", []
    member(path, "catalog", 5)

    def back_up(at: int = 0) -> None:
        store = inline_store(path, "catalog")
        made = Backups(
            "catalog-0", "catalog", tmp_path / "backups", store, lambda: 5, Schedule(0, 3), Clock(),
            lambda: WALL + at, at_once,
        )  # fmt: skip
        now_of(made.back_up())
        now_of(store.close())

    (tmp_path / "backups").mkdir()
    for calls in range(60):
        through = crash_after(calls, {os: ("unlink", "replace", "fsync"), LongJob: ("pause",)}, back_up)
        kept = existing(tmp_path / "backups", "catalog-0")
        assert [proven(one.path) for one in kept] == [one.seq for one in kept]
        seqs.append([one.seq for one in kept])
        if through:
            break
    assert through
    assert seqs[0] == []
    assert seqs[-2] == seqs[-1] == [5]
    back_up(60_000)
    names = sorted(path.name for path in (tmp_path / "backups").iterdir())
    assert names == ["catalog-0-20261118T110640Z-5.sqlite", "catalog-0-20261118T110740Z-5.sqlite"]


BACKER = """
import sys
from functools import partial
from pathlib import Path
from twisted.internet import defer, reactor
from twisted.internet.threads import deferToThread
from pygmy.backups import Backups
from pygmy.clock import utc_milliseconds
from pygmy.database import Store
from pygmy.restoring import prove
from pygmy.schedule import Schedule
from tests.support.real_log import steps

async def write():
    store = await Store.open(sys.argv[1], "catalog", reactor)
    seq = (await store.find([]))[1]
    home = Path(sys.argv[1]).parent / "backups"
    backups = Backups(
        "catalog-0", "catalog", home, store, lambda: seq, Schedule(0, 3), reactor, utc_milliseconds, deferToThread
    )
    for batch, changes in steps("catalog", 900)[seq:]:
        store.commit(batch.seq, [batch], changes)
        made = await backups.back_up()
        print(made.head, flush=True)

reactor.callWhenRunning(lambda: defer.Deferred.fromCoroutine(write()).addErrback(print))
reactor.run()
"""


@pytest_twisted.ensureDeferred
async def test_a_killed_process_leaves_whole_backups_only(path: Path) -> None:
    member(path, "catalog", 1)

    def until_killed(lines: int) -> int:
        with Popen([sys.executable, "-c", BACKER, path], stdout=PIPE, cwd=Path(__file__).parents[1]) as process:
            assert process.stdout is not None
            told = [int(process.stdout.readline()) for _ in range(lines)]
            process.send_signal(signal.SIGKILL)
            told += [int(line) for line in process.stdout.read().split(b"\n")[:-1]]
        return told[-1]

    for lines in (1, 3):
        told = await deferToThread(until_killed, lines)
        kept = existing(path.parent / "backups", "catalog-0")
        assert kept[-1].seq >= told
        for one in kept:
            assert proven(one.path) == one.seq
            assert boot_of(one.path).member is False
            for end in backup.COMPANIONS:
                Path(f"{one.path}{end}").unlink(missing_ok=True)


@pytest_twisted.ensureDeferred
async def test_many_copies_one_after_the_other_under_the_reactor(path: Path, tmp_path: Path) -> None:
    """What stands in line as a copy ends is done, and in its order."""
    from twisted.internet import reactor  # noqa: TID251

    member(path, "catalog", 1)
    store = await Store.open(str(path), "catalog", reactor)
    to_come = steps("catalog", 300)[1:]
    commits = [store.commit(batch.seq, [batch], changes) for batch, changes in to_come[:100]]
    for number in range(10):
        copying = store.copy_to(str(tmp_path / f"copy{number}"))
        start = 100 + number * 20
        commits += [store.commit(batch.seq, [batch], changes) for batch, changes in to_come[start : start + 20]]
        await copying
    await gatherResults(commits)
    await store.save_view(View(1, 0, {}, frozenset(), ""), True)
    boot = await store.boot()
    await store.close()
    assert boot.last[-1].seq == 300
    assert next(row.count for row in boot.rows if row.item == 1) == COPIES - 299  # type: ignore[union-attr]
