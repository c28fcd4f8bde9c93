"""Backups of a real store: made while customers buy, restored to a node that then fetches only what came after."""

import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from click.testing import CliRunner, Result

from pygmy.backups import existing
from pygmy.cli.main import main
from pygmy.cluster import Role
from tests.support.processes import ENVIRONMENT, Crowd, Processes, processes, until
from tests.test_backup import proven

SYNC = r"sync from (\S+) \(RUNNING\): (\d+) batches"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    with processes(tmp_path_factory.mktemp("store")) as store:
        yield store


@pytest.fixture
def store(shared: Processes) -> Processes:
    shared.whole()
    return shared


def buy(store: Processes) -> int:
    """One sale, which is a batch of its own in each tier; the order's number."""

    def bought(key: str = f"k-{uuid4()}") -> int | None:
        reply = store.post("frontend-0", "/books/1", headers={"Idempotency-Key": key})
        return reply.json["OrderId"] if reply.status == 200 else None

    return int(until(bought, "a sale", store.hints))


def back_up(store: Processes, name: str) -> Any:
    reply = store.post(name, "/backup", headers=store.admin)
    assert reply.status == 201, reply
    return reply.json


def pygmy(store: Processes, *arguments: str) -> Result:
    places = ["--cluster", str(store.file), "--data", str(store.data)]
    return CliRunner().invoke(main, [*arguments, *places], catch_exceptions=False)


def restored(store: Processes, name: str, file: str) -> None:
    result = pygmy(store, "restore", name, file)
    assert result.exit_code == 0, result.stderr


def head(store: Processes, name: str) -> int:
    return int(store.get(name, "/health").json["head"])


def fetched(store: Processes, name: str, since: int) -> int:
    """How many batches the node has fetched since that place of its log, once it is in the view again."""
    store.await_whole()
    store.wait_log(name, SYNC, since)  # its log may be written a moment later
    return sum(int(match[2]) for match in re.finditer(SYNC, store.log(name, since)))


@pytest.mark.parametrize(
    ("name", "source"), [("catalog-0", "catalog-0"), ("catalog-1", "catalog-0"), ("order-0", "order-1")]
)
def test_a_restored_replica_fetches_only_what_came_after_its_backup(store: Processes, name: str, source: str) -> None:
    for _ in range(5):
        buy(store)
    made = back_up(store, source)
    assert proven(Path(made["file"])) == made["head"]
    for _ in range(3):
        buy(store)
    assert store.stop(name) in (0, -15)
    vote = (store.data / name / "voter.db").read_bytes()
    restored(store, name, made["file"])
    assert (store.data / name / "voter.db").read_bytes() == vote
    for _ in range(2):
        buy(store)
    other = next(node.name for node in store.cluster.tier(store.node(name).role) if node.name != name)
    missed, since = head(store, other) - made["head"], store.mark(name)
    store.start(name)
    got = fetched(store, name, since)
    assert missed <= got <= head(store, name) - made["head"]  # the reconciler writes, too
    assert got < made["head"]
    buy(store)
    for role in (Role.CATALOG, Role.ORDER):
        store.tables_agree(role)
    assert store.count(1) == 1200 - len(store.orders())


def test_a_restored_source_is_none_when_the_whole_tier_starts_again(store: Processes) -> None:
    """By its name in the view it is one, and would lead: without what was sold after its backup."""
    made = back_up(store, "catalog-0")
    for _ in range(3):
        buy(store)
    store.kill9("catalog-0", "catalog-1")
    restored(store, "catalog-0", made["file"])
    since = store.mark("catalog-0")
    store.start("catalog-0", "catalog-1")
    assert fetched(store, "catalog-0", since) == head(store, "catalog-0") - made["head"]
    store.tables_agree(Role.CATALOG)
    assert store.count(1) == 1200 - len(store.orders())


def test_selling_goes_on_while_backups_are_made_and_each_is_of_one_moment(store: Processes) -> None:
    def customer() -> int:
        return buy(store)

    files: list[str] = []
    with Crowd([customer] * 4) as crowd:
        for _ in range(8):
            crowd.reaches(5)
            files += [back_up(store, name)["file"] for name in ("catalog-0", "order-1")]
        crowd.stop()
    kept = existing(store.data / "catalog-0" / "backups", "catalog-0")
    assert len(kept) == 7
    for file in filter(os.path.exists, files):
        proven(Path(file))
    for role in (Role.CATALOG, Role.ORDER):
        store.tables_agree(role)


def test_pygmy_backup_asks_every_replica_for_one(store: Processes) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pygmy", "backup", "--cluster", str(store.file), "--data", str(store.data)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    files = [line.split()[1] for line in done.stdout.splitlines()]
    assert [Path(file).parents[1].name for file in files] == ["catalog-0", "catalog-1", "order-0", "order-1"]
    for file in files:
        with closing(sqlite3.connect(file)) as connection:
            assert connection.execute("SELECT value FROM meta WHERE key = 'member'").fetchone() == (0,)


def test_a_schedule_makes_backups_by_itself(store: Processes) -> None:
    assert store.stop("order-1") in (0, -15)
    home = store.data / "order-1" / "backups"
    store.adopt("order-1", store.launch("order-1", "--backup-hours", "0.0003", "--backups", "2"))
    store.wait_running("order-1")
    before = existing(home, "order-1")

    def newer() -> bool:
        buy(store)
        now = existing(home, "order-1")
        return len(now) == 2 and not set(now) & set(before)

    until(newer, "two new backups", store.hints)
    proven(existing(home, "order-1")[-1].path)


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong-wrong-wrong-wrong"}])
def test_nobody_else_can_have_backups_made(store: Processes, headers: dict[str, str]) -> None:
    for name in ("catalog-0", "order-0"):
        assert store.post(name, "/backup", headers=headers).status in (401, 403)
    assert store.post("frontend-0", "/backup", headers=dict(store.admin)).status == 404


def test_a_running_node_is_not_restored(store: Processes) -> None:
    made = back_up(store, "catalog-0")
    result = pygmy(store, "restore", "catalog-0", made["file"])
    assert (result.exit_code, "catalog-0 is already running" in result.stderr) == (1, True)
    live = str(store.data / "catalog-1" / "catalog.sqlite")
    assert store.stop("catalog-0") in (0, -15)
    result = pygmy(store, "restore", "catalog-0", live)
    assert (result.exit_code, "of a running node" in result.stderr) == (1, True)
    buy(store)
