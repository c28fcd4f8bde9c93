"""The checker: exact on every small history, and blind to none of the promises."""

from __future__ import annotations

import io
import itertools
import random
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from pygmy.checker import check
from pygmy.checker.__main__ import main
from pygmy.checker.history import HistoryError, Logged, Orders, Page, Read, Record, Stock, Write, dump, load
from pygmy.checker.lists import Lists, earliest_in
from pygmy.checker.replay import CatalogReplay
from pygmy.messages.operations import (
    AddBook,
    Book,
    ChangeBook,
    Line,
    NewBook,
    NoSuchBook,
    Opened,
    OpenStock,
    Operation,
    Order,
    Ordered,
    OrderLine,
    RecordOrder,
    RemoveBook,
    Reused,
    Sell,
    Short,
    SoldOut,
)
from pygmy.messages.replication import Entry
from pygmy.state.stock import Stock as Machine

OPENING = OpenStock(tuple(NewBook(f"book {item}", "t", 100, 2, item) for item in (1, 2)), "d")


def catalog_log(operations: list[tuple[str, Operation]]) -> list[Logged]:
    """What the catalog would record of these, one a batch, after its opening."""
    machine, log = Machine(), []
    for seq, (op_id, operation) in enumerate([("open", OPENING), *operations], 1):
        machine.begin()
        outcome = machine.apply(op_id, operation, 1000 + seq, (1, seq))
        log.append(Logged("catalog", (1, seq), 0, Entry(op_id, "", operation, 1000 + seq, outcome)))
    return log


# ---- against exhaustive search


def small_history(rng: random.Random) -> tuple[list[Logged], list[Write], list[Read]]:
    """Any writes and reads at any times; what the reads saw was true at some time, if not at theirs."""
    operations: list[tuple[str, Operation]] = []
    for number in range(rng.randint(1, 4)):
        item = rng.choice([1, 2])
        any_of: list[Operation] = [Sell((Line(item, 1),)), ChangeBook(item, increment=1)]
        operation = rng.choice([*any_of, Sell((Line(1, 1), Line(2, 1)), True)])
        operations.append((f"w{number}", operation))
    log = catalog_log(operations)

    def times() -> tuple[float, float]:
        start = rng.randint(0, 9)
        return float(start), float(start + rng.randint(0, 4))

    writes = []
    for place, (op_id, operation) in enumerate(operations, 1):
        # Mostly in the order of the log, so that many histories are sound.
        invoked, answered = (place * 2.0, place * 2.0 + rng.randint(0, 3)) if rng.random() < 0.7 else times()
        known = rng.random() < 0.8
        outcome = log[place].entry.outcome if known else None
        writes.append(Write("c", op_id, operation, invoked, answered if known else None, outcome))
    shelves = CatalogReplay(log).shelves
    reads = []
    for _ in range(rng.randint(0, 3)):
        item = rng.choice([1, 2])
        book = rng.choice(shelves[item].rows)
        assert book is not None
        reads.append(Read("c", item, *times(), (book.epoch, book.seq), book))
    return log, writes, reads


def fits(log: list[Logged], writes: list[Write], reads: list[Read]) -> bool:
    """By trying every gap for every read: does any choice agree with the log and with real time?"""
    shelves = CatalogReplay(log).shelves

    def state(item: int, gap: int) -> Book | None:
        shelf = shelves[item]
        return [row for place, row in zip(shelf.places, shelf.rows, strict=True) if place <= gap][-1]

    def precedes(first: tuple[float, float | None, float], second: tuple[float, float | None, float]) -> bool:
        return first[1] is None or first[1] >= second[0] or first[2] <= second[2]

    events = [(w.invoked, w.answered, float(place)) for place, w in enumerate(writes, 2)]
    for gaps in itertools.product(range(1, len(writes) + 2), repeat=len(reads)):
        if any(state(read.item, gap) != read.book for read, gap in zip(reads, gaps, strict=True)):
            continue
        seen = [(r.invoked, r.answered, gap + 0.5) for r, gap in zip(reads, gaps, strict=True)]
        both: list[Any] = events + seen
        if all(precedes(a, b) for a, b in itertools.permutations(both, 2)):
            return True
    return False


def wing_and_gong(writes: list[Write], reads: list[Read]) -> bool:
    """Black box: is there any order at all, whatever the log says? (Wing & Gong 1993.)"""
    operations: list[Any] = [*writes, *reads]
    must = sum(1 << i for i, o in enumerate(operations) if o.answered is not None)
    seen: set[tuple[int, tuple[int, int]]] = set()

    def apply(stock: tuple[int, int], operation: Any) -> tuple[int, int] | None:
        counts = list(stock)
        if isinstance(operation, Read):
            assert operation.book is not None
            return stock if stock[operation.item - 1] == operation.book.count else None
        asked = operation.operation
        if isinstance(asked, ChangeBook):
            counts[asked.item - 1] += 1
        else:
            enough = all(counts[line.item - 1] >= line.quantity for line in asked.lines)
            if operation.outcome is not None and isinstance(operation.outcome, SoldOut) == enough:
                return None
            for line in asked.lines:
                counts[line.item - 1] -= line.quantity if enough else 0
        return counts[0], counts[1]

    def search(done: int, stock: tuple[int, int]) -> bool:
        if done & must == must:
            return True
        if (done, stock) in seen:
            return False
        seen.add((done, stock))
        left = [o for i, o in enumerate(operations) if not done >> i & 1]
        limit = min((o.answered for o in left if o.answered is not None), default=float("inf"))
        for i, operation in enumerate(operations):
            if not done >> i & 1 and operation.invoked <= limit:
                after = apply(stock, operation)
                if after is not None and search(done | 1 << i, after):
                    return True
        return False

    return search(0, (2, 2))


def test_verdict_is_that_of_exhaustive_search() -> None:
    verdicts = {True: 0, False: 0}
    for seed in range(1500):
        log, writes, reads = small_history(random.Random(seed))
        verdict = check([*log, *writes, *reads])
        assert verdict.ok == fits(log, writes, reads), (seed, verdict.problems)
        if verdict.ok:
            assert wing_and_gong(writes, reads), seed
        verdicts[verdict.ok] += 1
    assert min(verdicts.values()) > 200  # both kinds were put to the test


def batches_of(rng: random.Random) -> tuple[list[Logged], dict[int, Machine]]:
    """A log whose batches change lists, and the books as they stood at each batch's end, by its last place."""
    log: list[Logged] = []
    machine, states = Machine(), {0: Machine()}
    for seq in range(1, rng.randint(2, 7)):
        machine.begin()
        for _ in range(1 if seq == 1 else rng.randint(1, 3)):
            item, topic = rng.randint(1, 3), rng.choice(["t", "u"])
            any_of: list[Operation] = [RemoveBook(item), AddBook(NewBook("new", topic, 1, 1))]
            any_of += [ChangeBook(item, title=f"title {seq % 2}"), ChangeBook(item, topic=topic, cost=9)]
            operation = rng.choice([OPENING] if seq == 1 else any_of)
            outcome = machine.apply(f"w{len(log)}", operation, 1000, (1, seq))
            if not isinstance(outcome, NoSuchBook):
                entry = Entry(f"w{len(log)}", "", operation, 1000, outcome)
                place = sum(logged.version == (1, seq) for logged in log)
                log.append(Logged("catalog", (1, seq), place, entry))
        if log[-1].version != (1, seq):  # no batch is empty
            break
        states[len(log)] = Machine(machine.shelves.all_rows())
    return log, states


def page_of(machine: Machine, topic: str | None, after: int, limit: int) -> tuple[Any, bool]:
    rows, more = machine.shelves.page(topic, after, limit)
    return tuple((row.item, row.title) for row in rows), more


def test_a_list_is_true_in_just_those_gaps_in_which_it_was() -> None:
    again = 0
    for seed in range(1500):
        rng = random.Random(seed)
        log, states = batches_of(rng)
        lists = Lists(CatalogReplay(log).shelves)
        for _ in range(6):
            topic, after, limit = rng.choice(["t", "u", None]), rng.randint(0, 3), rng.randint(1, 3)
            shown = {place: page_of(machine, topic, after, limit) for place, machine in states.items()}
            books, more = shown[rng.choice(list(states))]
            if rng.random() < 0.2:
                more = not more
            if more and len(books) < limit:
                continue  # no store answers that
            if not more:  # then it does not matter how many were asked for
                shown = {place: page_of(machine, topic, after, 9) for place, machine in states.items()}
            spans = lists.spans(Page("c", topic, after, books, more, 0.0, 0.0))
            true = [place for place in states if shown[place] == (books, more)]
            assert [place for place in states if any(first <= place < end for first, end in spans)] == true, seed
            for place in states:
                gap = earliest_in(spans, place)
                # Within a batch nobody looks: a gap there stands for the batch's end.
                found = None if gap is None else min(end for end in states if end >= gap)
                assert found == min((end for end in true if end >= place), default=None), seed
            again += len(spans) > 1
    assert again > 50  # lists that went and came back


# ---- each promise, broken


def shop() -> list[Record]:
    """A sound history of both tiers."""
    buy, late = Sell((Line(1, 1),)), Sell((Line(2, 3),))
    log = catalog_log([("c:1", buy), ("c:2", late), ("c:3", ChangeBook(2, increment=2)), ("c:4", RemoveBook(2))])
    record = RecordOrder((OrderLine(1, 1, 100),), 100, 1002, 2)
    order = Order(1, "c:1", record.lines, 100, 1002)
    left = Book(1, "book 1", "t", 100, 1, 1, 2)
    return [
        *log,
        Logged("order", (1, 1), 0, Entry("c:1", "", record, 2000, Ordered(order))),
        Write("a", "c:1", buy, 1.0, 2.0, Ordered(order)),
        Write("a", "c:2", late, 2.5, 3.0, SoldOut((Short(2, 2),)), (1, 3), 0),
        Write("a", "c:3", ChangeBook(2, increment=2), 3.5, 4.0, log[3].entry.outcome),
        Write("b", "c:4", RemoveBook(2), 5.0),
        Read("b", 1, 2.1, 2.2, (1, 2), left),
        Read("b", 2, 6.0, 6.1),
        Orders("b", 0, (order,), False, 2.1, 2.3),
        Page("b", "t", 0, ((1, "book 1"), (2, "book 2")), False, 2.1, 2.3),
        Page("b", "t", 0, ((1, "book 1"),), True, 2.1, 2.3),
        Page("b", None, 1, (), False, 6.2, 6.3),
        Stock("catalog-0", (left,)),
    ]


def swapped(**changes: Any) -> list[Record]:
    """The sound history with one record replaced by what `change` makes of it."""
    kind, index, fields = changes["kind"], changes.get("index", 0), changes["fields"]
    history = shop()
    places = [place for place, record in enumerate(history) if isinstance(record, kind)]
    history[places[index]] = replace(history[places[index]], **fields)
    return history


def test_a_sound_history_is_sound() -> None:
    assert check(shop(), quiet=True).problems == ()


def told(order: Order) -> Order:
    """As people are told of an order: when, to the second, and not under which op_id."""
    return replace(order, op_id="", at=order.at // 1000 * 1000)


def public(**changes: Any) -> list[Record]:
    """The sound history as its clients know it over HTTP; the order in it with these changes."""
    history: list[Record] = []
    for record in shop():
        match record:
            case Write(outcome=Ordered(order)):
                record = replace(record, outcome=Ordered(replace(told(order), **changes)), public=True)
            case Orders():
                shown = tuple(replace(told(order), **changes) for order in record.orders)
                record = replace(record, orders=shown, public=True)
        history.append(record)
    return history


def test_what_http_does_not_tell_of_an_order_is_not_missed() -> None:
    assert check(public(), quiet=True).problems == ()


@pytest.mark.parametrize(
    "changes",
    [{"order_id": 2}, {"lines": (OrderLine(1, 1, 99),)}, {"total": 99}, {"at": 2000}, {"basket": True}],
    ids=str,
)
def test_what_http_tells_of_an_order_must_be_so(changes: dict[str, Any]) -> None:
    write, orders = ("was answered", "order log"), ("saw orders",)
    problems = "\n".join(check(public(**changes)).problems)
    assert all(word in problems for word in (*write, *orders))


def test_an_order_told_in_part_only_is_wrong_where_all_of_it_is_promised() -> None:
    history = [replace(r, public=False) if isinstance(r, Write | Orders) else r for r in public()]
    assert len(check(history).problems) == 2


ORDER_2 = Order(2, "c:1", (OrderLine(1, 1, 100),), 100, 1002)
BROKEN: dict[str, list[Record]] = {
    "an answer that the log does not have": swapped(kind=Write, index=1, fields={"outcome": SoldOut((Short(2, 1),))}),
    "an acknowledged operation that is lost": swapped(kind=Write, index=1, fields={"op_id": "c:9"}),
    "an answer in the wrong place": swapped(kind=Write, index=1, fields={"version": (1, 4)}),
    "a refusal of what took effect": swapped(kind=Write, index=2, fields={"outcome": NoSuchBook((2,))}),
    "a key called used that nobody used": swapped(kind=Write, index=1, fields={"op_id": "c:8", "outcome": Reused()}),
    "an order answered under another number": swapped(kind=Write, fields={"outcome": Ordered(ORDER_2)}),
    "a write that takes effect before it is asked for": swapped(
        kind=Write, index=1, fields={"invoked": 4.5, "answered": 4.6}
    ),
    "a stale read": swapped(
        kind=Read, index=0, fields={"version": (1, 1), "book": Book(1, "book 1", "t", 100, 2, 1, 1)}
    ),
    "a read of what never was": swapped(kind=Read, index=0, fields={"book": Book(1, "book 1", "t", 100, 7, 1, 2)}),
    "a book gone too early": swapped(kind=Read, index=1, fields={"item": 1}),
    "a list of orders that lacks one": swapped(kind=Orders, fields={"orders": ()}),
    "a list that lacks a book": swapped(kind=Page, fields={"books": ((1, "book 1"),)}),
    "a list with a title that never was": swapped(kind=Page, fields={"books": ((1, "book 1"), (2, "b"))}),
    "a list of a topic without these books": swapped(kind=Page, fields={"topic": "u"}),
    "a list out of order": swapped(kind=Page, fields={"books": ((2, "book 2"), (1, "book 1"))}),
    "a list before its time": swapped(kind=Page, index=2, fields={"invoked": 2.1, "answered": 2.3}),
    "a stale list": swapped(kind=Page, fields={"invoked": 7.0, "answered": 7.1}),
    "a page with more to come, of which there is none": swapped(
        kind=Page, index=1, fields={"invoked": 7.0, "answered": 7.1}
    ),
    "the last page of a list that goes on": swapped(kind=Page, index=1, fields={"more": False}),
    "a copy that differs at the end": swapped(kind=Stock, fields={"books": ()}),
}


@pytest.mark.parametrize("what", BROKEN)
def test_notices(what: str) -> None:
    assert not check(BROKEN[what]).ok


def test_notices_an_operation_that_was_executed_twice() -> None:
    log = catalog_log([("c:1", Sell((Line(1, 1),))), ("c:1", Sell((Line(1, 1),)))])
    assert "twice" in check(log).problems[0]


def test_notices_a_wrong_outcome_in_the_log() -> None:
    (opening,) = catalog_log([])
    entry = Entry("open", "", OPENING, 1001, Opened(3))
    assert not check([Logged("catalog", opening.version, 0, entry)]).ok


def test_notices_a_gap_in_the_log() -> None:
    log = catalog_log([("c:1", Sell((Line(1, 1),))), ("c:2", Sell((Line(1, 1),)))])
    assert not check([log[0], log[2]]).ok


def test_a_sale_without_order_is_wrong_only_at_rest() -> None:
    history = [record for record in shop() if not isinstance(record, Orders | Write)]
    history = [record for record in history if not (isinstance(record, Logged) and record.tier == "order")]
    order_log = Logged("order", (1, 1), 0, Entry("r:1", "", RecordOrder((), 0, 0, 0), 0, Opened(0)))
    assert check(history).ok
    assert not check([*history, order_log]).ok  # an order without its sale never is


# ---- files


def test_a_history_survives_its_file() -> None:
    file = io.BytesIO()
    dump(shop(), file)
    file.seek(0)
    assert list(load(file)) == shop()


def test_a_bad_line_is_named() -> None:
    with pytest.raises(HistoryError, match="line 2"):
        list(load(io.BytesIO(b'\n{"type":"read"}\n')))


def test_the_command_tells_the_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "history"
    for history, status, word in ((shop(), 0, "sound"), (BROKEN["a stale read"], 1, "BROKEN")):
        with path.open("wb") as file:
            dump(history, file)
        assert main(["--quiet", str(path)]) == status
        assert word in capsys.readouterr().out


def test_the_command_says_what_is_wrong_with_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none")]) == 2
    assert "none" in capsys.readouterr().err


def test_jepsens_form_names_every_event(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "history"
    with path.open("wb") as file:
        dump(shop(), file)
    assert main(["--edn", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == '{:index 0, :time 1000000000, :type :invoke, :process 0, :f :buy, :value ["c:1" [1 1]]}'
    assert sum(":type :invoke" in line for line in lines) == 10
    assert sum(":type :ok" in line for line in lines) == 8
    assert any(':f :list, :value ["t" 0 [1 2]]' in line for line in lines)
    assert sum(":type :fail" in line for line in lines) == 1
