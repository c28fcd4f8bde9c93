"""The stock that an empty catalog opens with: the packaged books, or a file of JSON or CSV.

A file is taken as a whole or not at all; what is wrong with it is said all at once.
"""

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from decimal import Decimal, InvalidOperation
from functools import partial
from hashlib import blake2b
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from pygmy.messages.operations import MOST_COPIES, NewBook, OpenStock

MOST_BOOKS = 1_000_000
LARGEST_FILE = 1 << 30
FAULTS_SHOWN = 20
PART = 500

_BOM = b"\xef\xbb\xbf"
_BLANK = " \t\r\n"
_COLUMNS = ("id", "title", "topic", "cost", "count")
_KNOWN = frozenset(_COLUMNS)
_REQUIRED = _KNOWN - {"id"}
_LARGEST_ID = 2**53
_LONGEST_TEXT = 500
_HIGHEST_COST = 1_000_000
_CENT = Decimal("0.01")
# Control characters, and halves of surrogate pairs, which JSON can spell but UTF-8 cannot.
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_WHOLE = re.compile(r"[0-9]+")
_AMOUNT = re.compile(r"[0-9]+(?:\.[0-9]+)?")
# One field, in quotes or not, and what ends it. Possessive: a quote that is never closed costs one pass.
_FIELD = re.compile(r'(?:"([^"]*+(?:""[^"]*+)*+)"|([^",\r\n]*+))(,|\r\n|\n|\r|\Z)')
_QUOTED = re.compile(r'"[^"]*+(?:""[^"]*+)*+"')
_LINE_END = re.compile(r"\r\n|\n|\r")


class BooksError(ValueError):
    """The file is not a list of books. str() names the file and each fault on a line of its own, the first 20.

    `faults` are those lines, each with its place and what was expected; `count` is how many faults there are.
    """

    def __init__(self, source: str, faults: Sequence[str], count: int | None = None) -> None:
        self.faults = tuple(faults)
        self.count = len(faults) if count is None else count
        lines = list(self.faults)
        if self.count > len(lines):
            lines.append(f"... and {self.count - len(lines)} more")
        super().__init__(f"{source}: {lines[0]}" if len(lines) == 1 else f"{source}:\n  " + ";\n  ".join(lines))


class _Row(Struct, gc=False):
    """One book as written: its number from 1, its line in a CSV file (0: JSON), and what stands in each column."""

    number: int
    line: int
    values: dict[str, Any]


class _Faults:
    """What is wrong so far: all counted, the first ones told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.count = 0

    def add(self, place: str, expected: str) -> None:
        """One more."""
        self.count += 1
        if len(self.told) < FAULTS_SHOWN:
            self.told.append(f"{place}: {expected}")

    def at(self, row: _Row, column: str, expected: str) -> None:
        """One more, in a column of a row ("": in the row as such)."""
        place = f"row {row.number} (line {row.line})" if row.line else f"row {row.number}"
        self.add(f"{place}, {column}" if column else place, expected)


class _Unexpected(Exception):
    """A value is not what was expected, as str() tells."""


def load_books(path: str | None) -> tuple[NewBook, ...]:
    """The books of the JSON or CSV file at `path` in its order, with ids; None: the seven that are packaged.

    BooksError, with every fault, if the file cannot be read or is not wholly right: nothing is half loaded.
    """
    if path is None:
        packaged = files("pygmy") / "data" / "books.json"
        return parse_books(packaged.read_bytes(), "packaged books", ".json")
    return parse_books(read_books(path), path, Path(path).suffix)


def read_books(path: str) -> bytes:
    """The bytes of the file at `path`. BooksError if it cannot be read, or is larger than any list of books."""
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise BooksError(path, [f"cannot be read: {error.strerror or error}"]) from error
    if len(data) > LARGEST_FILE:
        raise BooksError(path, [f"expected at most {LARGEST_FILE} bytes"])
    return data


def parse_books(data: bytes, source: str, suffix: str = "") -> tuple[NewBook, ...]:
    """The books in the bytes of a file; `suffix` .json or .csv tells its form, else its first character does."""
    text = _decode(data, source)
    form = suffix.lower()
    if form not in (".json", ".csv"):
        form = ".json" if text.lstrip(_BLANK)[:1] in ("[", "{") else ".csv"
    faults = _Faults()
    rows = _json_rows(text, source, faults) if form == ".json" else _csv_rows(text, source, faults)
    books = _books(rows, faults)
    if faults.count:
        raise BooksError(source, faults.told, faults.count)
    return books


def parts(books: Iterable[NewBook]) -> tuple[OpenStock, ...]:
    """The operations that put the books on the shelf: by id, at most 500 each; for no books, one without any.

    All carry one digest of all books, whatever order they came in: parts of different stocks never pass for one.
    """
    whole = sorted(books, key=lambda book: book.item)
    plain = [(book.item, book.title, book.topic, book.cost, book.count) for book in whole]
    digest = blake2b(msgspec.json.encode(plain), digest_size=16).hexdigest()
    starts = range(0, max(len(whole), 1), PART)
    return tuple(OpenStock(tuple(whole[start : start + PART]), digest) for start in starts)


# ---- the file


def _decode(data: bytes, source: str) -> str:
    data = data.removeprefix(_BOM)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        raise _syntax(source, before, len(before), "expected UTF-8 text") from None


def _syntax(source: str, text: str, at: int, expected: str) -> BooksError:
    """Something else was expected at this place of the text."""
    ends = [end.end() for end in _LINE_END.finditer(text, 0, at)]
    column = at - (ends[-1] if ends else 0) + 1
    return BooksError(source, [f"line {len(ends) + 1}, column {column}: {expected}"])


def _too_many(source: str) -> BooksError:
    return BooksError(source, [f"expected at most {MOST_BOOKS} books"])


# ---- JSON


class _Twice(dict[str, Any]):
    """An object in which a name comes more than once."""


def _json_rows(text: str, source: str, faults: _Faults) -> Iterator[_Row]:
    """The rows of a list of objects, or of {"books": [...]}; what has not the shape of a row is a fault."""
    for number, value in enumerate(_json_list(text, source), 1):
        row = _Row(number, 0, value)
        if not isinstance(value, dict):
            faults.at(row, "", f"expected an object, not {_shown(value)}")
            continue
        if isinstance(value, _Twice):
            faults.at(row, "", "expected each column once")
        _check_columns(value, partial(faults.at, row))
        yield row


def _json_list(text: str, source: str) -> list[Any]:
    try:
        value = json.loads(
            text, parse_float=_exact, parse_int=_whole, parse_constant=float, object_pairs_hook=_object
        )
    except json.JSONDecodeError as error:
        raise _syntax(source, text, error.pos, f"expected JSON ({error.msg[:1].lower()}{error.msg[1:]})") from None
    except RecursionError:
        raise BooksError(source, ["expected a list of books, not lists within lists without end"]) from None
    if isinstance(value, dict) and value.keys() == {"books"} and not isinstance(value, _Twice):
        value = value["books"]
    if not isinstance(value, list):
        raise BooksError(source, ['expected a list of books, or an object with nothing but "books": a list'])
    if len(value) > MOST_BOOKS:
        raise _too_many(source)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    return value if len(value) == len(pairs) else _Twice(value)


def _exact(text: str) -> Decimal:
    """A number with every digit it had; infinite if its exponent is beyond all reason."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal("Infinity")


def _whole(text: str) -> int | Decimal:
    """A whole number; one that is too long for int() is too large for any column anyway."""
    return int(text) if len(text) <= 30 else Decimal("Infinity")


# ---- CSV


def _csv_rows(text: str, source: str, faults: _Faults) -> Iterator[_Row]:
    """The rows under the header line, numbers read; columns may stand in any order, blank lines do not count."""
    records = _records(text, source)
    line, header = next(records, (1, []))
    if not header:
        raise _syntax(source, "", 0, f"expected a header line with the columns {', '.join(_COLUMNS)}")
    _check_columns(header, lambda column, expected: faults.add(f"line {line}, {column}", expected))
    for number, (line, fields) in enumerate(records, 1):
        if number > MOST_BOOKS:
            raise _too_many(source)
        row = _Row(number, line, _csv_values(header, fields))
        for column in header[len(fields) :]:
            faults.at(row, column, "expected a value, not the end of the line")
        if len(fields) > len(header):
            faults.at(row, f"field {len(header) + 1}", f"expected the end of the line after {len(header)} fields")
        yield row


def _csv_values(header: list[str], fields: list[str]) -> dict[str, Any]:
    values: dict[str, Any] = dict(zip(header, fields, strict=False))
    for column in ("id", "count"):
        text = values.get(column)
        if text is not None and _WHOLE.fullmatch(text):
            values[column] = _whole(text)
    text = values.get("cost")
    if text is not None and _AMOUNT.fullmatch(text):
        values["cost"] = _exact(text)
    # An empty id is no id: the column of a table whose books have none.
    if values.get("id") == "":
        del values["id"]
    return values


def _records(text: str, source: str) -> Iterator[tuple[int, list[str]]]:
    """The lines of a CSV file (RFC 4180, any line end) that are not blank: line number, fields."""
    if '"' not in text:  # as most are: a line is a record
        for number, row in enumerate(_LINE_END.split(text), 1):
            if "," in row or row.strip(_BLANK):
                yield number, row.split(",")
        return
    at, line, first, end = 0, 1, 1, len(text)
    fields: list[str] = []
    while at < end or fields:
        match = _FIELD.match(text, at)
        if match is None:
            raise _csv_fault(text, source, at)
        quoted, bare, stop = match.groups()
        if quoted is None:
            fields.append(bare)
        else:
            fields.append(quoted.replace('""', '"'))
            line += len(_LINE_END.findall(quoted))
        at = match.end()
        if stop == ",":
            continue
        if len(fields) > 1 or quoted is not None or bare.strip(_BLANK):
            yield first, fields
        line += 1
        first, fields = line, []


def _csv_fault(text: str, source: str, at: int) -> BooksError:
    """Why no field begins here: a quote that is not closed, is not the end of its field, or stands in mid-field."""
    if text[at] != '"':
        return _syntax(source, text, text.index('"', at), "expected no quote in a field that does not begin with one")
    closed = _QUOTED.match(text, at)
    if closed is None:
        return _syntax(source, text, at, "expected a quote that closes this one before the end of the file")
    return _syntax(source, text, closed.end(), "expected a comma or the end of the line after the closing quote")


# ---- the books


def _check_columns(columns: Collection[str], fault: Callable[[str, str], None]) -> None:
    """Every required column once, and no column that is unknown."""
    if isinstance(columns, dict) and _REQUIRED <= columns.keys() <= _KNOWN:
        return
    seen = set()
    for column in columns:
        if column not in _KNOWN:
            fault(_shown(column), f"expected only the columns {', '.join(_COLUMNS)}")
        elif column in seen:
            fault(column, "expected this column once")
        seen.add(column)
    for column in _COLUMNS:
        if column in _REQUIRED and column not in seen:
            fault(column, "expected this column")


def _books(rows: Iterable[_Row], faults: _Faults) -> tuple[NewBook, ...]:
    """The books of the rows. All rows have an id, each its own, or none has: then it is the row's number."""
    books = []
    rows_of: dict[int, int] = {}
    first_without = None
    without = total = 0
    for row in rows:
        total += 1
        found = _found(row, faults)
        item = found.get("id")
        if "id" not in found:
            without += 1
            first_without = first_without or row
        elif item is not None and rows_of.setdefault(item, row.number) != row.number:
            faults.at(row, "id", f"expected an id of its own, not {item} as in row {rows_of[item]}")
        if not faults.count:
            books.append(NewBook(found["title"], found["topic"], found["cost"], found["count"], item or row.number))
    if first_without and without < total:
        faults.at(first_without, "id", f"expected an id in all rows or in none: {without} of {total} have none")
    return tuple(books)


def _found(row: _Row, faults: _Faults) -> dict[str, Any]:
    """What stands in the columns of the row."""
    values = row.values
    try:
        return {column: check(values[column]) for column, check in _CHECKS.items() if column in values}
    except _Unexpected:  # now each by itself
        return {column: _checked(row, column, faults) for column in _COLUMNS if column in values}


def _checked(row: _Row, column: str, faults: _Faults) -> Any:
    """What stands in this column of the row; None, and a fault, if that cannot stand there."""
    try:
        return _CHECKS[column](row.values[column])
    except _Unexpected as error:
        faults.at(row, column, f"{error}, not {_shown(row.values[column])}")
        return None


def _id(value: object) -> int:
    if type(value) is int and 1 <= value <= _LARGEST_ID:
        return value
    raise _Unexpected(f"expected a whole number of 1..{_LARGEST_ID}")


def _text(value: object) -> str:
    if isinstance(value, str) and 1 <= len(value) <= _LONGEST_TEXT and not _UNFIT.search(value):
        return value
    raise _Unexpected(f"expected a text of 1..{_LONGEST_TEXT} characters, none of them a control character")


def _cents(value: object) -> int:
    # Range first: quantize() of a number with too many digits would fail.
    if type(value) is int and 0 <= value <= _HIGHEST_COST:
        return value * 100
    if isinstance(value, Decimal) and 0 <= value <= _HIGHEST_COST and (cents := value.quantize(_CENT)) == value:
        return int(cents.scaleb(2))
    raise _Unexpected(f"expected an amount of 0..{_HIGHEST_COST} with at most two decimals")


def _copies(value: object) -> int:
    if type(value) is int and 0 <= value <= MOST_COPIES:
        return value
    raise _Unexpected(f"expected a whole number of 0..{MOST_COPIES}")


_CHECKS: dict[str, Callable[[object], int | str]] = {
    "id": _id,
    "title": _text,
    "topic": _text,
    "cost": _cents,
    "count": _copies,
}


def _shown(value: object) -> str:
    """A value in an error: short, and on one line whatever is in it."""
    if isinstance(value, str):
        return repr(value) if len(value) <= 40 else f"{value[:40]!r}... ({len(value)} characters)"
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return str(value)[:40]
