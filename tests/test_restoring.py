"""Restoring: only what is sound and of this cluster gets in, it never poses as a member, and nothing is lost."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from pygmy import restoring
from pygmy.cluster import DEFAULT, parse_cluster
from pygmy.database import Boot
from pygmy.database.backup import seal
from pygmy.database.schema import steps as schema_steps
from pygmy.messages.operations import Tier
from pygmy.messages.register import Charter, VoterState
from pygmy.pidfile import AlreadyRunning, PidFile
from pygmy.restoring import CannotRestore, Restored, restore
from tests.support.crashing import crash_after
from tests.support.inline_store import inline_store, now_of
from tests.support.real_log import VIEW, member, steps
from tests.test_backup import boot_of, proven

NOW = 1_795_000_000_000  # ms: 2026-11-18 11:06:40 UTC
ASIDE = "replaced-20261118T110640Z"
NODES = {node.name: node for node in parse_cluster(DEFAULT).nodes}


class Scene:
    """A data directory with catalog-0, stopped, that holds 9 batches, and a backup of its first 5."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.home = data / "catalog-0"
        self.database = self.home / "catalog.sqlite"
        self.home.mkdir(parents=True)
        self.file = self.backup("backup.sqlite", "catalog", 5)
        member(self.database, "catalog", 9)

    def backup(self, name: str, tier: Tier, count: int) -> Path:
        path = self.data.parent / name
        member(path, tier, count)
        Path(f"{path}.lock").unlink()
        seal(path, "catalog-1", tier, NOW - 60_000)
        return path

    def restore(self, file: Path | None = None, name: str = "catalog-0") -> Restored:
        return restore(self.data, NODES[name], file or self.file, NOW)

    def refused(self, file: Path, why: str) -> None:
        """It is, for this reason, and all is as it was."""
        before = self.contents()
        with pytest.raises(CannotRestore, match=why) as caught:
            self.restore(file)
        assert len(str(caught.value).splitlines()) == 1
        assert self.contents() == before

    def contents(self) -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in self.data.rglob("*") if path.is_file()}

    def set_meta(self, path: Path, key: str, value: object) -> None:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value ANY)")
            connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))
            connection.commit()

    def set_charter(self, cluster_id: str) -> None:
        """As the node's vote has it."""
        state = VoterState(Charter(cluster_id, tuple(sorted(NODES)), True))
        self.set_meta(self.home / "voter.db", "state", msgspec.json.encode(state).decode())

    def change(self, statement: str) -> None:
        """Tamper with the backup."""
        with closing(sqlite3.connect(self.file)) as connection:
            assert connection.execute(statement).rowcount == 1
            connection.commit()


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path / "data")


def meta(path: Path) -> dict[str, object]:
    with closing(sqlite3.connect(path)) as connection:
        return dict(connection.execute("SELECT key, value FROM meta"))


# ---- what is put in place


def test_a_backup_takes_the_place_of_the_database_which_is_kept(scene: Scene) -> None:
    restored = scene.restore()
    assert (restored.note.node, restored.note.head, restored.note.at) == ("catalog-1", (1, 5), NOW - 60_000)
    assert restored.aside == scene.home / ASIDE
    assert proven(scene.database) == 5
    assert proven(restored.aside / "catalog.sqlite") == 9
    assert boot_of(restored.aside / "catalog.sqlite").member is True
    names = {path.name for path in scene.home.iterdir()}
    assert names == {"catalog.sqlite", "catalog.sqlite.lock", ASIDE}
    assert proven(scene.file) == 5


def test_a_restored_database_is_no_members_and_belongs_to_its_new_node(scene: Scene) -> None:
    scene.restore()
    said = meta(scene.database)
    assert (said["node"], said["member"]) == ("catalog-0", 0)
    assert not {"incarnation", "view"} & said.keys()
    boot = boot_of(scene.database)
    assert (boot.member, boot.view, boot.last[-1].seq) == (False, None, 5)


def test_a_lost_disk_is_restored_where_nothing_was(scene: Scene) -> None:
    assert scene.restore(name="catalog-1").aside is None
    assert proven(scene.data / "catalog-1" / "catalog.sqlite") == 5


def test_orders_are_restored_too(scene: Scene) -> None:
    scene.restore(scene.backup("orders.sqlite", "order", 4), "order-1")
    assert proven(scene.data / "order-1" / "order.sqlite") == 4


def killed(path: Path, count: int) -> None:
    """As after kill -9: the last commits are in the write-ahead log only."""
    elsewhere = path.with_name("elsewhere.sqlite")
    store = inline_store(elsewhere, "catalog")
    now_of(store.boot())
    now_of(store.save_view(VIEW, True))
    for batch, changes in steps("catalog", count):
        now_of(store.commit(batch.seq, [batch], changes))
    for end in ("", "-wal", "-shm"):
        shutil.copyfile(f"{elsewhere}{end}", f"{path}{end}")
    now_of(store.close())


def test_a_database_that_was_copied_by_hand_is_no_members_either(scene: Scene, tmp_path: Path) -> None:
    """With its write-ahead log beside it, it is whole; whoever copied it cannot have made it a member."""
    copied = tmp_path / "copied.sqlite"
    killed(copied, 7)
    assert Path(f"{copied}-wal").stat().st_size
    assert scene.restore(copied).note.head == (1, 7)
    boot: Boot = boot_of(scene.database)
    assert (boot.member, boot.last[-1].seq) == (False, 7)
    assert Path(f"{copied}-wal").exists()


def test_the_write_ahead_log_of_the_old_database_goes_with_it(scene: Scene) -> None:
    """Left where it was, it would be carried out on the new one."""
    killed(scene.database, 12)
    restored = scene.restore()
    assert restored.aside is not None
    assert proven(scene.database) == 5
    assert proven(restored.aside / "catalog.sqlite") == 12


def test_the_vote_is_not_touched(scene: Scene) -> None:
    voter = scene.home / "voter.db"
    voter.write_bytes(b"the vote")
    restored = scene.restore()
    assert voter.read_bytes() == b"the vote"
    assert restored.aside is not None
    assert not (restored.aside / "voter.db").exists()


# ---- what is refused


def test_files_that_are_no_database_of_pygmys_are_refused(scene: Scene, tmp_path: Path) -> None:
    file = tmp_path / "file"
    for content in (b"", b"garbage" * 1000, b"SQLite format 3\0" + b"garbage" * 1000):
        file.write_bytes(content)
        scene.refused(file, "not a database")
    file.unlink()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE meta (key, value)")
    scene.refused(file, "not a database of Pygmy's")


def test_the_other_tier_is_refused(scene: Scene) -> None:
    scene.refused(scene.backup("orders.sqlite", "order", 4), "of the order tier, not of the catalog tier")


def test_a_newer_schema_is_refused(scene: Scene) -> None:
    with closing(sqlite3.connect(scene.file)) as connection:
        connection.execute(f"PRAGMA user_version = {len(schema_steps('catalog')) + 1}")
    scene.refused(scene.file, "use a newer Pygmy")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE books SET count = count + 1 WHERE item = 1",
        "UPDATE books SET title = 'x' WHERE item = 7",
        "DELETE FROM books WHERE item = 7",
        "INSERT INTO books SELECT 99, title, topic, cost, count, epoch, seq, removed FROM books WHERE item = 7",
        "UPDATE entries SET at = at + 1 WHERE seq = 3",
        "UPDATE entries SET op_id = 'other' WHERE seq = 3",
        "UPDATE entries SET outcome = replace(outcome, '3000', '1') WHERE seq = 3",
        "UPDATE entries SET operation = '{' WHERE seq = 3",
        "DELETE FROM entries WHERE seq = 3",
        "DELETE FROM batches WHERE seq = 3",
        "DELETE FROM batches WHERE seq = 1",
        "UPDATE batches SET epoch = 2 WHERE seq = 5",
        "UPDATE batches SET hash = 'x' WHERE seq = 5",
        "DELETE FROM meta WHERE key = 'tier'",
    ],
)
def test_a_backup_that_does_not_agree_with_itself_is_refused(scene: Scene, statement: str) -> None:
    """SQLite has no checksums; the log has."""
    scene.change(statement)
    scene.refused(scene.file, r"damaged|of an unknown kind")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE orders SET total = 1 WHERE order_id = 2",
        "DELETE FROM orders WHERE order_id = 2",
        "INSERT INTO orders SELECT 9, op_id, at, total, basket, lines FROM orders WHERE order_id = 2",
        "UPDATE marks SET value = 9 WHERE name = 'last_order_id'",
    ],
)
def test_orders_that_do_not_agree_with_their_log_are_refused(scene: Scene, statement: str) -> None:
    scene.file = scene.backup("orders.sqlite", "order", 4)
    scene.change(statement)
    with pytest.raises(CannotRestore, match="damaged"):
        scene.restore(scene.file, "order-0")


def test_a_damaged_page_is_found(scene: Scene) -> None:
    content = bytearray(scene.file.read_bytes())
    content[-4096:] = b"\xff" * 4096
    scene.file.write_bytes(content)
    scene.refused(scene.file, "damaged|malformed")


def test_a_database_in_use_is_refused(scene: Scene, tmp_path: Path) -> None:
    """What is copied while it is written may be neither old nor new."""
    live = tmp_path / "live.sqlite"
    store = inline_store(live, "catalog")
    scene.refused(live, "of a running node: have it make a backup with `pygmy backup`")
    now_of(store.close())
    assert scene.restore(live).note.head == (0, 0)


def test_a_running_node_is_left_alone(scene: Scene) -> None:
    lock = PidFile(scene.home / "twistd.pid")
    before = scene.contents()
    with pytest.raises(AlreadyRunning, match="catalog-0 is already running"):
        scene.restore()
    assert scene.contents() == before
    lock.release()
    scene.restore()


@pytest.mark.parametrize("where", ["voter.db", "catalog.sqlite"])
def test_another_clusters_backup_is_refused(scene: Scene, where: str) -> None:
    if where == "voter.db":
        scene.set_charter("ours")
    else:
        scene.set_meta(scene.database, "cluster_id", "ours")
    scene.refused(scene.file, "belongs to no cluster; this node belongs to cluster ours")
    scene.set_meta(scene.file, "cluster_id", "theirs")
    scene.refused(scene.file, "belongs to cluster theirs; this node belongs to cluster ours")
    scene.set_meta(scene.file, "cluster_id", "ours")
    scene.restore()
    assert meta(scene.database)["cluster_id"] == "ours"


def test_the_vote_knows_better_than_the_database_which_cluster_this_is(scene: Scene) -> None:
    scene.set_charter("ours")
    scene.set_meta(scene.database, "cluster_id", "theirs")
    scene.set_meta(scene.file, "cluster_id", "ours")
    scene.restore()


# ---- a crash on the way


def test_a_crash_at_any_moment_leaves_the_old_database_whole_somewhere(tmp_path: Path) -> None:
    """And in the node's place a whole one or none: one without its write-ahead log would pose as a member."""
    places = set()
    for calls in range(40):
        scene = Scene(tmp_path / str(calls) / "data")
        killed(scene.database, 12)
        through = crash_after(calls, {os: ("link", "unlink", "replace", "mkdir")}, scene.restore)
        where = scene.home / ASIDE
        if not scene.database.exists():
            place = "nothing"
        elif "backup" in meta(scene.database):
            place = "new"
            assert proven(scene.database) == 5
        else:
            place = "old"
            assert proven(scene.database) == 12
        places.add(place)
        if place != "old":
            assert proven(where / "catalog.sqlite") == 12
        if where.exists():
            where.rename(scene.home / "first try")
        scene.restore()
        assert proven(scene.database) == 5
        assert boot_of(scene.database).member is False
        if through:
            break
    assert through
    assert places == {"old", "nothing", "new"}


def test_an_error_on_the_way_says_where_the_old_one_is(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(draft: Path, final: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(restoring, "settle", full)
        with pytest.raises(CannotRestore, match=rf"No space left on device\. Try again\. .* is in .*{ASIDE}\."):
            scene.restore()
    assert proven(scene.home / ASIDE / "catalog.sqlite") == 9
    member(scene.database, "catalog", 1)
    scene.refused(scene.file, "there already")
