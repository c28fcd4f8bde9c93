"""`pygmy bench`: its arithmetic, its schedule, what it reads and writes; and one tiny run on a real store."""

import json
import math
import random
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace

from pygmy.bench import loading, report, rivals, running, wrk
from pygmy.bench.comparing import compare, verdict
from pygmy.bench.desk import Desk
from pygmy.bench.floor import floors
from pygmy.bench.loading import divided
from pygmy.bench.loads import Load, Outcome, Taken, summed
from pygmy.bench.machine import disk
from pygmy.bench.measurements import ALL, turns
from pygmy.bench.measurements.balance import difference, shares_of
from pygmy.bench.measurements.memory import growth, mixed, put_down, resident
from pygmy.bench.measurements.zipf import zipf_requests
from pygmy.bench.measuring import Findings, Measurement
from pygmy.bench.results import FORMAT, BadResults, Curve, Measured, Plot, Ratio, Run, encode, load
from pygmy.bench.schedule import Schedule
from pygmy.bench.statistics import Zipf, percentile, percentiles, ratio
from pygmy.bench.stores import Metrics
from pygmy.bench.summary import lines_of, shown
from pygmy.bench.wire import BadAnswer, answer_to, request_bytes, whole_answer
from pygmy.cli.bench import choose
from pygmy.cli.main import main

LOAD = Load("127.0.0.1", 80, (("GET", "/books/1"), ("GET", "/books/2")), clients=3, seconds=2.0)


# ---- numbers


def test_percentiles_are_of_the_nearest_rank() -> None:
    values = [float(n) for n in range(1, 1001)]
    random.Random(1).shuffle(values)
    assert percentiles(values) == {50.0: 500.0, 90.0: 900.0, 99.0: 990.0, 99.9: 999.0}
    assert percentile([7.0], 99.9) == 7.0
    assert percentile([1.0, 2.0, 3.0], 0.0) == 1.0
    assert math.isnan(percentile([], 50.0))


def test_a_ratio_to_nothing_is_no_number() -> None:
    assert ratio(3.0, 2.0) == 1.5
    assert math.isnan(ratio(1.0, 0.0))
    assert math.isnan(ratio(math.nan, 1.0))


def test_zipf_draws_each_rank_as_often_as_its_law_says() -> None:
    law = Zipf(100, 1.0, random.Random(1))
    draws = [law.draw() for _ in range(20_000)]
    assert min(draws) == 1
    assert max(draws) <= 100
    assert law.share(100) == 1.0
    assert draws.count(1) / len(draws) == pytest.approx(law.share(1), abs=0.02)
    assert sum(rank <= 10 for rank in draws) / len(draws) == pytest.approx(law.share(10), abs=0.02)


def test_every_share_of_buys_meets_the_same_lookups() -> None:
    quiet, busy = (zipf_requests(100, 50, 1.0, share, 300) for share in (0.0, 0.5))
    assert len(quiet) == 300
    assert [one for one in busy if one[0] == "GET"] == list(quiet)
    assert 100 < len(busy) - 300 < 200
    assert {100 <= int(path.removeprefix("/books/")) < 150 for _, path in busy} == {True}


# ---- an open loop


def test_requests_are_due_at_even_distances_whatever_becomes_of_them() -> None:
    schedule = Schedule(10.0, 100.0, 100.5)
    schedule.pass_to(99.0)
    assert schedule.take() is None
    assert schedule.upcoming == 100.0
    schedule.pass_to(100.0)
    assert schedule.take() == 100.0
    assert schedule.take() is None
    assert schedule.upcoming == pytest.approx(100.1)


def test_what_a_stalled_server_kept_waiting_counts_from_when_it_was_due() -> None:
    """Else a store that stands still for a second would seem to have had one slow request."""
    schedule = Schedule(10.0, 0.0, 1.0)
    schedule.pass_to(5.0)
    assert schedule.waiting == pytest.approx([n / 10 for n in range(10)])
    assert not schedule.over
    assert [schedule.take() for _ in range(10)] == pytest.approx([n / 10 for n in range(10)])
    assert schedule.over


# ---- the wire


def test_an_answer_is_whole_when_its_body_is() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: x\r\nCONTENT-LENGTH: 3\r\n\r\nabc"
    for cut in range(len(answer)):
        assert whole_answer(answer[:cut]) is None
    assert whole_answer(answer + b"HTTP/1.1 404") == (200, len(answer), False)
    assert whole_answer(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n") == (204, 46, True)


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 200 OK\r\n\r\n", b"nonsense\r\n\r\n", b"HTTP/1.1 x\r\nContent-Length: y\r\n\r\n"]
)
def test_an_answer_of_unknown_length_is_refused(answer: bytes) -> None:
    with pytest.raises(BadAnswer):
        whole_answer(answer)


def test_a_request_without_a_body_says_so_when_it_may_have_one() -> None:
    assert request_bytes("h", 1, "GET", "/x") == b"GET /x HTTP/1.1\r\nHost: h:1\r\n\r\n"
    assert b"Content-Length: 0\r\n" in request_bytes("h", 1, "POST", "/x")
    assert request_bytes("h", 1, "GET", "/x", (("A", "b"),)) == b"GET /x HTTP/1.1\r\nHost: h:1\r\nA: b\r\n\r\n"


# ---- loads


def test_a_load_is_divided_among_processes_without_losing_anything() -> None:
    parts = divided(replace(LOAD, rate=30.0), 2)
    assert [part.clients for part in parts] == [2, 1]
    assert sum(part.rate or 0.0 for part in parts) == pytest.approx(30.0)
    assert {frozenset(part.requests) for part in parts} == {frozenset(LOAD.requests)}
    assert len(divided(LOAD, 8)) == LOAD.clients
    assert divided(replace(LOAD, count=10), 8) == [replace(LOAD, count=10)]


def test_the_outcome_of_several_processes_is_theirs_together() -> None:
    outcome = summed([Taken([0.1, 0.2], 2, 1, 2.0, 0.5, 0.0), Taken([0.3], 1, 0, 2.0, 0.95, 0.0)])
    assert outcome.throughput == 1.5
    assert outcome.latency[50.0] == 0.2
    assert "may be the bottleneck" in outcome.doubt
    assert "1 of 4 requests failed" in outcome.doubt
    assert replace(outcome, busy=0.2, errors=0).doubt == ""
    assert "late in sending" in replace(outcome, busy=0.2, errors=0, late=0.1).doubt


PRINTED = (
    "Running 1s test @ http://127.0.0.1:80\n  1 threads and 3 connections\n"
    'PYGMY {"requests":120,"microseconds":2000000,"status":10,"broken":2,'
    '"latency":{"50":1500,"90":2000,"99":5000,"99.9":9000}}\n'
)


def test_what_wrk_prints_is_read() -> None:
    outcome = wrk.outcome(PRINTED, 0.25)
    assert outcome.throughput == 55.0
    assert outcome.errors == 12
    assert outcome.latency == {50.0: 0.0015, 90.0: 0.002, 99.0: 0.005, 99.9: 0.009}
    assert outcome.by == "wrk"
    with pytest.raises(wrk.NoResult, match="unable to connect"):
        wrk.outcome("unable to connect to 127.0.0.1:80 Connection refused\n", 0.0)


def test_wrk_is_told_all_requests_and_makes_no_open_loop() -> None:
    script = wrk.script(replace(LOAD, requests=(("POST", '/a"b'), ("GET", "/c"))))
    assert '{"POST", "/a\\"b"}, {"GET", "/c"}' in script
    assert "one[2], {})" in script
    assert """{["If-None-Match"] = "\\"1-2\\""}""" in wrk.script(replace(LOAD, headers=(("If-None-Match", '"1-2"'),)))
    assert wrk.command(LOAD, "x.lua", 8)[:5] == ["wrk", "-t3", "-c3", "-d", "2s"]
    assert wrk.can_make(LOAD)
    assert not wrk.can_make(replace(LOAD, rate=1.0))
    assert not wrk.can_make(replace(LOAD, count=1))


# ---- what nodes and the machine tell


def test_metrics_are_summed_by_label() -> None:
    text = '# HELP x\npygmy_hits{cache="books"} 3.0\npygmy_hits{cache="lists"} 4.0\nprocess_memory_bytes 1e+06\n'
    metrics = Metrics(text)
    assert metrics.total("pygmy_hits") == 7.0
    assert metrics.total("pygmy_hits", cache="books") == 3.0
    assert metrics.by("cache", "pygmy_hits") == {"books": 3.0, "lists": 4.0}
    assert metrics.total("process_memory_bytes") == 1e6
    assert metrics.total("absent") == 0.0


def test_shares_of_replicas_are_of_what_came_in_between() -> None:
    before = {("frontend-0", "catalog-0"): 5.0}
    after = {("frontend-0", "catalog-0"): 35.0, ("frontend-0", "catalog-1"): 10.0, ("order-0", "catalog-1"): 9.0}
    assert shares_of(difference(before, after), "frontend-0", "catalog-") == {"0": 75.0, "1": 25.0}
    assert shares_of(difference(before, after), "order-", "catalog-") == {"1": 100.0}
    assert shares_of({}, "order-", "catalog-") == {}


def test_the_disk_is_that_of_the_innermost_mount(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/a / ext4 rw 0 0\n/dev/b {tmp_path} xfs rw 0 0\n/dev/c {tmp_path}/other ext2 rw 0 0\n")
    assert disk(tmp_path / "x", mounts) == f"{tmp_path / 'x'} on /dev/b (xfs)"


# ---- results


def run_of(latency: float, factor: float = 2.0, **more: object) -> Run:
    plot = Plot(
        "Latency <of> it", x="clients", y="ms", curves=(Curve("lookup", ((1, latency), (4, 5.0))),), better="lower"
    )
    measured = Measured(
        "cache", "With & without", "By looking.", (Ratio("that takes, of this", factor, "lower"),), (plot,)
    )
    return Run(
        FORMAT, "2026-01-02", False, (("cores", "2"), ("disk", "/dev/a")), "wrk 4.1.0", (), (measured,), **more
    )  # type: ignore[arg-type]


def test_results_come_back_from_their_file_and_their_folder(tmp_path: Path) -> None:
    run = run_of(1.0)
    report.write(run, tmp_path / "out")
    assert load(tmp_path / "out") == load(tmp_path / "out" / "results.json") == run


@pytest.mark.parametrize("text", ["", "{}", "[1]", "\udcff"])
def test_what_is_no_results_is_said_in_one_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "results.json"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(BadResults, match=r"expected the results\.json") as caught:
        load(file)
    assert "\n" not in str(caught.value)
    file.write_bytes(encode(replace(run_of(1.0), format=FORMAT + 1)))
    with pytest.raises(BadResults, match="format"):
        load(file)
    with pytest.raises(BadResults, match="No such file"):
        load(tmp_path / "absent")


def test_what_is_no_number_is_left_out_and_said() -> None:
    plot = Plot("P", curves=(Curve("c", ((1, math.nan), (2, 3.0))),))
    clean = running.finite(Measured("n", "t", "h", (Ratio("r", math.inf), Ratio("s", 1.0)), (plot,)))
    assert clean.ratios == (Ratio("s", 1.0),)
    assert clean.plots[0].curves[0].points == ((2, 3.0),)
    assert clean.warnings == (running.NO_NUMBER,)
    assert running.finite(clean) == clean


def test_a_comparison_knows_which_way_is_better() -> None:
    comparison = compare(run_of(1.0, 2.0), run_of(2.0, 1.0))
    found = {one.what: (one.change, one.verdict) for one in comparison.differences}
    assert found == {
        "that takes, of this": (0.5, "better"),
        "Latency <of> it: lookup, 1 clients": (2.0, "worse"),
        "Latency <of> it: lookup, 4 clients": (1.0, "same"),
    }
    assert verdict(2.0, "higher") == "better"
    assert verdict(0.5, "higher") == "worse"
    assert verdict(1.05, "higher") == "same"
    assert verdict(3.0, "") == ""


def test_a_comparison_says_what_is_not_alike() -> None:
    other = replace(run_of(1.0), quick=True, machine=(("cores", "2"), ("disk", "/dev/b")), measurements=())
    comparison = compare(run_of(1.0), other)
    assert comparison.only_a == ("cache",)
    assert not comparison.differences
    assert "one of them is a quick run" in comparison.notes
    assert "disk: /dev/a against /dev/b" in comparison.notes
    assert not compare(run_of(1.0), run_of(1.0)).notes


def test_the_page_has_the_ratios_first_and_everything_once(tmp_path: Path) -> None:
    run = replace(run_of(1.0), peers=(("flask-sqlite", ""), ("fastapi-postgresql", "there is no PostgreSQL")))
    failed = Measured(
        "zipf", "Hits", "By counting.", failed="OSError: no <room>", warnings=("the generator was busy",)
    )
    text = report.write(replace(run, measurements=(*run.measurements, failed)), tmp_path).read_text()
    assert text.index("2.00 x") < text.index("By looking.") < text.index("/dev/a")
    for shown_once in (
        "With &amp; without",
        "Latency &lt;of&gt; it",
        "no &lt;room&gt;",
        "the generator was busy",
        "there is no PostgreSQL",
    ):
        assert shown_once in text
    assert "<room>" not in text


def test_numbers_are_shown_with_three_digits_that_count() -> None:
    assert [shown(x) for x in (0, 0.1234, 1.234, 12.34, 1234.5)] == ["0", "0.123", "1.23", "12.3", "1,234"]
    assert lines_of(run_of(1.0).measurements[0])[1] == "    2.00 x  that takes, of this"


# ---- a run


def probe(work: object, name: str = "probe", anywhere: bool = False) -> Measurement:
    return Measurement(name, name, "By trying.", work, anywhere)  # type: ignore[arg-type]


def test_a_measurement_that_fails_says_why_and_the_next_is_taken() -> None:
    def breaks(desk: Desk, findings: Findings) -> None:
        findings.ratio("before", 1.0, 1.0)
        raise OSError("no store")

    def works(desk: Desk, findings: Findings) -> None:
        desk.warn("beware")
        desk.warn("beware")

    first, second = running.measure(Desk(), [probe(breaks), probe(works)]).measurements
    assert first.failed == "OSError: no store"
    assert [one.what for one in first.ratios] == ["before"]
    assert second.failed == ""
    assert second.warnings == ("beware",)


def test_an_interrupted_run_keeps_what_is_through() -> None:
    def works(desk: Desk, findings: Findings) -> None:
        pass

    def interrupted(desk: Desk, findings: Findings) -> None:
        raise KeyboardInterrupt

    with pytest.raises(running.Interrupted) as caught:
        running.measure(Desk(), [probe(works, "one"), probe(interrupted, "two"), probe(works, "three")])
    assert [one.name for one in caught.value.run.measurements] == ["one"]


def test_a_store_that_runs_is_not_measured_where_its_nodes_would_have_to_be_handled() -> None:
    desk = Desk(running=("127.0.0.1", 1))
    assert running.take(desk, probe(lambda *_: None)).failed == running.NOT_THERE
    assert running.take(desk, probe(lambda *_: None, anywhere=True)).failed == ""


def test_without_a_clone_there_are_no_peers(tmp_path: Path) -> None:
    with pytest.raises(rivals.CannotRun, match="come with a clone"):
        rivals.names(tmp_path / "start.py")


# ---- the command


def bench(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["bench", *arguments])


def test_measurements_are_listed_by_name() -> None:
    assert [line.split()[0] for line in bench("--list").stdout.splitlines()] == [one.name for one in ALL]
    assert len(ALL) == 11


def test_a_quick_run_leaves_out_what_takes_minutes_unless_it_is_named() -> None:
    assert [one.name for one in ALL if one not in choose((), quick=True)] == ["turns", "memory"]
    assert choose(()) == ALL
    assert [one.name for one in choose(("memory",), quick=True)] == ["memory"]


def test_of_a_store_that_runs_only_what_requests_can_tell_is_measured() -> None:
    assert [one.name for one in choose((), anywhere=True)] == ["miss", "throughput"]
    refused = bench("recovery", "--frontend-server", "localhost:1")
    assert refused.exit_code == 2
    assert "recovery needs a store of its own" in refused.stderr


def test_a_front_end_that_is_not_there_is_said_before_anything_is_done(tmp_path: Path) -> None:
    refused = bench("miss", "--frontend-server", "localhost:1", "--out", str(tmp_path / "out"))
    assert refused.exit_code == 2
    assert "No store answers at http://localhost:1" in refused.stderr
    assert not (tmp_path / "out").exists()


# ---- in turn


NOT_MODIFIED = b'HTTP/1.1 304 Not Modified\r\nETag: "1-2"\r\n\r\n'
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"


def test_the_floor_writes_a_fixed_answer_to_whatever_comes() -> None:
    with floors([OK, NOT_MODIFIED]) as ((host, port), (_, other)):
        assert answer_to(host, port, "GET", "/books/1") == OK
        assert answer_to(host, port, "BREW", "/", (("X", "y"),)) == OK
        assert answer_to(host, other, "GET", "/books/1") == NOT_MODIFIED
        outcome = loading.make(Load(host, other, (("GET", "/"),), clients=2, seconds=0.2), own=True)
    assert outcome.answered > 0
    assert outcome.errors == 0  # a 304 is a success
    with pytest.raises(ConnectionError):
        answer_to(host, port, "GET", "/")


def outcome_of(throughput: float) -> Outcome:
    return Outcome(round(throughput), 0, 1.0, {50.0: 0.001, 99.0: 0.002}, 0.1)


def test_stores_take_turns_and_no_place_is_the_better_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def closed(self: Desk, what: str, server: tuple[str, int], *load: object) -> Outcome:
        asked.append((server, load))
        return outcome_of(1.0)

    monkeypatch.setattr(Desk, "closed", closed)
    case = turns.Case("lookup", 3, LOAD.requests, {"Pygmy": ("a", 1), "other": ("b", 2)}, (("A", "b"),))
    found = turns.taken(Desk(), case)
    assert [server for server, _ in asked[:4]] == [("a", 1), ("b", 2), ("b", 2), ("a", 1)]
    assert {load for _, load in asked} == {(LOAD.requests, 3, 3.0, (("A", "b"),))}
    assert {name: len(outcomes) for name, outcomes in found.items()} == {"Pygmy": 5, "other": 5}


def test_a_ratio_in_turn_is_the_median_of_those_of_all_rounds() -> None:
    """The machine was slow in the second round, and for all: that must not show."""
    case = turns.Case("lookup", 3, LOAD.requests, {})
    rounds = {"Pygmy": (200.0, 20.0, 90.0), "other": (100.0, 10.0, 60.0)}
    findings = Findings()
    turns.put_down(findings, [(case, {name: list(map(outcome_of, those)) for name, those in rounds.items()})])
    (found,) = findings.ratios
    assert (found.what, found.value) == ("answers a second, lookup, 3 clients: Pygmy, against other", 2.0)
    assert findings.plots[0].bars[0].bars == (("Pygmy", 90.0), ("other", 60.0))
    assert findings.grids[0].rows == (
        ("lookup, 3 clients", "Pygmy", "90", "1.00", "2.00", ""),
        ("lookup, 3 clients", "other", "60", "1.00", "2.00", "2.00 (1.50 to 2.00)"),
    )


def test_a_tiny_real_run_in_turn_has_every_case_beside_its_floor(tmp_path: Path) -> None:
    result = bench("turns", "--quick", "--out", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    (measured,) = load(tmp_path / "out").measurements
    assert measured.failed == ""
    assert len(measured.plots) == 8
    beside_twisted = [one.value for one in measured.ratios if one.what.endswith(turns.FLOOR)]
    assert len(beside_twisted) == 3
    assert all(value > 0 for value in beside_twisted)


# ---- memory


def test_growth_is_what_came_after_the_first_fifth() -> None:
    samples = [(float(second), 50.0 + min(second, 20) + (second == 70) * 4.0) for second in range(101)]
    assert growth(samples) == (70.0, 74.0, 4.0)
    assert resident("Name: x\nVmRSS:\t  2048 kB\n") == 2.0
    with pytest.raises(OSError, match="ended"):
        resident("Name: x\n")


def test_a_process_that_grows_by_more_than_it_may_is_noted() -> None:
    desk, findings = Desk(), Findings()
    put_down(
        desk, findings, {"order-0": [(0.0, 1.0), (5.0, 2.0), (10.0, 12.5)], "order-1": [(0.0, 9.0), (10.0, 9.0)]}
    )
    assert desk.warnings() == ("order-0 grew by 10.5 MiB after its warm-up, which is more than 10",)
    assert findings.ratios[0].value == 12.5 / 2.0


def test_of_ten_requests_under_full_load_eight_look_one_searches_and_one_buys() -> None:
    requests = mixed()
    assert len(requests) == 10_000
    assert sum(method == "POST" for method, _ in requests) == 1000
    assert sum("topic=" in path for _, path in requests) == 1000


def test_wrong_arguments_are_usage_errors_and_leave_nothing(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    for arguments, said in (
        (("cash",), "There is no measurement 'cash'"),
        (("cache", "--out", str(tmp_path)), "expected a folder that is empty"),
        (("--compare", str(tmp_path), str(tmp_path)), "No such file"),
    ):
        result = bench(*arguments)
        assert result.exit_code == 2
        assert said in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_two_results_are_compared_on_the_terminal(tmp_path: Path) -> None:
    for name, latency in (("a", 1.0), ("b", 3.0)):
        report.write(run_of(latency), tmp_path / name)
    shown_lines = bench("--compare", str(tmp_path / "a"), str(tmp_path / "b")).stdout.splitlines()
    assert shown_lines[1].split()[:5] == ["cache", "1.00", "3.00", "3.00", "worse"]
    assert shown_lines[-1] == "0 better, 2 same, 1 worse"


def test_a_tiny_real_run_leaves_page_and_results(tmp_path: Path) -> None:
    """Real processes, real requests: a lookup, a buy, a miss."""
    result = bench("miss", "--quick", "--out", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    run = load(tmp_path / "out")
    (measured,) = run.measurements
    assert measured.failed == ""
    assert len(measured.ratios) == 2
    assert all(len(curve.points) == 50 for curve in measured.plots[0].curves)
    assert dict(run.machine)["fsync of 4 KiB"].endswith(")")
    assert "The lookup that misses after an invalidation" in (tmp_path / "out" / "index.html").read_text()
    assert msgspec.json.decode((tmp_path / "out" / "results.json").read_bytes()) == json.loads(encode(run))
