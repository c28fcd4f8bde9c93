"""The two state machines: folds that give every replica the same rows, and can take back their last batch."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pygmy.messages.operations import (
    AddBook,
    Book,
    Change,
    ChangeBook,
    Line,
    Mark,
    Marked,
    MarkReconciled,
    NewBook,
    NoSuchBook,
    Opened,
    OpenStock,
    Operation,
    Order,
    Ordered,
    OrderLine,
    OutOfRange,
    RecordOrder,
    RemoveBook,
    Removed,
    Sell,
    Shelved,
    Short,
    Sold,
    SoldLine,
    SoldOut,
)
from pygmy.state.orders import LAST_ORDER, ORDERS, RECONCILED, OrderBook
from pygmy.state.stock import MOST_COPIES, Stock, item_key, topic_key

TOPICS = ("distributed systems", "graduate school", "none")


def stocked() -> Stock:
    stock = Stock()
    books = tuple(NewBook(f"Book {n}", TOPICS[n % 2], 1000 * n, 10 * n, n) for n in range(1, 6))
    apply(stock, OpenStock(books, "d"), seq=1)
    return stock


def apply(machine: Any, operation: Operation, seq: int = 2, op_id: str = "k") -> Any:
    """One batch of one operation."""
    machine.begin()
    return machine.apply(op_id, operation, 1234, (1, seq))


def picture(stock: Stock) -> tuple[Any, ...]:
    """Everything that anyone can see of a stock."""
    pages = tuple(
        stock.shelves.page(topic, after, limit) for topic in (None, *TOPICS) for after in range(8) for limit in (1, 9)
    )
    return stock.shelves.all_rows(), pages, stock.shelves.next_id()


# ---- selling


def test_a_basket_is_sold_at_the_price_of_the_moment() -> None:
    stock = stocked()
    sold = apply(stock, Sell((Line(3, 2), Line(1, 1))))
    assert sold == Sold((SoldLine(3, 2, 3000, 28), SoldLine(1, 1, 1000, 9)), 7000)
    assert [(b.count, b.epoch, b.seq) for b in stock.shelves.all_rows()][:3] == [(9, 1, 2), (20, 1, 1), (28, 1, 2)]


def test_a_basket_with_one_short_book_sells_nothing_and_names_every_short_one() -> None:
    stock = stocked()
    before = picture(stock)
    assert apply(stock, Sell((Line(1, 11), Line(2, 1), Line(3, 31)))) == SoldOut((Short(1, 10), Short(3, 30)))
    assert picture(stock) == before
    assert stock.touched() == frozenset()
    assert stock.changes(2) == []


def test_lines_of_one_book_are_counted_together() -> None:
    stock = stocked()
    assert apply(stock, Sell((Line(1, 6), Line(1, 5)))) == SoldOut((Short(1, 10),))
    assert apply(stock, Sell((Line(1, 5), Line(1, 5)))) == Sold((SoldLine(1, 10, 1000, 0),), 10_000)


def test_unknown_and_removed_books_are_no_books() -> None:
    stock = stocked()
    apply(stock, RemoveBook(2))
    for operation in (Sell((Line(1, 1), Line(2, 1), Line(9, 1))), ChangeBook(2, count=1), RemoveBook(2)):
        outcome = apply(stock, operation)
        assert isinstance(outcome, NoSuchBook)
        assert 2 in outcome.items
    assert stock.shelves.book(1).count == 10  # type: ignore[union-attr]


# ---- keeping the shelves


def test_a_change_sets_what_is_given_and_nothing_else() -> None:
    stock = stocked()
    changed = apply(stock, ChangeBook(1, topic="none", increment=-4))
    assert changed == Shelved(Book(1, "Book 1", "none", 1000, 6, 1, 2))
    assert apply(stock, ChangeBook(1, title="T", cost=5, count=7, increment=1)).book.count == 8


@pytest.mark.parametrize("change", [ChangeBook(1, increment=-11), ChangeBook(1, increment=MOST_COPIES)])
def test_a_count_out_of_range_is_refused_and_changes_nothing(change: ChangeBook) -> None:
    stock = stocked()
    before = picture(stock)
    assert apply(stock, change) == OutOfRange(1, 10)
    assert picture(stock) == before


def test_the_id_of_a_removed_book_is_never_used_again() -> None:
    stock = stocked()
    assert apply(stock, RemoveBook(5)) == Removed(5)
    assert apply(stock, AddBook(NewBook("New", "none", 1, 1))).book.item == 6
    apply(stock, RemoveBook(6))
    again = Stock(stock.shelves.all_rows())  # as after a restart
    assert apply(again, AddBook(NewBook("Newer", "none", 1, 1))).book.item == 7
    assert again.shelves.page(None, 0, 9)[0] == [again.shelves.book(n) for n in (1, 2, 3, 4, 7)]


def test_the_opening_stock_never_overwrites() -> None:
    """Not what is there, not what has been sold since, and not what has been removed."""
    stock = stocked()
    apply(stock, Sell((Line(1, 10),)))
    apply(stock, RemoveBook(2))
    before = stock.shelves.all_rows()
    books = tuple(NewBook("Other", "other", 1, 1, n) for n in range(1, 8))
    assert apply(stock, OpenStock(books, "e"), seq=4) == Opened(2)
    assert stock.shelves.all_rows()[:5] == before
    assert stock.touched() == {"item 6", "item 7", "books", "topic other"}


def test_pages_come_by_id_and_say_whether_there_is_more() -> None:
    stock = stocked()

    def page(*args: Any) -> tuple[list[int], bool]:
        books, more = stock.shelves.page(*args)
        return [book.item for book in books], more

    assert page(None, 0, 3) == ([1, 2, 3], True)
    assert page(None, 3, 2) == ([4, 5], False)
    assert page(None, 3, 1) == ([4], True)
    assert page(TOPICS[1], 1, 1) == ([3], True)
    assert page("no such topic", 0, 10) == ([], False)


# ---- what caches have to drop


@pytest.mark.parametrize(
    ("operation", "keys"),
    [
        (Sell((Line(1, 1), Line(2, 1))), {"item 1", "item 2"}),
        (ChangeBook(1, cost=7, count=8), {"item 1"}),
        (ChangeBook(1, title="Other"), {"item 1", "books", "topic graduate school"}),
        (ChangeBook(1, title="Book 1"), {"item 1"}),
        (ChangeBook(1, topic="none"), {"item 1", "books", "topic graduate school", "topic none"}),
        (RemoveBook(2), {"item 2", "books", "topic distributed systems"}),
        (AddBook(NewBook("N", "none", 1, 1)), {"item 6", "books", "topic none"}),
        (Sell((Line(1, 99),)), set()),
    ],
)
def test_a_batch_touches_exactly_what_it_changes_the_look_of(operation: Operation, keys: set[str]) -> None:
    stock = stocked()
    apply(stock, operation)
    assert stock.touched() == keys


def test_a_book_that_comes_and_goes_in_one_batch_changes_no_list() -> None:
    stock = stocked()
    stock.begin()
    stock.apply("a", AddBook(NewBook("N", "none", 1, 1)), 0, (1, 2))
    stock.apply("b", RemoveBook(6), 0, (1, 2))
    assert stock.touched() == {"item 6"}


# ---- any history at all

items = st.integers(1, 9)
texts = st.sampled_from(("A", "B"))
topics = st.sampled_from(TOPICS)
lines = st.lists(st.builds(Line, items, st.integers(1, 8)), min_size=1, max_size=3).map(tuple)
operations = st.one_of(
    st.builds(Sell, lines),
    st.builds(AddBook, st.builds(NewBook, texts, topics, st.integers(0, 500), st.integers(0, 9))),
    st.builds(
        ChangeBook,
        items,
        st.none() | texts,
        st.none() | topics,
        st.none() | st.integers(0, 500),
        st.none() | st.integers(0, 20),
        st.none() | st.integers(-9, 9),
    ),
    st.builds(RemoveBook, items),
)
some = settings(max_examples=50, deadline=None)
batches = st.lists(st.lists(operations, max_size=4), max_size=6)


def carry_out(stock: Stock, batch: list[Operation], seq: int) -> list[Any]:
    stock.begin()
    return [stock.apply(f"{seq}-{n}", operation, seq, (1, seq)) for n, operation in enumerate(batch)]


def visible(stock: Stock) -> dict[str, Any]:
    """What each cache key shows."""
    shows: dict[str, Any] = {item_key(n): stock.shelves.book(n) for n in range(1, 40)}
    for topic in (None, *TOPICS):
        shows[topic_key(topic)] = [(b.item, b.title) for b in stock.shelves.page(topic, 0, 99)[0]]
    return shows


@some
@given(batches, st.lists(operations, min_size=1, max_size=5))
def test_rollback_restores_everything(history: list[list[Operation]], last: list[Operation]) -> None:
    stock = stocked()
    for seq, batch in enumerate(history, 2):
        carry_out(stock, batch, seq)
    before = picture(stock)
    carry_out(stock, last, 99)
    stock.rollback()
    assert picture(stock) == before
    assert stock.touched() == frozenset()


@some
@given(batches, st.lists(operations, min_size=1, max_size=5))
def test_a_restart_can_roll_back_as_well(history: list[list[Operation]], last: list[Operation]) -> None:
    stock = stocked()
    for seq, batch in enumerate(history, 2):
        carry_out(stock, batch, seq)
    before = picture(stock)
    carry_out(stock, last, 99)
    undo: Any = [
        ((change.before or change.after).item, change.before)  # type: ignore[union-attr]
        for change in stock.changes(99)
    ]
    again = Stock(stock.shelves.all_rows(), undo)
    assert picture(again) == picture(stock)
    again.rollback()
    assert picture(again) == before


@some
@given(batches)
def test_the_indexes_say_what_the_rows_say(history: list[list[Operation]]) -> None:
    stock = stocked()
    used = set(range(1, 6))
    for seq, batch in enumerate(history, 2):
        for outcome, operation in zip(carry_out(stock, batch, seq), batch, strict=True):
            if isinstance(operation, AddBook):
                assert outcome.book.item not in used, "an id used twice"
                used.add(outcome.book.item)
        rows = stock.shelves.all_rows()
        assert [row.item for row in rows] == sorted(used)
        on_shelf = [row for row in rows if not row.removed]
        assert stock.shelves.page(None, 0, 99)[0] == on_shelf
        for topic in TOPICS:
            assert stock.shelves.page(topic, 0, 99)[0] == [row for row in on_shelf if row.topic == topic]
        again = Stock(reversed(rows))  # as they come from the disk, or from anywhere
        assert again.shelves._ids == stock.shelves._ids
        assert again.shelves._topics == stock.shelves._topics
        assert all(type(row.cost) is int and type(row.count) is int and row.count >= 0 for row in rows)


@some
@given(batches)
def test_what_is_not_touched_looks_as_before(history: list[list[Operation]]) -> None:
    """And what is touched has a row that was written, so that no cache drops things for nothing."""
    stock = stocked()
    for seq, batch in enumerate(history, 2):
        before = visible(stock)
        carry_out(stock, batch, seq)
        after = visible(stock)
        changed = {key for key in before if before[key] != after[key]}
        touched = stock.touched()
        assert changed <= touched
        written = {item_key(c.after.item) for c in stock.changes(seq) if isinstance(c.after, Book)}
        assert {key for key in touched if key.startswith("item")} == written


@some
@given(batches)
def test_the_changes_are_what_a_disk_needs(history: list[list[Operation]]) -> None:
    stock = stocked()
    disk = {row.item: row for row in stock.shelves.all_rows()}
    for seq, batch in enumerate(history, 2):
        carry_out(stock, batch, seq)
        for change in stock.changes(seq):
            assert isinstance(change.after, Book)
            assert change.before == disk.get(change.after.item)
            disk[change.after.item] = change.after
        assert [disk[item] for item in sorted(disk)] == stock.shelves.all_rows()


@some
@given(batches)
def test_money_and_stock_are_conserved(history: list[list[Operation]]) -> None:
    stock = stocked()
    for seq, batch in enumerate(history, 2):
        for operation in batch:
            before = {row.item: row.count for row in stock.shelves.all_rows()}
            (outcome,) = carry_out(stock, [operation], seq)
            after = {row.item: row.count for row in stock.shelves.all_rows()}
            if isinstance(outcome, Sold):
                assert outcome.total == sum(line.price * line.quantity for line in outcome.lines)
                assert type(outcome.total) is int
                gone = {line.item: line.quantity for line in outcome.lines}
                assert after == {item: count - gone.get(item, 0) for item, count in before.items()}
            elif isinstance(operation, Sell):
                assert after == before


# ---- orders

LINES = (OrderLine(1, 2, 3000),)


def record(seq: int = 5) -> RecordOrder:
    return RecordOrder(LINES, 6000, 1111, seq)


def test_order_ids_have_no_gaps_and_carry_the_moment_of_the_sale() -> None:
    book = OrderBook()
    book.begin()
    outcomes = [book.apply(f"k{n}", record(), 2222, (1, 1)) for n in range(1, 4)]
    assert outcomes == [Ordered(Order(n, f"k{n}", LINES, 6000, 1111)) for n in range(1, 4)]
    assert book.last_order_id == 3
    orders = [change.after for change in book.changes(1) if isinstance(change.after, Order)]
    assert [order.order_id for order in orders] == [1, 2, 3]
    assert Change(1, None, Mark(LAST_ORDER, 3)) in book.changes(1)
    assert book.touched() == {ORDERS}


def test_a_rolled_back_order_gives_its_id_back() -> None:
    book = OrderBook()
    apply(book, record(), op_id="k1")
    apply(book, record(), op_id="k2")
    book.rollback()
    assert book.last_order_id == 1
    assert book.changes(3) == []
    assert apply(book, record(), op_id="k3").order.order_id == 2


def test_a_restarted_book_goes_on_where_it_was_and_can_roll_back() -> None:
    book = OrderBook((Mark(LAST_ORDER, 7), Mark(RECONCILED, 3)), [(LAST_ORDER, Mark(LAST_ORDER, 6))])
    assert (book.last_order_id, book.reconciled_upto) == (7, 3)
    book.rollback()
    assert book.last_order_id == 6
    assert apply(book, record()).order.order_id == 7


def test_the_mark_of_reconciled_sales_never_moves_back() -> None:
    book = OrderBook()
    assert apply(book, MarkReconciled(9)) == Marked(9)
    assert apply(book, MarkReconciled(4)) == Marked(9)
    assert book.reconciled_upto == 9
    book.rollback()
    assert book.reconciled_upto == 9


@some
@given(st.lists(st.lists(st.one_of(st.just(record()), st.builds(MarkReconciled, st.integers(0, 9))), max_size=4)))
def test_any_batch_of_orders_can_be_taken_back(history: list[list[Operation]]) -> None:
    book = OrderBook()
    for seq, batch in enumerate(history, 1):
        before = (book.last_order_id, book.reconciled_upto)
        for again in (False, True):
            if again:
                book.rollback()
                assert (book.last_order_id, book.reconciled_upto) == before
            book.begin()
            outcomes = [book.apply(f"{seq}-{n}", operation, 0, (1, seq)) for n, operation in enumerate(batch)]
        ids = [outcome.order.order_id for outcome in outcomes if isinstance(outcome, Ordered)]
        assert ids == list(range(before[0] + 1, before[0] + 1 + len(ids)))
        assert book.reconciled_upto >= before[1]


@pytest.mark.parametrize(("machine", "operation"), [(Stock(), record()), (OrderBook(), RemoveBook(1))])
def test_an_operation_of_the_other_tier_is_a_bug_and_says_so(machine: Any, operation: Operation) -> None:
    with pytest.raises(TypeError, match="not an operation"):
        apply(machine, operation)
