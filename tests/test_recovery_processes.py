"""Real nodes that lose disks, get foreign ones, or find no majority: what they say, and that nothing is lost."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pygmy.cluster import Role
from tests.support.processes import Processes, processes, until
from tests.support.processes import pygmy as processes_pygmy

DATABASES = {"catalog": "catalog.sqlite", "order": "order.sqlite"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Processes]:
    """Five nodes without caches."""
    with processes(tmp_path, cache=False) as store:
        yield store


def pygmy(store: Processes, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """A command about this very store, to its end."""
    return processes_pygmy(store.directory, *arguments, "--cluster", str(store.file), "--data", str(store.data))


def buys(store: Processes, count: int) -> None:
    for _ in range(count):
        until(lambda: store.post("frontend-0", "/books/1").status == 200, "a buy", store.hints)


def stock(store: Processes, name: str) -> int:
    return int(until(lambda: store.get(name, "/books/1").json.get("count"), "a look-up", store.hints))


def says(store: Processes, name: str, words: str) -> None:
    """Wait until the node's health has these words in its message."""

    def look() -> bool:
        return words in store.get(name, "/health").json["message"]

    until(look, f"{name}: {words}", store.hints)


def files(store: Processes, name: str) -> list[Path]:
    """The replica's database: three files while it is open, or was not closed."""
    return sorted((store.data / name).glob(DATABASES[name.partition("-")[0]] + "*[!k]"))


def last_words(store: Processes, name: str, code: int) -> str:
    assert store.ended(name) == code
    return store.log(name).splitlines()[-1] + store.errors(name)


# ---- files that are not the node's own


def test_an_older_copy_of_its_own_file_makes_a_node_a_learner(store: Processes, tmp_path: Path) -> None:
    """Started as the source that its name is, it would have the tier forget what was sold since."""
    store.stop("catalog-0")
    older = tmp_path / "older"
    shutil.copytree(store.data / "catalog-0", older)
    store.start("catalog-0")
    store.await_whole()
    buys(store, 3)
    store.kill9("catalog-0", "catalog-1")
    for file in files(store, "catalog-0"):
        file.unlink()
    for file in older.glob("catalog.sqlite*"):
        shutil.copy(file, store.data / "catalog-0")
    store.start("catalog-0")
    store.wait_log("catalog-0", "it starts as a learner")
    says(store, "catalog-0", "waits for catalog-1")
    assert store.get("catalog-0", "/books/1").status == 503
    store.start("catalog-1")
    store.await_whole()
    assert (stock(store, "catalog-0"), stock(store, "catalog-1")) == (1197, 1197)
    store.tables_agree(Role.CATALOG)


def test_the_file_of_another_node_is_refused(store: Processes) -> None:
    store.kill9("catalog-0", "catalog-1")
    for file in files(store, "catalog-1"):
        shutil.copy(file, store.data / "catalog-0")
    store.start("catalog-0")
    assert "is the database of catalog-1, not of catalog-0" in last_words(store, "catalog-0", 1)


def test_the_vote_of_another_node_is_refused(store: Processes) -> None:
    store.kill9("frontend-0", "order-0")
    for file in (store.data / "order-0").glob("voter.db*"):
        shutil.copy(file, store.data / "frontend-0")
    store.start("frontend-0")
    assert "is the database of order-0, not of frontend-0" in last_words(store, "frontend-0", 1)


def test_a_node_of_another_cluster_is_refused(store: Processes, tmp_path: Path) -> None:
    """Its replica's file says one cluster, its vote another."""
    elsewhere = tmp_path / "other"
    elsewhere.mkdir()
    with processes(elsewhere, cache=False) as other:
        other.stop("catalog-0")
        store.stop("catalog-0")
        for file in (other.data / "catalog-0").glob("voter.db*"):
            shutil.copy(file, store.data / "catalog-0")
    store.start("catalog-0")
    assert "the replica's data is of cluster" in last_words(store, "catalog-0", 1)


def test_a_node_with_another_list_of_nodes_is_refused(store: Processes) -> None:
    store.kill9("frontend-0")
    first, second, third = store.file.read_text().splitlines()
    store.file.write_text(f"{first}\n{second}, localhost:1\n{third}\n")
    store.start("frontend-0")
    words = last_words(store, "frontend-0", 1)
    assert "the cluster file lists" in words
    assert "fixed at birth" in words


# ---- no majority, no source


def test_without_a_majority_the_store_says_so_and_recovers_by_itself(store: Processes) -> None:
    """Of five nodes three are gone. The catalog that is left cannot know that it is alone."""
    buys(store, 1)
    store.kill9("catalog-1", "order-0", "order-1")
    says(store, "catalog-0", "No majority of the nodes answers (only 2 of 5)")

    def told() -> bool:
        reply = store.get("frontend-0", "/books/1")
        return reply.status == 503 and "No majority" in reply.json["detail"]

    until(told, "a 503 that names the reason", store.hints)
    store.start("order-0", "order-1")
    store.wait_running("catalog-0", "order-0", "order-1")
    buys(store, 1)
    store.whole()
    assert stock(store, "catalog-1") == 1198


def test_a_tier_whose_last_source_is_lost_goes_on_when_its_operator_says_so(store: Processes) -> None:
    buys(store, 1)
    store.kill9("catalog-0")
    buys(store, 2)
    store.kill9("catalog-1")
    for file in (store.data / "catalog-1").iterdir():
        if file.name != "twistd.pid":
            file.unlink()
    store.start("catalog-0")
    says(store, "catalog-0", "waits for catalog-1")
    until(
        lambda: "waits for catalog-1" in store.get("frontend-0", "/books/1").json.get("detail", ""),
        "a 503 that names the source",
        store.hints,
    )
    asked = pygmy(store, "force-view", "catalog-0")
    assert asked.returncode == 1, asked
    assert "acknowledged after batch 2 of catalog-0" in asked.stderr
    assert "Go on from catalog-0, without catalog-1?" in asked.stderr
    assert store.get("catalog-0", "/health").json["state"] == "INIT", "it must ask first"
    forced = pygmy(store, "force-view", "catalog-0", "--yes")
    assert forced.returncode == 0, forced
    assert "recorded in the tier's log" in forced.stdout
    assert stock(store, "catalog-0") == 1199
    again = pygmy(store, "force-view", "catalog-0", "--yes")
    assert again.returncode == 1
    assert "there is nothing to force" in again.stderr
    store.start("catalog-1")
    store.await_whole()
    buys(store, 1)
    store.tables_agree(Role.CATALOG)
    log = store.get("catalog-1", "/log", store.admin).body
    assert b'"type":"forced"' in log
    assert b'"lost":["catalog-1"]' in log


def test_nothing_is_forced_on_a_front_end_or_an_unknown_node(store: Processes) -> None:
    for name, words in (("frontend-0", "keeps no copy"), ("catalog-7", "There is no node"), ("all", "One node")):
        refused = pygmy(store, "force-view", name, "--yes")
        assert refused.returncode == 2
        assert words in refused.stderr
