"""The bodies of the contract, to the letter."""

import json
import locale

import msgspec
import pytest

from pygmy.errors import Problem
from pygmy.messages.operations import AddBook, Book, ChangeBook, Line, NewBook, Order, OrderLine
from pygmy.web.contract import (
    BasketBody,
    BuyBody,
    ChangeBody,
    NewBookBody,
    book_body,
    etag,
    order_body,
    order_date,
    summary_body,
)
from pygmy.web.requests import _decoded

MOMENT = 1_619_804_682_999  # Apr-30-2021 17:44:42.999 UTC


def shown(body):
    return json.loads(msgspec.json.encode(body))


def book(**fields):
    return {"title": "T", "topic": "t", "cost": 1, "count": 1, **fields}


def refused(type, body):
    with pytest.raises(Problem) as caught:
        _decoded(body if isinstance(body, bytes) else json.dumps(body).encode(), type)
    assert caught.value.status == 400
    return caught.value.detail


def test_an_order_of_one_book_has_the_names_users_know():
    order = Order(79, "c:k", (OrderLine(1, 1, 3000),), 3000, MOMENT)
    assert msgspec.json.encode(order_body(order)) == (
        b'{"OrderId":79,"ID":1,"Date":"Apr-30-2021 17:44:42","Order status":"Success","Quantity":1,"Total":30.0}'
    )


def test_a_basket_has_items_in_place_of_id_and_quantity():
    order = Order(80, "c:k", (OrderLine(1, 2, 3000), OrderLine(2, 1, 2750)), 8750, MOMENT, basket=True)
    assert shown(order_body(order)) == {
        "OrderId": 80,
        "Date": "Apr-30-2021 17:44:42",
        "Order status": "Success",
        "Items": [{"id": 1, "quantity": 2, "cost": 30.0}, {"id": 2, "quantity": 1, "cost": 27.5}],
        "Total": 87.5,
    }


def test_a_basket_of_one_book_is_still_a_basket():
    order = Order(81, "c:k", (OrderLine(1, 1, 3000),), 3000, MOMENT, basket=True)
    assert "Items" in shown(order_body(order))


def test_a_book_and_its_summary_have_the_names_users_know():
    one = Book(1, "How to", "distributed systems", 3000, 1154, 2, 9)
    assert msgspec.json.encode(book_body(one)) == (
        b'{"id":1,"title":"How to","topic":"distributed systems","cost":30.0,"count":1154}'
    )
    assert shown(summary_body(1, "How to")) == {"id": 1, "title": "How to"}
    assert etag(one) == '"2-9"'


def test_dates_are_utc_and_english_in_any_locale():
    before = locale.setlocale(locale.LC_TIME)
    try:
        for name in ("de_DE.UTF-8", "C"):
            try:
                locale.setlocale(locale.LC_TIME, name)
            except locale.Error:
                continue
            assert order_date(MOMENT) == "Apr-30-2021 17:44:42"
            assert order_date(1_606_096_800_000) == "Nov-23-2020 02:00:00"
    finally:
        locale.setlocale(locale.LC_TIME, before)


@pytest.mark.parametrize(
    ("written", "cents"),
    [
        (b"30.0", 3000),
        (b"30", 3000),
        (b"27.5", 2750),
        (b"0.07", 7),
        (b"1.10e1", 1100),
        (b"1000000", 10**8),
        (b"0", 0),
    ],
)
def test_money_comes_in_exactly(written, cents):
    body = _decoded(b'{"title":"T","topic":"t","cost":%s,"count":1}' % written, NewBookBody)
    assert body.operation() == AddBook(NewBook("T", "t", cents, 1))
    assert type(body.operation().book.cost) is int


@pytest.mark.parametrize(
    "written",
    [
        b"27.505",
        b"27.5000000000000000000000000000000000001",
        b"1e400",
        b"1e99999999999999999999",
        b"1e-400",
        b"-0.01",
        b"1000000.01",
        b'"30"',
        b"true",
        b"null",
        b"NaN",
        b"Infinity",
        b"[" * 5000,
        b"[" * 5000 + b"]" * 5000,
    ],
)
def test_what_is_not_money_is_refused(written):
    refused(NewBookBody, b'{"title":"T","topic":"t","cost":%s,"count":1}' % written)


@pytest.mark.parametrize(
    "bad",
    [
        book(title=""),
        book(title="x" * 501),
        book(title="a\nb"),
        book(title="a\n"),
        book(topic="a\x7f"),
        book(topic="\x85"),
        book(count=-1),
        book(count=1_000_000_001),
        book(count=1.5),
        book(id=3),
        {"title": "T"},
    ],
)
def test_a_bad_book_is_refused(bad):
    assert refused(NewBookBody, bad)


def test_the_longest_book_is_taken():
    _decoded(json.dumps(book(title="ü" * 500, count=10**9)).encode(), NewBookBody)


@pytest.mark.parametrize(
    ("sent", "change"),
    [
        ({"count": 5}, ChangeBook(3, count=5)),
        ({"count": 0}, ChangeBook(3, count=0)),
        ({"count": {"increment": 5}}, ChangeBook(3, increment=5)),
        ({"count": {"increment": -5}}, ChangeBook(3, increment=-5)),
        ({"cost": 27.5, "title": "N"}, ChangeBook(3, cost=2750, title="N")),
        ({"cost": 0}, ChangeBook(3, cost=0)),
    ],
)
def test_a_change_changes_what_it_names(sent, change):
    assert _decoded(json.dumps(sent).encode(), ChangeBody).operation(3) == change


@pytest.mark.parametrize(
    "bad",
    [{"count": {}}, {"count": {"increment": 1, "x": 1}}, {"count": -1}, {"title": None}, {"id": 1}, {"count": "5"}],
)
def test_a_bad_change_is_refused(bad):
    assert refused(ChangeBody, bad)


def test_a_change_of_nothing_is_refused():
    with pytest.raises(Problem):
        _decoded(b"{}", ChangeBody).operation(3)


def basket(*items):
    return {"items": [{"id": number, "quantity": 1} for number in items]}


def test_a_basket_becomes_lines():
    body = _decoded(json.dumps({"items": [{"id": 2, "quantity": 3}, {"id": 1}]}).encode(), BasketBody)
    assert body.lines() == (Line(2, 3), Line(1, 1))


@pytest.mark.parametrize("bad", [{"items": []}, basket(*range(1, 52)), basket(0), {}, {"items": [{"id": 1, "x": 1}]}])
def test_a_bad_basket_is_refused(bad):
    assert refused(BasketBody, bad)


def test_a_basket_holds_fifty_different_books():
    assert len(_decoded(json.dumps(basket(*range(1, 51))).encode(), BasketBody).lines()) == 50
    with pytest.raises(Problem):
        _decoded(json.dumps(basket(1, 2, 1)).encode(), BasketBody).lines()


@pytest.mark.parametrize("bad", [{"quantity": 0}, {"quantity": 1001}, {"quantity": True}, {"amount": 1}])
def test_a_bad_quantity_is_refused(bad):
    assert refused(BuyBody, bad)
