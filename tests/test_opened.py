"""The memory of what a catalog was opened with: it saves a start the reading of the books, and never lies."""

from pathlib import Path

import pytest

from pygmy import opened
from pygmy.messages.operations import NewBook
from pygmy.opened import GROUP_BYTES, check_stock, opening_of, together
from pygmy.opening import BooksError, parts

CSV = "title,topic,cost,count\nOne,t,1,1\nTwo,t,2,2\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "books.csv"
    path.write_text(CSV)
    return path


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sources of the books that have been read."""
    done: list[str] = []
    real = opened.parse_books

    def parse(data: bytes, source: str, suffix: str = "") -> tuple[NewBook, ...]:
        done.append(source)
        return real(data, source, suffix)

    monkeypatch.setattr(opened, "parse_books", parse)
    return done


def test_a_file_that_a_catalog_was_opened_with_is_not_read_again(
    file: Path, tmp_path: Path, reads: list[str]
) -> None:
    memory = tmp_path / "memory"
    first = opening_of(str(file), memory)
    assert (first.remembered, len(reads)) == (None, 1)
    operations = first.operations()
    first.opened(len(operations))
    again = opening_of(str(file), memory)
    assert (again.remembered, len(reads)) == (1, 1)
    assert again.operations() == operations


def test_one_byte_more_is_another_file(file: Path, tmp_path: Path, reads: list[str]) -> None:
    memory = tmp_path / "memory"
    opening_of(str(file), memory).opened(1)
    file.write_text(CSV + "Three,t,-3,3\n")
    with pytest.raises(BooksError):
        opening_of(str(file), memory)


def test_a_file_is_checked_unless_a_catalog_here_was_opened_with_it(
    file: Path, tmp_path: Path, reads: list[str]
) -> None:
    memories = [tmp_path / "memory", tmp_path / "none"]
    check_stock(str(file), memories)
    assert len(reads) == 1
    opening_of(str(file), memories[0]).opened(1)
    check_stock(str(file), memories)
    assert len(reads) == 2
    file.write_text(CSV + "Three,t,-3,3\n")
    with pytest.raises(BooksError, match="row 3"):
        check_stock(str(file), memories)


@pytest.mark.parametrize("cut", [0, 1, 32, 33, 34])
def test_a_memory_that_is_not_whole_is_none(file: Path, tmp_path: Path, cut: int) -> None:
    memory = tmp_path / "memory"
    opening_of(str(file), memory).opened(1)
    whole = memory.read_bytes()
    assert len(whole) == 35
    memory.write_bytes(whole[:cut])
    assert opening_of(str(file), memory).remembered is None
    memory.write_bytes(b"\xff" * 35)
    assert opening_of(str(file), memory).remembered is None


def test_what_cannot_be_remembered_is_read_again(file: Path, tmp_path: Path) -> None:
    memory = tmp_path / "no such directory" / "memory"
    opening_of(str(file), memory).opened(1)
    assert opening_of(str(file), memory).remembered is None


def test_the_packaged_books_need_no_memory(tmp_path: Path) -> None:
    stock = opening_of(None, tmp_path / "memory")
    assert sum(len(operation.books) for operation in stock.operations()) == 7
    stock.opened(1)
    assert not (tmp_path / "memory").exists()


@pytest.mark.parametrize("count", [0, 1, 500, 501, 1001, 1501, 20_000])
def test_what_goes_at_once_is_all_in_order_with_the_first_and_the_last_alone(count: int) -> None:
    operations = parts(NewBook(f"Book {n}", "t" * 400, 1, 1, n) for n in range(1, count + 1))
    groups = list(together(operations))
    assert [number for group in groups for number in group] == list(range(len(operations)))
    assert (groups[0], groups[-1]) == ((0,), (len(operations) - 1,))
    assert max(map(len, groups)) * 500 * 400 <= GROUP_BYTES or max(map(len, groups)) == 1
