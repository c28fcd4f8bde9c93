"""The audit of nodes as they run: what GET /log shows, to whom, and what is made of it."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from pygmy.audit import StoreAudit, Verdict
from pygmy.cli.auditing import audit_urls
from pygmy.cli.client import StoreClient
from pygmy.messages.replication import Batch
from tests.support.cluster import ADMIN, MEMBER, MemoryCluster
from tests.support.copies import snapshot
from tests.support.processes import ENVIRONMENT, Processes, processes
from tests.support.shop import SECRETS

Opens = Callable[..., MemoryCluster]
EVERYTHING = "http://localhost:5002"


@pytest.fixture
def opens() -> Iterator[Opens]:
    made: list[MemoryCluster] = []

    def open_one(*args: Any, **options: Any) -> MemoryCluster:
        made.append(MemoryCluster(*args, **options))
        return made[-1]

    yield open_one
    for cluster in made:
        cluster.close()


def log_of(cluster: MemoryCluster, name: str, query: str = "") -> list[Batch]:
    answer = cluster.get(name, f"/log{query}", MEMBER)
    assert answer.status == 200, answer
    return msgspec.json.Decoder(Batch).decode_lines(answer.body)


def start_audit(
    cluster: MemoryCluster, *urls: str, secret: str = SECRETS.cluster, rows: bool = True
) -> tuple[list[Any], StoreAudit]:
    """An audit under way, and what it has ended with."""
    audit = StoreAudit()
    clock: Any = cluster.clock
    client: Any = cluster.client
    store = StoreClient(client, EVERYTHING, clock, 5.0, lambda: secret)
    ended: list[Any] = []
    work = audit_urls(store, audit, urls or (EVERYTHING,), rows, lambda name, seq, newest: None)
    Deferred.fromCoroutine(work).addBoth(ended.append)
    return ended, audit


def audited(cluster: MemoryCluster, *urls: str, **options: Any) -> Verdict:
    ended, audit = start_audit(cluster, *urls, **options)
    with closing(audit):
        cluster.until(lambda: ended, "the audit")
        if isinstance(ended[0], Failure):
            ended[0].raiseException()
        return audit.verdict()


# ---- GET /log


def test_the_log_is_shown_as_it_is_stored_page_by_page(opens: Opens) -> None:
    cluster = opens()
    for _ in range(5):
        cluster.buy()
    for name in ("catalog-0", "catalog-1", "order-0", "order-1"):
        whole = log_of(cluster, name)
        assert [batch.seq for batch in whole] == list(range(1, len(whole) + 1))
        assert len(whole) >= 5
        stored: list[Any] = []
        cluster.nodes[name].store.batches(1, 1000, 1 << 30).addBoth(stored.append)
        cluster.until(lambda stored=stored: stored, "the stored batches")  # type: ignore[misc]
        assert list(stored[0]) == whole
        assert log_of(cluster, name, "?after=2&limit=2") == whole[2:4]
        assert log_of(cluster, name, f"?after={len(whole)}") == []
        assert log_of(cluster, name, "?after=9223372036854775806") == []
    assert log_of(cluster, "catalog-0") == log_of(cluster, "catalog-1")


def test_the_log_is_for_members_and_admins(opens: Opens) -> None:
    cluster = opens(catalogs=1, orders=1)
    for name in ("catalog-0", "order-0"):
        assert cluster.get(name, "/log").status == 401
        assert cluster.get(name, "/log", {"Authorization": "Bearer not-the-secret-at-all"}).status == 403
        assert cluster.get(name, "/log", ADMIN).status == 200
        assert cluster.get(name, "/log", MEMBER).headers["content-type"] == "application/x-ndjson"
    assert cluster.get("frontend-0", "/log", MEMBER).status == 404


@pytest.mark.parametrize(
    "query",
    [
        "?limit=0",
        "?limit=1001",
        "?after=-1",
        "?after=x",
        "?after=9223372036854775807",
        "?from=1",
        "?after=1&after=2",
    ],
)
def test_a_page_of_the_log_is_bounded(opens: Opens, query: str) -> None:
    cluster = opens(catalogs=1, orders=1)
    answer = cluster.get("catalog-0", f"/log{query}", MEMBER)
    assert answer.status == 400
    assert any(f"`{name}`" in answer.json["detail"] for name in ("limit", "after", "from"))


def test_a_batch_that_is_not_committed_is_not_shown(opens: Opens) -> None:
    """It may yet be dropped, and nobody has been told of it."""
    cluster = opens(catalogs=2, orders=1)
    cluster.buy()
    cluster.advance(0.1)  # by then both know that it is committed
    before = log_of(cluster, "catalog-0")
    cluster.cut("catalog-0", "catalog-1")
    holder = next(name for name in ("catalog-0", "catalog-1") if cluster.nodes[name].driver.replica.owner == name)
    cluster.start_request(holder, "PATCH", "/books/1", {"count": 5}, ADMIN)
    driver = cluster.nodes[holder].driver
    cluster.until(lambda: driver.condition().head[1] > before[-1].seq, "a tentative batch")
    assert log_of(cluster, holder) == before


def test_a_node_that_does_not_serve_shows_no_log(opens: Opens) -> None:
    cluster = opens(catalogs=2, orders=1)
    cluster.kill("catalog-0", "catalog-1")
    cluster.boot("catalog-1")
    assert cluster.get("catalog-1", "/log", MEMBER).status == 503  # it opens its database
    cluster.until(lambda: cluster.nodes["catalog-1"].driver is not None, "an open database")
    answer = cluster.get("catalog-1", "/log", MEMBER)
    assert answer.status == 503
    assert answer.headers["retry-after"] == "1"


# ---- the audit


def test_a_front_end_leads_to_every_replica(opens: Opens) -> None:
    cluster = opens()
    for item in (1, 2, 1):
        cluster.buy(item, quantity=2)
    verdict = audited(cluster)
    assert verdict.sound
    assert verdict.unaudited == ()
    assert [report.name for report in verdict.copies] == ["order-0", "order-1", "catalog-0", "catalog-1"]
    assert all(report.rows for report in verdict.copies)
    assert verdict.copies[0].figures.orders == 3
    assert verdict.copies[2].figures.sold == 6
    assert "every order has its sale" in verdict.remarks


def test_one_node_by_its_url(opens: Opens) -> None:
    cluster = opens()
    cluster.buy()
    verdict = audited(cluster, "http://localhost:5003")
    assert (verdict.sound, [report.name for report in verdict.copies]) == (True, ["catalog-1"])


def test_a_log_of_several_pages(opens: Opens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pygmy.cli.auditing.PAGE", 2)
    cluster = opens(catalogs=1, orders=1)
    for _ in range(7):
        cluster.buy()
    verdict = audited(cluster)
    assert verdict.sound
    assert {report.name: report.batches >= 7 for report in verdict.copies} == {"order-0": True, "catalog-0": True}
    assert all(report.rows for report in verdict.copies)


def test_with_the_admin_token_alone_the_rows_are_not_looked_at(opens: Opens) -> None:
    cluster = opens(catalogs=1, orders=1)
    cluster.buy()
    verdict = audited(cluster, secret=SECRETS.admin, rows=False)
    assert verdict.sound
    assert [report.rows for report in verdict.copies] == [False, False]
    assert "only the cluster secret shows them" in verdict.copies[0].remarks[0]


def test_a_row_that_a_node_holds_wrongly(opens: Opens) -> None:
    cluster = opens(catalogs=2, orders=1)
    cluster.buy()
    shelves = cluster.nodes["catalog-1"].driver._stock.shelves
    shelves.place(1, msgspec.structs.replace(shelves.book(1), count=1))
    verdict = audited(cluster)
    reports = {report.name: report for report in verdict.copies}
    assert (reports["catalog-0"].sound, reports["catalog-1"].sound) == (True, False)
    assert "by the log it is Book(item=1" in reports["catalog-1"].findings[0].what


def test_rows_that_run_ahead_of_the_log_are_waited_for(opens: Opens) -> None:
    """They show a batch before it is committed; the audit compares them once the log has it, too."""
    cluster = opens(catalogs=2, orders=1)
    cluster.buy()
    cluster.cut("catalog-0", "catalog-1")
    holder = next(name for name in ("catalog-0", "catalog-1") if cluster.nodes[name].driver.replica.owner == name)
    node = cluster.nodes[holder]
    cluster.start_request(holder, "PATCH", "/books/1", {"count": 5}, ADMIN)
    seq = node.driver.condition().head[1] + 1
    cluster.until(lambda: node.driver.condition().head[1] == seq, "a tentative batch")
    ended, audit = start_audit(cluster, node.node.url)
    with closing(audit):
        cluster.advance(0.15)
        assert not ended
        cluster.mend()
        cluster.until(lambda: ended, "the audit")
        (report,) = audit.verdict().copies
    assert (report.sound, report.rows, report.head[1]) == (True, True, seq)


def test_a_node_that_is_down_is_named_and_the_others_are_audited(opens: Opens) -> None:
    cluster = opens()
    cluster.buy()
    cluster.kill("order-1")
    verdict = audited(cluster)
    assert verdict.sound
    assert [report.name for report in verdict.copies] == ["order-0", "catalog-0", "catalog-1"]
    (missing,) = verdict.unaudited
    assert missing.name == "http://localhost:5004"
    assert "There is no store at" in missing.why


def test_a_wrong_secret_is_told(opens: Opens) -> None:
    verdict = audited(opens(catalogs=1, orders=1), secret="not-the-secret-at-all")
    assert verdict.copies == ()
    assert {one.name for one in verdict.unaudited} == {"catalog-0", "order-0"}
    assert "does not hold" in verdict.unaudited[0].why


# ---- real processes


def run(store: Processes, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pygmy", "audit", "--data", str(store.data), *map(str, arguments)]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False)


def test_a_store_of_processes_is_audited_as_it_runs_and_after_it_was_killed(tmp_path: Path) -> None:
    with processes(tmp_path) as store:
        for item in (1, 2, 3, 1):
            assert store.post("frontend-0", f"/books/{item}", {"quantity": 2}).status == 200
        running = run(store, store.node("frontend-0").url)
        assert running.returncode == 0, running.stdout + running.stderr
        lines = running.stdout.splitlines()
        assert [line.partition(": ")[0] for line in lines[:4]] == ["order-0", "order-1", "catalog-0", "catalog-1"]
        assert all(": sound: " in line for line in lines[:4])
        assert "8 sold" in lines[2]
        secret = store.data / "cluster.secret"
        secret.rename(secret.with_suffix(".aside"))
        admins = run(store, store.node("frontend-0").url)  # with DIR/admin.token
        secret.with_suffix(".aside").rename(secret)
        assert admins.returncode == 0, admins.stdout + admins.stderr
        assert admins.stdout.count("only the cluster secret shows them") == 4
        files = run(store, store.data)
        assert files.returncode == 2
        assert files.stderr.count("is in use by process") == 4
        store.kill9(*[node.name for node in store.cluster.nodes])
        before = snapshot(store.data)
        killed = run(store, store.data)
        assert killed.returncode == 0, killed.stdout + killed.stderr
        assert killed.stdout.splitlines()[:2] == lines[2:4]
        assert killed.stdout.count(": 2 copies of one log") == 2
        assert killed.stdout.count(" 4 orders, 230.00 in all") == 2  # the mark of the reconciler may have come since
        assert snapshot(store.data) == before
