"""The audit of copies on disk: sound ones pass, each kind of damage is found and named, nothing is touched."""

import shutil
import sqlite3
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace

from pygmy.audit import Report, Rows, StoreAudit, Verdict, audit_place, places
from pygmy.audit.chain import HASH_BYTES, first_difference
from pygmy.checker.replay import CatalogRules
from pygmy.cli.audit import Progress
from pygmy.cli.main import main
from pygmy.database import schema
from pygmy.database.lock import FileLock, holder
from pygmy.messages.operations import (
    AddBook,
    ChangeBook,
    Line,
    NewBook,
    Ordered,
    OrderLine,
    RecordOrder,
    Sell,
    Sold,
    SoldLine,
)
from pygmy.messages.replication import Batch, Entry
from pygmy.replication.log import GENESIS_HASH, chained, digest_of
from pygmy.state.stock import Stock
from tests.support.copies import CATALOG, batches_of, orders_for, rechain, snapshot, tamper, write_copy
from tests.support.inline_store import inline_store, now_of

NO_UNIQUE = (  # entries as they are, without the index that keeps op_ids apart
    "CREATE TABLE other (seq INTEGER, idx INTEGER, op_id TEXT, kind TEXT, digest TEXT, at INTEGER, operation TEXT,"
    " outcome TEXT, PRIMARY KEY (seq, idx)) WITHOUT ROWID",
    "INSERT INTO other SELECT * FROM entries",
    "DROP TABLE entries",
    "ALTER TABLE other RENAME TO entries",
)


def audited(*given: Path) -> Verdict:
    with closing(StoreAudit()) as audit:
        for path in given:
            for place in places(path):
                audit_place(place, audit, lambda name, seq, newest: None)
        return audit.verdict()


def report_of(path: Path) -> Report:
    (report,) = audited(path).copies
    return report


def found(path: Path) -> list[tuple[int | None, str]]:
    report = report_of(path)
    assert report.problems == len(report.findings)
    return [(finding.seq, finding.what) for finding in report.findings]


def pygmy(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)), catch_exceptions=False)


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    return write_copy(tmp_path, "catalog-0", CATALOG)


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    return write_copy(tmp_path, "order-0", orders_for())


# ---- sound


def test_a_sound_store_is_sound(tmp_path: Path) -> None:
    for name in ("catalog-0", "catalog-1"):
        write_copy(tmp_path, name, CATALOG)
    for name in ("order-0", "order-1"):
        write_copy(tmp_path, name, orders_for())
    verdict = audited(tmp_path)
    assert verdict.sound
    assert [report.name for report in verdict.copies] == ["catalog-0", "catalog-1", "order-0", "order-1"]
    assert all(report.rows for report in verdict.copies)
    assert verdict.waiting == 0
    first = verdict.copies[0]
    assert (first.batches, first.entries, first.head) == (6, 9, (3, 6))
    assert (first.figures.books, first.figures.in_stock, first.figures.sold) == (3, 6 + 14 + 3, 2 + 2 + 1 + 1)
    assert (verdict.copies[2].figures.orders, verdict.copies[2].figures.total) == (4, 200 + 400 + 200 + 100)
    assert verdict.remarks == (
        "catalog: 2 copies of one log",
        "order: 2 copies of one log",
        "every order has its sale",
    )


def test_a_copy_without_a_single_batch_is_sound(tmp_path: Path) -> None:
    assert report_of(write_copy(tmp_path, "catalog-0", [])).sound
    assert report_of(write_copy(tmp_path, "order-0", [])).sound


def test_one_database_file_is_audited_wherever_it_is(catalog: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup of may.db"
    shutil.copyfile(catalog, backup)
    assert report_of(backup).sound
    assert report_of(backup).name == str(backup)


def test_what_a_killed_node_left_in_its_write_ahead_log_counts(tmp_path: Path) -> None:
    path = write_copy(tmp_path / "made", "catalog-0", CATALOG[:-1])
    store = inline_store(path, "catalog")
    (*_, batch), (*_, changes) = batches_of("catalog", CATALOG)
    now_of(store.commit(batch.seq, [batch], changes))
    left = tmp_path / "left" / "catalog-0"
    shutil.copytree(path.parent, left)
    now_of(store.close())
    assert (left / "catalog.sqlite-wal").stat().st_size > 0
    before = snapshot(left)
    report = report_of(left)
    assert (report.sound, report.head) == (True, (3, 6))
    assert snapshot(left) == before


# ---- nothing is touched


def test_not_a_byte_and_not_a_time_is_changed(tmp_path: Path, catalog: Path, orders: Path) -> None:
    before = snapshot(tmp_path)
    assert audited(tmp_path).sound
    assert snapshot(tmp_path) == before


def test_a_directory_that_may_not_be_written_to_is_audited(tmp_path: Path, catalog: Path) -> None:
    catalog.chmod(0o400)
    catalog.parent.chmod(0o500)
    try:
        assert audited(tmp_path).sound
    finally:
        catalog.parent.chmod(0o700)


def test_what_a_node_has_open_is_not_read(catalog: Path) -> None:
    """A checkpoint under way would make a sound file look broken."""
    lock = FileLock(str(catalog))
    lock.acquire()
    before = snapshot(catalog.parent)
    try:
        result = pygmy("audit", catalog.parent)
    finally:
        lock.release()
    assert result.exit_code == 2
    assert "is in use by process" in result.stderr
    assert "http://localhost:5000" in result.stderr
    assert snapshot(catalog.parent) == before
    assert holder(str(catalog)) is None


def test_what_changes_while_it_is_read_is_not_judged(catalog: Path) -> None:
    def step(name: str, seq: int, newest: int) -> None:
        if seq == 3:
            tamper(catalog, "INSERT INTO meta VALUES ('x', 1)")

    with closing(StoreAudit()) as audit:
        (place,) = places(catalog)
        with pytest.raises(Exception, match="was changed while it was read"):
            audit_place(place, audit, step)
        assert audit.verdict().copies == ()


# ---- damage to the chain


def test_a_hash_that_was_changed(catalog: Path) -> None:
    tamper(catalog, f"UPDATE batches SET hash = '{'ab' * 16}' WHERE seq = 3")
    expected = batches_of("catalog", CATALOG)[0][2].hash
    ((seq, what),) = found(catalog)
    assert seq == 3
    assert what == f"its hash is {'ab' * 16}, but what it says after batch 2 makes {expected}"


def test_what_an_entry_says_was_changed(catalog: Path) -> None:
    """Nothing but the hash tells: a price list would come out the same."""
    tamper(catalog, "UPDATE entries SET at = at + 1 WHERE op_id = 'c:d'")
    ((seq, what),) = found(catalog)
    assert (seq, what[:11]) == (3, "its hash is")


def test_an_entry_that_was_dropped(catalog: Path) -> None:
    tamper(catalog, "DELETE FROM entries WHERE op_id = 'c:b'")
    ((seq, what),) = found(catalog)
    assert (seq, what[:11]) == (2, "its hash is")


def test_an_entry_that_was_dropped_by_one_who_made_new_hashes(catalog: Path) -> None:
    """The rows tell."""
    tamper(catalog, "DELETE FROM entries WHERE op_id = 'c:h'", "DELETE FROM batches WHERE seq = 6")
    rechain(catalog)
    ((_, what),) = found(catalog)
    assert what.startswith("the row of book 1 is Book(item=1")
    assert "count=6" in what
    assert "count=7" in what


def test_a_batch_that_is_missing(catalog: Path) -> None:
    tamper(catalog, "DELETE FROM entries WHERE seq = 3", "DELETE FROM batches WHERE seq = 3")
    problems = found(catalog)
    assert problems[0] == (4, "expected batch 3 after 2: missing is 3")


def test_entries_without_their_batch(catalog: Path) -> None:
    tamper(catalog, "DELETE FROM batches WHERE seq IN (3, 4)")
    problems = found(catalog)
    assert (None, "2 entries name batch 3, which is not there") in problems
    assert (5, "expected batch 3 after 2: missing is 3 to 4") in problems


def test_a_log_without_its_beginning(catalog: Path) -> None:
    tamper(catalog, "DELETE FROM entries WHERE seq = 1", "DELETE FROM batches WHERE seq = 1")
    assert (2, "expected batch 1 after 0: missing is 1") in found(catalog)


def test_epochs_that_were_swapped(catalog: Path) -> None:
    tamper(catalog, "UPDATE batches SET epoch = 3 - epoch WHERE seq IN (2, 3)")
    rechain(catalog)
    problems = found(catalog)
    assert (3, "its epoch 1 comes after epoch 2: expected no lower one") in problems


def test_a_batch_that_names_another_epoch_before_it(catalog: Path) -> None:
    tamper(catalog, "UPDATE batches SET base_epoch = 2 WHERE seq = 3")
    assert (3, "it says that it follows 2-2, but the batch before it is 1-2") in found(catalog)


def test_an_op_id_that_stands_twice(catalog: Path) -> None:
    tamper(catalog, *NO_UNIQUE, "UPDATE entries SET op_id = 'c:a' WHERE op_id = 'c:g'")
    rechain(catalog)
    assert (5, "c:a stands 2 times, in 2 and 5: expected once") in found(catalog)


def test_an_op_id_that_stands_twice_in_one_batch(catalog: Path) -> None:
    tamper(catalog, *NO_UNIQUE, "UPDATE entries SET op_id = 'c:a' WHERE op_id = 'c:b'")
    rechain(catalog)
    assert (2, "c:a stands 2 times, in batch 2: expected once") in found(catalog)


def test_entries_that_are_not_numbered_as_they_must_be(catalog: Path) -> None:
    """Their places are what clients were told."""
    tamper(catalog, "UPDATE entries SET idx = 7 WHERE op_id = 'c:d'")
    assert found(catalog) == [(3, "its entry 7 stands where entry 1 is expected")]


def test_a_digest_that_would_take_a_retry_for_another_request(catalog: Path) -> None:
    rechain(catalog, lambda entry: replace(entry, digest="00") if entry.op_id == "c:a" else entry)
    ((seq, what),) = found(catalog)
    assert (seq, what[:26]) == (2, "c:a has the digest 00, but")


def test_a_kind_that_would_hide_a_sale(catalog: Path) -> None:
    tamper(catalog, "UPDATE entries SET kind = 'change' WHERE op_id = 'c:a'")
    assert found(catalog) == [(2, "c:a is called change, but is sell")]


# ---- damage to what the log folds into


def test_a_stock_row_that_was_changed(catalog: Path) -> None:
    tamper(catalog, "UPDATE books SET count = count + 1 WHERE item = 2")
    ((seq, what),) = found(catalog)
    assert seq is None
    assert what.startswith("the row of book 2 is Book(item=2")
    assert "count=15, epoch=3, seq=5" in what
    assert "count=14, epoch=3, seq=5" in what


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM books WHERE item = 1",
        "INSERT INTO books VALUES (9, 'x', 't', 1, 1, 1, 1, 0)",
        "UPDATE books SET removed = 0 WHERE item = 3",
        "UPDATE books SET seq = 2 WHERE item = 1",
    ],
)
def test_any_row_that_the_log_does_not_make(catalog: Path, statement: str) -> None:
    tamper(catalog, statement)
    ((_, what),) = found(catalog)
    assert what.startswith("the row of book")


def test_an_outcome_that_nobody_could_have_decided(catalog: Path) -> None:
    """All hashes are right: carrying the log out tells."""

    def cheaper(entry: Entry) -> Entry:
        outcome = Sold((SoldLine(2, 1, 1, 14),), 1)
        return replace(entry, outcome=outcome) if entry.op_id == "c:g" else entry

    rechain(catalog, cheaper)
    ((seq, what),) = found(catalog)
    assert seq == 5
    assert what.startswith(
        "c:g is recorded as Sold(lines=(SoldLine(item=2, quantity=1, price=1, left=14),), total=1)"
    )
    assert "but comes to Sold(lines=(SoldLine(item=2, quantity=1, price=200, left=14),), total=200)" in what


def test_less_than_nothing_in_stock(tmp_path: Path) -> None:
    path = write_copy(tmp_path, "catalog-0", [(1, [("c:x", AddBook(NewBook("Debt", "t", 1, -3)))])])
    assert found(path) == [(1, "book 1: -3 copies are left: expected 0 or more")]


def test_copies_that_are_unaccounted_for(catalog: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the state machine to sell without counting down as the rules count, every version tells."""
    right = CatalogRules.check

    def check(rules: CatalogRules, entry: Entry, version: Any) -> None:
        right(rules, entry, version)
        if entry.op_id == "c:c":
            rules.sold[3] += 1

    monkeypatch.setattr(CatalogRules, "check", check)
    assert (3, "book 3: 10 at first + 0 added - 9 left != 2 sold") in found(catalog)


def test_the_rules_of_the_checker_have_their_say(catalog: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state machine that is wrong agrees with itself."""
    right = Stock._change

    def change(stock: Stock, operation: ChangeBook, version: Any) -> Any:
        return right(stock, replace(operation, increment=(operation.increment or 0) + 1), version)

    monkeypatch.setattr(Stock, "_change", change)
    wrong = write_copy(catalog.parents[1] / "wrong", "catalog-0", CATALOG)
    ((seq, what),) = found(wrong)
    assert seq == 3
    assert what.startswith("by the checker's rules: catalog log: c:d at (2, 3) is recorded as")


def test_an_operation_of_the_other_tier(tmp_path: Path) -> None:
    path = write_copy(tmp_path, "order-0", orders_for())
    rechain(path, lambda entry: replace(entry, operation=Sell((Line(1, 1),)), digest=digest_of(Sell((Line(1, 1),)))))
    ((seq, what),) = found(path)
    assert (seq, what[:38]) == (1, "c:a is no operation of this tier: Sell")


# ---- orders


def test_order_ids_with_a_gap(orders: Path) -> None:
    def third_is_fourth(entry: Entry) -> Entry:
        assert isinstance(entry.outcome, Ordered)
        order = entry.outcome.order
        return entry if order.order_id < 3 else replace(entry, outcome=Ordered(replace(order, order_id=4)))

    rechain(orders, third_is_fourth)
    seq, what = found(orders)[0]
    assert seq == 3
    assert "c:g is recorded as Ordered(order=Order(order_id=4" in what
    assert "but comes to Ordered(order=Order(order_id=3" in what


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("DELETE FROM orders WHERE order_id = 2", (2, "order 2 has no row")),
        ("DELETE FROM orders WHERE order_id = 4", (4, "order 4 has no row")),
        ("UPDATE orders SET total = 1 WHERE order_id = 2", (2, "the row of order 2 is Order(")),
        ("INSERT INTO orders VALUES (9, 'c:z', 1, 1, 0, '[]')", (None, "there is a row of order 9")),
        ("INSERT INTO orders VALUES (0, 'c:z', 1, 1, 0, '[]')", (None, "there is a row of order 0")),
        ("UPDATE marks SET value = 9", (None, "the marks are {Mark(name='last_order_id', value=9)}")),
    ],
)
def test_rows_of_the_order_tier_that_the_log_does_not_make(
    orders: Path, statement: str, problem: tuple[int | None, str]
) -> None:
    tamper(orders, statement)
    ((seq, what),) = found(orders)
    assert (seq, what[: len(problem[1])]) == problem


def test_a_log_may_have_grown_since_its_rows_were_read() -> None:
    """A node that runs shows its rows first; what has been ordered or sold since is no fault."""
    sales, recorded = batches_of("catalog", CATALOG)[0], batches_of("order", orders_for())[0]
    orders = [entry.outcome.order for batch in recorded for entry in batch.entries]
    stock = Stock()
    for batch in sales[:3]:
        for entry in batch.entries:
            stock.apply(entry.op_id, entry.operation, entry.at, batch.version)
    shown = [Rows(orders=orders[:2], snapshot=True), Rows(books=stock.shelves.all_rows(), snapshot=True)]
    with closing(StoreAudit()) as audit:
        for name, batches, rows in zip(("order", "catalog"), (recorded, sales), shown, strict=True):
            copy = audit.begin(f"{name}-0", name)
            copy.expect(rows)
            for batch in batches:
                copy.take(batch)
            copy.compare()
            report = audit.done(copy)
            assert (report.sound, report.rows) == (True, True), report


def test_an_order_whose_total_is_not_that_of_its_lines(tmp_path: Path) -> None:
    record = RecordOrder((OrderLine(1, 2, 100),), 150, 1000, 1)
    assert found(write_copy(tmp_path, "order-0", [(1, [("c:a", record)])])) == [
        (1, "order 1 comes to 150, but its lines come to 200")
    ]


def test_an_order_without_a_sale(tmp_path: Path, catalog: Path) -> None:
    stray = RecordOrder((OrderLine(1, 1, 100),), 100, 9000, 4)
    write_copy(tmp_path, "order-0", [*orders_for(), (1, [("c:z", stray)])])
    verdict = audited(tmp_path)
    assert not verdict.sound
    assert verdict.problems == (
        "order 5 (c:z, batch 5 of the order log) has no sale: expected one in batch 4 of the catalog's log",
    )


def test_a_refused_sale_is_none(tmp_path: Path, catalog: Path) -> None:
    refused = RecordOrder((OrderLine(2, 99, 200),), 19800, 2000, 2)
    write_copy(tmp_path, "order-0", [*orders_for(), (1, [("c:b", refused)])])
    assert "order 5 (c:b, batch 5 of the order log) has no sale" in audited(tmp_path).problems[0]


def test_orders_that_the_catalogs_log_does_not_reach_yet(tmp_path: Path) -> None:
    write_copy(tmp_path, "catalog-0", CATALOG[:5])
    write_copy(tmp_path, "order-0", orders_for())
    (problem,) = audited(tmp_path).problems
    assert problem.endswith("and the catalog's log here ends with batch 5")


@pytest.mark.parametrize(
    "changes",
    [{"total": 99, "lines": (OrderLine(1, 1, 99),)}, {"at": 1}, {"basket": True}, {"lines": (OrderLine(2, 1, 100),)}],
)
def test_an_order_that_is_not_what_was_sold(tmp_path: Path, catalog: Path, changes: dict[str, Any]) -> None:
    *others, (epoch, [(op_id, record)]) = orders_for()
    write_copy(tmp_path, "order-0", [*others, (epoch, [(op_id, replace(record, **changes))])])
    (problem,) = audited(tmp_path).problems
    assert problem.startswith(
        "order 4 (c:h, batch 4 of the order log) is not what was sold in batch 6: expected [[[1,1"
    )


def test_an_order_that_names_another_sale(tmp_path: Path, catalog: Path) -> None:
    *others, (epoch, [(op_id, record)]) = orders_for()
    assert isinstance(record, RecordOrder)
    write_copy(tmp_path, "order-0", [*others, (epoch, [(op_id, replace(record, sale_seq=5))])])
    assert audited(tmp_path).problems == (
        "order 4 (c:h, batch 4 of the order log) names batch 5 as its sale's: expected 6",
    )


def test_sales_without_an_order_are_counted_and_no_fault(tmp_path: Path, catalog: Path) -> None:
    write_copy(tmp_path, "order-0", orders_for()[:2])
    verdict = audited(tmp_path)
    assert (verdict.sound, verdict.waiting) == (True, 2)
    result = pygmy("audit", tmp_path)
    assert result.exit_code == 0
    assert "2 sales wait for orders: order servers write them when the store runs" in result.stdout


# ---- copies of one log

OTHER = (3, [("c:other", Sell((Line(1, 3),)))])


def test_a_copy_that_is_behind_is_sound(tmp_path: Path, catalog: Path) -> None:
    write_copy(tmp_path, "catalog-1", CATALOG[:3])
    verdict = audited(tmp_path)
    assert verdict.sound
    assert verdict.remarks == ("catalog: 2 copies of one log; catalog-1 is 3 batches behind",)


def test_one_tentative_batch_may_differ(tmp_path: Path, catalog: Path) -> None:
    write_copy(tmp_path, "catalog-1", [*CATALOG[:5], OTHER])
    verdict = audited(tmp_path)
    assert verdict.sound
    assert "catalog-1 has another batch 6 than catalog-0" in verdict.remarks[0]


def test_a_tentative_batch_that_was_passed_over_may_differ(tmp_path: Path, catalog: Path) -> None:
    write_copy(tmp_path, "catalog-1", [*CATALOG[:3], OTHER])
    assert audited(tmp_path).sound


def test_two_batches_that_differ_are_two_logs(tmp_path: Path, catalog: Path) -> None:
    write_copy(tmp_path, "catalog-1", [*CATALOG[:4], OTHER, CATALOG[5]])
    result = pygmy("audit", tmp_path)
    assert result.exit_code == 1
    assert "catalog-0: sound" in result.stdout
    assert "catalog-1: sound" in result.stdout
    assert (
        "BROKEN: batch 5 is not the same in catalog-0 and catalog-1, which end with batches 6 and 6:"
        " expected one log, of which at most the last batch of a copy differs" in result.stdout
    )


def test_the_first_difference_is_found_wherever_it_is() -> None:
    size = 40
    for seq in range(1, size + 1):
        one = bytearray(bytes(range(256)) * 3)[: size * HASH_BYTES]
        other = one.copy()
        other[seq * HASH_BYTES - 1] ^= 1
        if seq % 3 == 0:
            other += bytes(HASH_BYTES)
        assert first_difference(one, other) == seq
    assert first_difference(one, one + bytes(HASH_BYTES)) is None


# ---- files that cannot be audited


def cut_short(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(50)


def foreign(path: Path) -> None:
    path.unlink()
    tamper(path, "CREATE TABLE x (y)")


def newer(path: Path) -> None:
    tamper(path, "PRAGMA user_version = 99")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda path: path.write_bytes(b""), "is empty."),
        (lambda path: path.write_bytes(b"x" * 500), "is no SQLite database"),
        (cut_short, "is no SQLite database, or not even the beginning of one is left."),
        (foreign, "is not a database of Pygmy's"),
        (newer, "has schema version 99, and this Pygmy knows only"),
        (lambda path: tamper(path, "UPDATE meta SET value = 'order'"), "is a database of the order tier: expected"),
    ],
)
def test_files_that_are_none_of_ours_are_named(catalog: Path, harm: Callable[[Path], Any], said: str) -> None:
    harm(catalog)
    before = snapshot(catalog.parent)
    result = pygmy("audit", catalog.parent)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"catalog-0: not audited: {catalog} {said}" in result.stderr
    assert snapshot(catalog.parent) == before


def test_a_file_that_is_cut_short_is_broken(tmp_path: Path) -> None:
    steps = [*CATALOG, *((3, [(f"c:{n}", ChangeBook(1, increment=1))]) for n in range(200))]
    path = write_copy(tmp_path, "catalog-0", steps)
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(size // 2)
    result = pygmy("audit", tmp_path)
    assert result.exit_code == 1
    assert "catalog-0: BROKEN" in result.stdout
    assert f"the file is cut short: {size // 2:,} bytes, expected {size:,}" in result.stdout


def test_a_page_that_rotted_is_broken(tmp_path: Path) -> None:
    steps = [*CATALOG, *((3, [(f"c:{n}", ChangeBook(1, increment=1))]) for n in range(200))]
    path = write_copy(tmp_path, "catalog-0", steps)
    with closing(sqlite3.connect(path)) as db:
        (size,) = db.execute("PRAGMA page_size").fetchone()
        (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'batches'").fetchone()
    with path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * 64)
    result = pygmy("audit", tmp_path)
    assert result.exit_code == 1
    assert "SQLite" in result.stdout


def test_an_entry_that_is_no_json_is_broken(catalog: Path) -> None:
    tamper(catalog, "UPDATE entries SET operation = '{\"type\":' WHERE op_id = 'c:d'")
    ((seq, what),) = found(catalog)
    assert seq == 3
    assert what.startswith("its entry 1 cannot be read")


def test_directories_without_data_are_named(tmp_path: Path) -> None:
    (tmp_path / "frontend-0").mkdir()
    for given, said in (
        (tmp_path, "holds no data of a catalog or order server: expected a node's directory"),
        (tmp_path / "frontend-0", "is a front end's: it keeps no log"),
        (tmp_path / "nowhere", "There is no"),
    ):
        result = pygmy("audit", given)
        assert result.exit_code == 2
        assert said in result.stderr
    assert pygmy("audit", "https://localhost:5000").exit_code == 2


def test_a_database_of_an_older_schema_is_read_as_the_store_would(
    catalog: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = schema.steps("catalog")
    monkeypatch.setattr(schema, "steps", lambda tier: [*known, "CREATE TABLE later (x INTEGER) STRICT;"])
    before = snapshot(catalog.parent)
    assert report_of(catalog).sound
    assert snapshot(catalog.parent) == before


# ---- how it is said


def test_a_line_a_copy_and_what_is_wrong_below_it(tmp_path: Path, catalog: Path) -> None:
    write_copy(tmp_path, "order-0", orders_for())
    tamper(catalog, "UPDATE books SET count = 0 WHERE item = 1")
    result = pygmy("audit", tmp_path)
    lines = result.stdout.splitlines()
    digest = batches_of("catalog", CATALOG)[0][-1].hash[:8]
    assert lines[0] == (
        f"catalog-0: BROKEN: 6 batches, 9 entries, head 3-6 {digest}, 3 books, 23 copies in stock, 6 sold"
    )
    assert lines[1].startswith("  the row of book 1 is")
    assert lines[2].startswith("order-0: sound: 4 batches, 4 entries, head 1-4 ")
    assert lines[2].endswith(", 4 orders, 9.00 in all")
    assert "orders were not compared with sales" in lines[3]
    assert result.exit_code == 1


def test_json_says_the_same(tmp_path: Path, catalog: Path) -> None:
    tamper(catalog, "UPDATE books SET count = 0 WHERE item = 1")
    (tmp_path / "empty").mkdir()
    result = pygmy("--json", "audit", catalog.parent, tmp_path / "empty")
    verdict = msgspec.json.decode(result.stdout, type=Verdict)
    assert not verdict.sound
    assert verdict.copies[0].findings[0].what.startswith("the row of book 1")
    assert verdict.unaudited[0].name == str(tmp_path / "empty")
    assert result.exit_code == 1


def test_without_a_source_it_is_the_data_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_copy(tmp_path / "pygmy-data", "catalog-0", CATALOG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYGMY_DATA", raising=False)
    assert pygmy("audit").stdout.startswith("catalog-0: sound")


def test_two_copies_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for place in ("a", "b"):
        write_copy(tmp_path / place, "catalog-0", CATALOG)
    lines = pygmy("audit", tmp_path / "a", tmp_path / "b").stdout.splitlines()
    assert [line.partition(":")[0] for line in lines[:2]] == [
        str(tmp_path / place / "catalog-0" / "catalog.sqlite") for place in ("a", "b")
    ]


def test_only_so_many_findings_are_told_and_all_are_counted(tmp_path: Path) -> None:
    steps = [*CATALOG[:1], *((1, [(f"c:{n}", AddBook(NewBook("x", "t", 1, 1)))]) for n in range(50))]
    path = write_copy(tmp_path, "catalog-0", steps)
    tamper(path, "UPDATE books SET count = 7")
    result = pygmy("audit", path)
    assert len(result.stdout.splitlines()) == 1 + 20 + 1
    assert result.stdout.splitlines()[-1] == "  and 33 more"


def test_titles_do_not_drive_the_terminal(tmp_path: Path) -> None:
    path = write_copy(tmp_path, "catalog-0", [(1, [("c:\x1b[2J", AddBook(NewBook("\x1b[2J", "t", 1, 1)))])])
    tamper(path, "UPDATE books SET count = 7", "UPDATE batches SET hash = '\x1b[2J'")
    assert "\x1b" not in pygmy("audit", path).stdout


def test_progress_is_shown_to_people_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = Progress()
    progress("catalog-0", 256, 1000)
    progress.end()
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setattr("pygmy.cli.audit.PATIENCE", -1.0)
    progress = Progress()
    progress("catalog-0", 256, 1000)
    assert "catalog-0: 256 of 1,000 batches" in capsys.readouterr().err


# ---- long logs


def long_log(length: int) -> Any:
    """A log that is made as it is read."""
    machine, digest = Stock(), GENESIS_HASH
    for seq in range(1, length + 1):
        machine.begin()
        operation: Any = AddBook(NewBook("b", "t", 1, 10**9)) if seq == 1 else Sell((Line(1, 1),))
        op_id = f"c:{seq:040}"
        outcome = machine.apply(op_id, operation, seq, (1, seq))
        entries = (Entry(op_id, digest_of(operation), operation, seq, outcome),)
        digest = chained(digest, (1, seq), 0 if seq == 1 else 1, entries)
        yield Batch(1, seq, 0 if seq == 1 else 1, entries, digest)


def most_memory(length: int) -> int:
    tracemalloc.start()
    try:
        with closing(StoreAudit()) as audit:
            copy = audit.begin("catalog-0", "catalog")
            copy.expect(Rows())
            for batch in long_log(length):
                copy.take(batch)
            copy.compare()
            assert audit.done(copy).sound
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_long_log_passes_through() -> None:
    """Of an entry nothing stays in memory; of a batch, 16 bytes."""
    short, long = most_memory(4_000), most_memory(16_000)
    assert long - short < 12_000 * 40
