"""The opening stock: what a file of books may say, and that everything else is refused, all of it at once."""

import csv
import io
import json
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pygmy import opening
from pygmy.messages.operations import NewBook
from pygmy.opening import BooksError, load_books, parse_books, parts

HEADER = "id,title,topic,cost,count\n"
BOOK: dict[str, Any] = {"title": "T", "topic": "t", "cost": 1, "count": 2}


def faults(text: str | bytes, suffix: str = "") -> list[str]:
    """What is told of a file that is refused."""
    data = text.encode() if isinstance(text, str) else text
    with pytest.raises(BooksError) as caught:
        parse_books(data, "books", suffix)
    return list(caught.value.faults)


def json_faults(*rows: object) -> list[str]:
    return faults(json.dumps(rows))


def costs(*spelled: str) -> list[int]:
    rows = ",".join(f'{{"title":"T","topic":"t","cost":{cost},"count":0}}' for cost in spelled)
    table = "".join(f"T,t,{cost},0\n" for cost in spelled)
    from_json = [book.cost for book in parse_books(f"[{rows}]".encode(), "")]
    assert from_json == [book.cost for book in parse_books(f"title,topic,cost,count\n{table}".encode(), "")]
    return from_json


def test_the_packaged_stock_is_the_seven_books() -> None:
    assert load_books(None) == (
        NewBook("How to get a good grade in 677 in 20 minutes a day", "distributed systems", 3000, 1200, 1),
        NewBook("RPCs for Dummies", "distributed systems", 3500, 2000, 2),
        NewBook("Xen and the Art of Surviving Graduate School", "graduate school", 2000, 3400, 3),
        NewBook("Cooking for the Impatient Graduate Student", "graduate school", 2500, 7000, 4),
        NewBook("How to finish Project 3 on time", "graduate school", 1500, 5000, 5),
        NewBook("Why theory classes are so hard.", "graduate school", 4000, 6000, 6),
        NewBook("Spring in the Pioneer Valley", "graduate school", 1000, 8000, 7),
    )


# ---- what a file may be

CHARACTERS = st.characters(exclude_categories=("Cc", "Cs"))
TEXTS = st.text(CHARACTERS | st.sampled_from('",; \N{ZERO WIDTH NO-BREAK SPACE}'), min_size=1, max_size=20)
BOOKS = st.lists(
    st.builds(
        NewBook,
        title=TEXTS,
        topic=TEXTS | st.just("x" * 500),
        cost=st.integers(0, 100_000_000),
        count=st.integers(0, 1_000_000_000),
        item=st.integers(1, 2**53),
    ),
    unique_by=lambda book: book.item,
    max_size=5,
).map(tuple)


def as_json(books: tuple[NewBook, ...], with_ids: bool) -> str:
    rows = []
    for book in books:
        texts = json.dumps({"title": book.title, "topic": book.topic})[1:-1]
        identity = f'"id": {book.item},' if with_ids else ""
        rows.append(f'{{{identity} {texts}, "cost": {Decimal(book.cost).scaleb(-2)}, "count": {book.count}}}')
    return f"[{','.join(rows)}]"


def as_csv(books: tuple[NewBook, ...], with_ids: bool, **style: Any) -> str:
    out = io.StringIO()
    columns = ["count", "topic", "title", "cost"] + ["id"] * with_ids
    writer = csv.DictWriter(out, columns, extrasaction="ignore", **style)
    writer.writeheader()
    for book in books:
        cost = Decimal(book.cost).scaleb(-2)
        row = {"id": book.item, "title": book.title, "topic": book.topic, "cost": cost, "count": book.count}
        writer.writerow(row)
    return out.getvalue()


def numbered(books: tuple[NewBook, ...]) -> tuple[NewBook, ...]:
    return tuple(NewBook(b.title, b.topic, b.cost, b.count, number) for number, b in enumerate(books, 1))


@given(BOOKS, st.booleans(), st.booleans(), st.sampled_from(["", ".json", ".JSON"]), st.booleans())
def test_json_is_read_as_it_was_written(
    books: tuple[NewBook, ...], with_ids: bool, wrapped: bool, suffix: str, bom: bool
) -> None:
    text = as_json(books, with_ids)
    data = (f' \n{{"books": {text}}}' if wrapped else text).encode("utf-8-sig" if bom else "utf-8")
    assert parse_books(data, "", suffix) == (books if with_ids else numbered(books))


@given(
    BOOKS,
    st.booleans(),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from(["", ".csv", ".CSV"]),
    st.booleans(),
)
def test_csv_is_read_as_it_was_written(
    books: tuple[NewBook, ...], with_ids: bool, end: str, quoting: int, suffix: str, bom: bool
) -> None:
    text = as_csv(books, with_ids, lineterminator=end, quoting=quoting)
    data = text.encode("utf-8-sig" if bom else "utf-8")
    assert parse_books(data, "", suffix) == (books if with_ids else numbered(books))


@given(st.binary(max_size=200) | st.text(st.sampled_from('[]{}",:\n\r 01.eid')).map(str.encode))
def test_any_bytes_are_books_or_a_books_error(data: bytes) -> None:
    for suffix in ("", ".json", ".csv"):
        with suppress(BooksError):
            parse_books(data, "", suffix)


def test_the_extension_wins_over_the_first_character(tmp_path: Path) -> None:
    file = tmp_path / "books.CSV"
    file.write_text("[]")
    with pytest.raises(BooksError, match=r"line 1, '\[\]': expected only the columns"):
        load_books(str(file))
    file = file.rename(tmp_path / "books.txt")
    assert load_books(str(file)) == ()


@pytest.mark.parametrize(
    "text", ["[]", '{"books": []}', "id,title,topic,cost,count", "cost,count,title,topic\r\n\r\n"]
)
def test_a_list_of_no_books_is_a_list(text: str) -> None:
    assert parse_books(text.encode(), "") == ()


def test_the_last_line_needs_no_end_and_blank_lines_do_not_count() -> None:
    books = parse_books(f'\n{HEADER}\n7,"a ""b"", c",t,1.5,2\n \n8,d,t,0,0'.encode(), "")
    assert books == (NewBook('a "b", c', "t", 150, 2, 7), NewBook("d", "t", 0, 0, 8))


def test_an_id_column_that_is_empty_all_the_way_down_is_none() -> None:
    assert [book.item for book in parse_books(f"{HEADER},a,t,1,1\n,b,t,1,1\n".encode(), "")] == [1, 2]


def test_money_is_exact() -> None:
    """In floats 0.29 * 100 is 28.999999999999996."""
    assert costs("0.29", "1.15", "8.2", "999999.99", "1000000.00", "30", "0") == [
        29,
        115,
        820,
        99999999,
        10**8,
        3000,
        0,
    ]


# ---- what it may not be


@pytest.mark.parametrize(
    "cost", ["0.001", "1000000.01", "-0.01", "1e400", "1e99999999999999999999", "9" * 5000, "0.29" + "0" * 40 + "1"]
)
def test_other_amounts_are_refused(cost: str) -> None:
    found = faults(f'[{{"title":"T","topic":"t","cost":{cost},"count":0}}]')
    assert len(found) == 1
    assert found[0].startswith("row 1, cost: expected an amount of 0..1000000 with at most two decimals, not ")
    found = faults(f"title,topic,cost,count\nT,t,{cost},0")
    assert found[0].startswith(
        "row 1 (line 2), cost: expected an amount of 0..1000000 with at most two decimals, not "
    )


@pytest.mark.parametrize("cost", ["", " 1", "1_0", "+1", ".5", "5.", "NaN", "Infinity", "\u0661"])
def test_csv_amounts_are_plain_digits(cost: str) -> None:
    assert faults(f"title,topic,cost,count\nT,t,{cost},0")[0].endswith(f"two decimals, not {cost!r}")


@pytest.mark.parametrize("count", ["", " 1", "1x", "1.0", "-1", "9" * 5000])
def test_csv_whole_numbers_are_plain_digits(count: str) -> None:
    (fault,) = faults(f"title,topic,cost,count\nT,t,1,{count}")
    assert fault.startswith("row 1 (line 2), count: expected a whole number of 0..1000000000, not ")


@pytest.mark.parametrize("value", ["1", None, True, [], {}, float("nan"), float("inf")])
def test_json_amounts_are_numbers(value: object) -> None:
    (fault,) = json_faults({**BOOK, "cost": value})
    assert fault.startswith("row 1, cost: expected an amount")


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("id", 0, "a whole number of 1..9007199254740992, not 0"),
        ("id", 2**53 + 1, "a whole number of 1..9007199254740992, not 9007199254740993"),
        ("id", None, "a whole number of 1..9007199254740992, not null"),
        ("id", "1", "a whole number of 1..9007199254740992, not '1'"),
        ("count", -1, "a whole number of 0..1000000000, not -1"),
        ("count", 1_000_000_001, "a whole number of 0..1000000000, not 1000000001"),
        ("count", 1.5, "a whole number of 0..1000000000, not 1.5"),
        ("count", True, "a whole number of 0..1000000000, not true"),
        ("title", "", "a text of 1..500 characters, none of them a control character, not ''"),
        ("title", "a\nb", r"a text of 1..500 characters, none of them a control character, not 'a\nb'"),
        ("title", "\ud800", r"a text of 1..500 characters, none of them a control character, not '\ud800'"),
        ("topic", "\x85", r"a text of 1..500 characters, none of them a control character, not '\x85'"),
        ("topic", 7, "a text of 1..500 characters, none of them a control character, not 7"),
        ("topic", ["x"], "a text of 1..500 characters, none of them a control character, not a list"),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_row_and_column(column: str, value: object, expected: str) -> None:
    good = {**BOOK, "id": 1}
    assert json_faults(good, {**good, "id": 2, column: value}) == [f"row 2, {column}: expected {expected}"]


def test_the_bounds_themselves_are_in() -> None:
    high = {"id": 2**53, "title": "x" * 500, "topic": "\N{BOOKS}" * 500, "cost": 1_000_000, "count": 1_000_000_000}
    low = {"id": 1, "title": "x", "topic": "y", "cost": 0, "count": 0}
    assert [b.item for b in parse_books(json.dumps([high, low]).encode(), "")] == [2**53, 1]
    (fault,) = json_faults({**high, "title": "x" * 501})
    assert fault.endswith(f"not '{'x' * 40}'... (501 characters)")


def test_ids_are_different_and_in_all_rows_or_in_none() -> None:
    seven = {**BOOK, "id": 7}
    assert json_faults(seven, {**BOOK, "id": 8}, seven) == ["row 3, id: expected an id of its own, not 7 as in row 1"]
    mixed = ["row 2, id: expected an id in all rows or in none: 1 of 3 have none"]
    assert json_faults(seven, BOOK, {**BOOK, "id": 8}) == mixed
    assert faults(f"{HEADER}7,T,t,1,1\n,T,t,1,1\n8,T,t,1,1") == [mixed[0].replace("2,", "2 (line 3),")]


def test_json_rows_have_all_columns_and_no_others() -> None:
    nameless = {key: value for key, value in BOOK.items() if key != "title"}
    assert json_faults(nameless, {**BOOK, "author": "A"}, 5) == [
        "row 1, title: expected this column",
        "row 2, 'author': expected only the columns id, title, topic, cost, count",
        "row 3: expected an object, not 5",
    ]
    assert faults('[{"title":"T","title":"U","topic":"t","cost":1,"count":1}]') == [
        "row 1: expected each column once"
    ]


def test_a_csv_header_has_all_columns_once_and_no_others() -> None:
    assert faults("title,author,topic,cost,topic\nT,A,t,-1,t") == [
        "line 1, 'author': expected only the columns id, title, topic, cost, count",
        "line 1, topic: expected this column once",
        "line 1, count: expected this column",
        "row 1 (line 2), cost: expected an amount of 0..1000000 with at most two decimals, not '-1'",
    ]


def test_csv_rows_are_as_long_as_the_header() -> None:
    assert faults(f"{HEADER}1,T,t,1\n2,T,t,1,1,\n") == [
        "row 1 (line 2), count: expected a value, not the end of the line",
        "row 2 (line 3), field 6: expected the end of the line after 5 fields",
    ]


def test_csv_lines_are_counted_through_quoted_line_ends_and_blank_lines() -> None:
    found = faults(f'{HEADER}1,"a\r\nb\n",t,1,1\n\n2,T,t,x,1\n')
    assert [fault.partition(":")[0] for fault in found] == ["row 1 (line 2), title", "row 2 (line 6), cost"]


def test_twenty_faults_are_told_and_the_rest_counted() -> None:
    with pytest.raises(BooksError) as caught:
        parse_books(json.dumps([{**BOOK, "cost": -1, "count": -1}] * 15).encode(), "my.json")
    lines = str(caught.value).splitlines()
    assert lines[0] == "my.json:"
    assert lines[1] == "  row 1, cost: expected an amount of 0..1000000 with at most two decimals, not -1;"
    assert lines[-2].startswith("  row 10, count: ")
    assert lines[-1] == "  ... and 10 more"
    assert (len(lines), caught.value.count, len(caught.value.faults)) == (22, 30, 20)
    assert len(json_faults(*[{**BOOK, "cost": -1}] * 20)) == 20


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[{"title": "T",\n  "topic" "t"}]', "line 2, column 11: expected JSON (expecting ':' delimiter)"),
        ("[{]", "line 1, column 3: expected JSON (expecting property name enclosed in double quotes)"),
        ("[] x", "line 1, column 4: expected JSON (extra data)"),
        ('{"books": [], "more": 1}', 'expected a list of books, or an object with nothing but "books": a list'),
        (
            '{"books": [], "books": []}',
            'expected a list of books, or an object with nothing but "books": a list',
        ),
        ('{"books": {}}', 'expected a list of books, or an object with nothing but "books": a list'),
        ("[" * 100_000, "expected a list of books, not lists within lists without end"),
        ("", "line 1, column 1: expected a header line with the columns id, title, topic, cost, count"),
        (
            f'{HEADER}1,"T,t,1,1\n',
            "line 2, column 3: expected a quote that closes this one before the end of the file",
        ),
        (
            f'{HEADER}1,"T"x,t,1,1\n',
            "line 2, column 6: expected a comma or the end of the line after the closing quote",
        ),
        (
            f'{HEADER}1,5" disk,t,1,1\n',
            "line 2, column 4: expected no quote in a field that does not begin with one",
        ),
    ],
)
def test_a_syntax_error_names_its_place(text: str, expected: str) -> None:
    assert faults(text) == [expected]


def test_other_encodings_than_utf_8_are_refused_where_they_begin() -> None:
    data = (HEADER + "1,\N{BOOKS}caf").encode() + b"\xe9,t,1,1\n"
    assert faults(data) == ["line 2, column 7: expected UTF-8 text"]
    assert faults(b"\xef\xbb\xbf\xff") == ["line 1, column 1: expected UTF-8 text"]
    assert faults("[]".encode("utf-16")) == ["line 1, column 1: expected UTF-8 text"]


def test_a_file_that_cannot_be_read_is_a_books_error(tmp_path: Path) -> None:
    with pytest.raises(BooksError, match=r"none\.json: cannot be read: No such file or directory"):
        load_books(str(tmp_path / "none.json"))


def test_there_is_a_most_of_books(monkeypatch: pytest.MonkeyPatch) -> None:
    assert opening.MOST_BOOKS == 1_000_000
    monkeypatch.setattr(opening, "MOST_BOOKS", 2)
    for count, refused in ((2, False), (3, True)):
        table = "title,topic,cost,count\n" + "T,t,1,1\n" * count
        for text in (json.dumps([BOOK] * count), table):
            if refused:
                assert faults(text) == ["expected at most 2 books"]
            else:
                assert len(parse_books(text.encode(), "")) == 2


def test_a_file_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "LARGEST_FILE", 10)
    with pytest.raises(BooksError, match="/dev/zero: expected at most 10 bytes"):
        load_books("/dev/zero")


# ---- parts


def stock(count: int) -> tuple[NewBook, ...]:
    return tuple(NewBook("T", "t", 1, 1, item) for item in range(count, 0, -1))


@pytest.mark.parametrize(("count", "sizes"), [(0, [0]), (1, [1]), (500, [500]), (501, [500, 1]), (1000, [500, 500])])
def test_parts_hold_all_books_by_id_at_most_500_each(count: int, sizes: list[int]) -> None:
    cut = parts(stock(count))
    assert [len(part.books) for part in cut] == sizes
    assert [book.item for part in cut for book in part.books] == list(range(1, count + 1))
    assert len({part.digest for part in cut}) == 1


@given(BOOKS, BOOKS)
def test_equal_stocks_and_only_they_have_one_digest(one: tuple[NewBook, ...], other: tuple[NewBook, ...]) -> None:
    assert parts(one) == parts(one[::-1])
    assert (parts(one)[0].digest == parts(other)[0].digest) == (set(one) == set(other))


def test_the_digest_is_of_the_whole_list_and_of_every_field() -> None:
    """A part that is the same in two files still tells which file it is from."""
    books = stock(501)
    changed = [
        NewBook("U", "t", 1, 1, 501),
        NewBook("T", "u", 1, 1, 501),
        NewBook("T", "t", 2, 1, 501),
        NewBook("T", "t", 1, 2, 501),
        NewBook("T", "t", 1, 1, 502),
    ]
    stocks = [books] + [(book, *books[1:]) for book in changed]
    firsts = [parts(each)[0] for each in stocks]
    assert len({part.books for part in firsts}) == 1
    assert len({part.digest for part in firsts}) == len(stocks)


def test_the_digest_is_the_same_on_every_machine_and_release() -> None:
    """A part that is retried after an upgrade is still the same part."""
    digest = parts(load_books(None))[0].digest
    assert digest == "c6cb53ca3bbf6a89a8ae4be95fbe81fb"
