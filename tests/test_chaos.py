"""Faults on real processes, with clients throughout: whatever was told to them is judged by the checker.

PYGMY_CHAOS_SECONDS says for how long (120).  `python -m tests.chaos` does the same for hours.
"""

import itertools
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from pygmy.checker.__main__ import main as check_file
from pygmy.cluster import parse_cluster
from pygmy.drill.answers import book_of, order_of, outcome_of, request_of
from pygmy.drill.harvest import Copy, compare
from pygmy.messages.operations import (
    AddBook,
    Book,
    ChangeBook,
    Line,
    NewBook,
    Operation,
    Order,
    OrderLine,
    Sell,
    Short,
    SoldOut,
)
from pygmy.messages.replication import Batch
from pygmy.routes.outcomes import out_of_stock
from pygmy.web.contract import BasketBody, BuyBody, ChangeBody, NewBookBody, book_body, etag, order_body
from pygmy.web.numbers import exact, from_number
from tests.chaos.gaps import gaps_after, longest_gap, percentile
from tests.chaos.run import Report, Settings, run
from tests.chaos.schedule import KINDS, Fault, schedule
from tests.support.processes import LONGEST, PROJECT, Reply, until

SECONDS = float(os.environ.get("PYGMY_CHAOS_SECONDS", "120"))
SIX = parse_cluster("localhost, localhost\nlocalhost, localhost\nlocalhost, localhost\n")


def say(text: str) -> None:
    print(text, file=sys.stderr)


# ---- chaos


def test_faults_of_all_kinds_break_no_promise(tmp_path: Path) -> None:
    """And once they are over the store is whole within 30 s, and serves through each front end."""
    report = run(tmp_path, Settings(SECONDS), say)
    assert report.ok, report.summary
    assert report.acknowledged > 2 * SECONDS, report.summary
    assert check_file(["--quiet", str(report.history)]) == 0


def broken(directory: Path, bug: str, frontends: int, *plan: Fault) -> Report:
    """What comes of nodes with this bug."""
    settings = Settings(plan[-1].end + 1.0, catalogs=1, orders=1, frontends=frontends, patience=8.0, bug=bug)
    report = run(directory, settings, say, plan)
    assert not report.ok, report.summary
    return report


def test_the_alarm_works_stale_answers_of_a_front_end_that_ignores_its_leases(tmp_path: Path) -> None:
    # It hears of no invalidation, while the other front end sells.
    plan = [Fault(at, at + 3.0, "oneway", pairs=(("catalog-0", "frontend-0"),), way="cut") for at in (2, 6)]
    report = broken(tmp_path, "leases_ignored", 2, *plan)
    assert any("is older than" in problem for problem in report.problems), report.summary
    assert check_file(["--quiet", str(report.history)]) == 1


def test_the_alarm_works_a_power_cut_takes_what_was_acknowledged_before_its_commit(tmp_path: Path) -> None:
    # A cut finds nothing to lose in a store that has not opened again since the last one: on a busy machine some do.
    plan = [Fault(at, at + 0.5, "power", ("catalog-0", "order-0", "frontend-0")) for at in (3, 9, 15)]
    report = broken(tmp_path, "ack_before_commit", 1, *plan)
    assert any("but is in no log" in problem for problem in report.problems), report.summary


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_no_process_is_left_however_it_ends(tmp_path: Path, end: signal.Signals) -> None:
    command = [sys.executable, "-m", "tests.chaos", "--minutes", "5", "--faults", "pause", "--keep", str(tmp_path)]
    with subprocess.Popen(command, cwd=PROJECT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as harness:
        try:
            assert harness.stderr is not None
            while "acknowledged" not in (line := harness.stderr.readline().decode()):
                assert line, "it ended before it had begun"
            assert len(processes_of(tmp_path)) == 7
            harness.send_signal(end)
            harness.communicate(timeout=LONGEST)
        finally:
            harness.kill()
    until(lambda: not processes_of(tmp_path), "no process")


def processes_of(directory: Path) -> list[str]:
    """The command lines that name this directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if str(directory) in command:
            found.append(command)
    return found


# ---- the schedule


def test_a_schedule_is_a_pure_function_of_its_seed() -> None:
    def plan(seed: int) -> list[Fault]:
        return schedule(seed, 600.0, KINDS, SIX)

    assert plan(7) == plan(7)
    assert plan(7) != plan(8)


def test_two_minutes_by_the_default_seed_have_every_kind_of_fault_and_overlaps() -> None:
    plan = schedule(Settings().seed, 120.0, KINDS, SIX)
    assert set(Counter(fault.kind for fault in plan)) == set(KINDS)
    assert any(second.at < first.end for first, second in itertools.pairwise(plan))


def test_a_schedule_has_the_kinds_of_faults_that_were_asked_for() -> None:
    assert {fault.kind for fault in schedule(1, 600.0, ("stop", "slow"), SIX)} == {"stop", "slow"}


# ---- what is said over HTTP


def as_reply(status: int, body: object, **headers: str) -> Reply:
    return Reply(status, headers, msgspec.json.encode(body))


ORDERS = [
    Order(3, "c:k", (OrderLine(1, 3, 1999),), 5997, 1_700_000_001_234),
    Order(4, "c:k", (OrderLine(1, 3, 1999), OrderLine(2, 1, 5)), 6002, 1_700_000_001_999, True),
]


@pytest.mark.parametrize("order", ORDERS, ids=["one book", "a basket"])
def test_an_order_is_read_as_the_store_writes_it_but_for_what_it_does_not_tell(order: Order) -> None:
    assert order_of(as_reply(200, order_body(order)).json) == replace(order, op_id="", at=1_700_000_001_000)


def test_a_book_is_read_as_the_store_writes_it() -> None:
    book = Book(5, "a", "t", 1999, 3, 2, 17)
    assert book_of(as_reply(200, book_body(book), etag=etag(book))) == book
    assert book_of(as_reply(404, {})) is None


@pytest.mark.parametrize("short", [(Short(1, 0),), (Short(1, 0), Short(2, 5))])
def test_a_refusal_is_read_as_the_store_writes_it(short: tuple[Short, ...]) -> None:
    problem = out_of_stock(SoldOut(short))
    body = {"type": "urn:pygmy:problem:out-of-stock", **problem.extra}
    assert outcome_of(Sell((Line(1, 1),)), as_reply(409, body)) == SoldOut(short)


def test_what_is_not_definite_is_no_outcome() -> None:
    body = {"type": "urn:pygmy:problem:outcome-unknown", "outcome_unknown": True}
    assert outcome_of(Sell((Line(1, 1),)), as_reply(503, body)) is None


@pytest.mark.parametrize(
    "operation",
    [
        Sell((Line(1, 2),)),
        Sell((Line(1, 2), Line(2, 1)), True),
        ChangeBook(1, increment=-3),
        ChangeBook(1, title="a", topic="b", cost=1999, count=4),
        AddBook(NewBook("a", "t", 1999, 4)),
    ],
    ids=lambda operation: type(operation).__name__,
)
def test_a_request_asks_for_just_what_the_history_says(operation: Operation) -> None:
    asked = request_of(operation)
    assert operation == understood(asked.method, asked.path, msgspec.json.encode(asked.body))


def understood(method: str, path: str, body: bytes) -> Operation:
    """As the servers' own types read it."""

    def read(kind: Any) -> Any:
        return msgspec.json.Decoder(kind, dec_hook=from_number, float_hook=exact).decode(body)

    item = int(path.rpartition("/")[2]) if path.startswith("/books/") else 0
    operation: Operation
    match method, path:
        case "POST", "/orders":
            operation = Sell(read(BasketBody).lines(), True)
        case "POST", "/books":
            operation = read(NewBookBody).operation()
        case "POST", _:
            operation = Sell((Line(item, read(BuyBody).quantity),))
        case _:
            assert method == "PATCH"
            operation = read(ChangeBody).operation(item)
    return operation


# ---- what is left in the end


def test_copies_that_differ_are_told() -> None:
    batches = tuple(Batch(1, seq, 1, (), f"h{seq}") for seq in (1, 2, 3))
    whole = Copy("catalog-0", "catalog", batches, (Book(1, "a", "t", 1, 1),), ())
    assert list(compare([whole, whole._replace(node="catalog-1")])) == []
    for other in (
        whole._replace(batches=batches[:2]),
        whole._replace(batches=(*batches[:2], replace(batches[2], hash="x"))),
    ):
        (problem,) = compare([whole, other])
        assert "differ from batch 3 on" in problem
    (problem,) = compare([whole, whole._replace(books=())])
    assert "rows" in problem


# ---- gaps


def test_gaps_are_measured_from_the_kill_to_the_next_fault() -> None:
    moments = [0.0, 1.0, 1.5, 4.0, 4.5, 9.0, 12.0, 30.0]
    assert gaps_after(moments, [1.25], []) == [4.5]
    assert gaps_after(moments, [1.25], [1.25, 4.25]) == [2.5]
    assert gaps_after(moments, [1.25], [1.25, 2.5]) == [1.0]
    assert gaps_after(moments, [10.0], []) == [18.0]
    assert gaps_after(moments, [31.0], []) == []
    assert longest_gap(moments, 1.25, 4.25) == 2.5
    assert longest_gap(moments, 1.0, 1.4) == 0.5


def test_percentiles_are_by_nearest_rank() -> None:
    values = [float(number) for number in range(1, 51)]
    assert [percentile(values, part) for part in (0.5, 0.99, 1.0)] == [25.0, 50.0, 50.0]
    assert percentile([3.0], 0.5) == 3.0
