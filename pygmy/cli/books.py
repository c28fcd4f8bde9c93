"""The commands of customers and shopkeepers: search, lookup, buy, orders; restock, price, add, remove."""

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from pygmy.cli.calling import Settings, call, show
from pygmy.cli.failures import CommandFailed
from pygmy.cli.options import settings_of
from pygmy.cli.terminal import money, paint, printable, tell
from pygmy.messages.operations import MOST_COPIES
from pygmy.web.contract import AnyOrderBody, BookBody, SummaryBody

if TYPE_CHECKING:
    from pygmy.cli.client import Reply, StoreClient

BOOK = click.IntRange(min=1)
MOST_MONEY = 1_000_000


def _key(ctx: click.Context, param: click.Parameter, value: str | None) -> str:
    """The key, or "" for a new one. An empty one is refused: in a script it may be a variable that was never set."""
    if value == "":
        raise click.BadParameter("expected 1 to 255 visible ASCII characters.")
    return value or ""


def key_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """--key, for every command that changes something."""
    said = "Repeat an earlier attempt safely: the same key takes effect once."
    return click.option("--key", callback=_key, help=said)(command)


@click.command()
@click.argument("book", type=BOOK)
@settings_of("lookup")
def lookup(settings: Settings, book: int) -> None:
    """Show one book: title, topic, cost and count."""
    show(settings, call(settings, lambda store: store.get(f"/books/{book}", BookBody)), book_text)


@click.command()
@click.option("--topic", default=None, help="Only books on this topic.")
@settings_of("search")
def search(settings: Settings, topic: str | None) -> None:
    """List books: id and title."""
    params = {} if topic is None else {"topic": topic}
    reply = call(settings, lambda store: store.pages("/books", SummaryBody, **params))
    if reply.value or settings.json:
        show(settings, reply, list_text)
    else:
        tell("No books." if topic is None else f'No books on "{printable(topic)}".')


@click.command()
@click.argument("books", type=BOOK, nargs=-1, required=True)
@click.option("--quantity", type=click.IntRange(1, 1000), default=1, show_default=True, help="Copies of each.")
@key_option
@settings_of("buy")
def buy(settings: Settings, books: tuple[int, ...], quantity: int, key: str) -> None:
    """Buy a book, or several as one basket: all or none."""

    async def purchase(store: "StoreClient") -> tuple["Reply[AnyOrderBody]", dict[int, str]]:
        reply = await _purchase(store, books, quantity, key)
        return reply, {} if settings.json else await _titles(store, books)

    reply, titles = call(settings, purchase)
    show(settings, reply, lambda order: bought_text(order, titles))


async def _purchase(store: "StoreClient", books: Sequence[int], quantity: int, key: str) -> "Reply[AnyOrderBody]":
    if len(books) == 1:
        return await store.write("POST", f"/books/{books[0]}", AnyOrderBody, {"quantity": quantity}, key=key)
    copies = {book: books.count(book) * quantity for book in books}
    items = [{"id": book, "quantity": count} for book, count in copies.items()]
    return await store.write("POST", "/orders", AnyOrderBody, {"items": items}, key=key)


async def _titles(store: "StoreClient", books: Sequence[int]) -> dict[int, str]:
    """What was bought, for the receipt; a store that is busy now is not asked twice."""
    titles = {}
    try:
        for book in dict.fromkeys(books):
            titles[book] = (await store.get(f"/books/{book}", BookBody)).value.title
    except CommandFailed:
        pass
    return titles


@click.command()
@click.argument("order", type=BOOK, required=False)
@click.option("--after", type=click.IntRange(min=0), default=0, help="Only orders after this number.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="At most so many.")
@settings_of("orders")
def orders(settings: Settings, order: int | None, after: int, limit: int) -> None:
    """Show one order, or a list of them. Needs the admin token."""
    if order is not None:
        reply = call(settings, lambda store: store.get(f"/orders/{order}", AnyOrderBody, admin=True))
        show(settings, reply, order_text)
        return
    kind = list[AnyOrderBody]
    page = call(settings, lambda store: store.get("/orders", kind, admin=True, after=after, limit=limit))
    if page.value or settings.json:
        show(settings, page, lambda found: "\n".join(map(order_text, found)))
    else:
        tell("No orders.")
    if len(page.value) == limit:
        tell(f"Perhaps there are more: pygmy orders --after {page.value[-1].order_id}")


class CountType(click.ParamType[Any]):
    """`+5` and `-5` change the stock, `5` sets it."""

    name = "count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The `count` of PATCH /books/{id}."""
        text = str(value)
        digits = text[1:] if text[:1] in ("+", "-") else text
        if not (digits.isascii() and digits.isdigit()):
            self.fail(f"{text!r}: expected 5 to set the stock, +5 or -5 to change it.", param, ctx)
        return {"increment": int(text)} if digits != text else int(text)


class MoneyType(click.ParamType[Decimal]):
    """Money: at most two decimals, not negative."""

    name = "money"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        """The amount."""
        text = str(value)
        if not re.fullmatch(r"[0-9]{1,7}(\.[0-9]{1,2})?", text) or Decimal(text) > MOST_MONEY:
            self.fail(f"{text!r}: expected an amount such as 27.50, up to {MOST_MONEY}.", param, ctx)
        return Decimal(text)


def change(settings: Settings, book: int, key: str, body: dict[str, Any]) -> None:
    """PATCH one book and show it as it is then."""
    reply = call(
        settings,
        lambda store: store.write("PATCH", f"/books/{book}", BookBody, body, key=key, admin=True),
    )
    show(settings, reply, book_text)


@click.command()
@click.argument("book", type=BOOK)
@click.option("--count", type=CountType(), required=True, help="+5 adds copies, 5 sets the stock.")
@key_option
@settings_of("restock")
def restock(settings: Settings, book: int, count: Any, key: str) -> None:
    """Change how many copies there are. Needs the admin token."""
    change(settings, book, key, {"count": count})


@click.command()
@click.argument("book", type=BOOK)
@click.argument("cost", type=MoneyType())
@key_option
@settings_of("price")
def price(settings: Settings, book: int, cost: Decimal, key: str) -> None:
    """Change what a book costs. Needs the admin token."""
    change(settings, book, key, {"cost": float(cost)})


@click.command()
@click.option("--title", required=True)
@click.option("--topic", required=True)
@click.option("--cost", type=MoneyType(), required=True)
@click.option("--count", type=click.IntRange(0, MOST_COPIES), required=True)
@key_option
@settings_of("add")
def add(settings: Settings, title: str, topic: str, cost: Decimal, count: int, key: str) -> None:
    """Put a new book on the shelf. Needs the admin token."""
    body = {"title": title, "topic": topic, "cost": float(cost), "count": count}
    reply = call(settings, lambda store: store.write("POST", "/books", BookBody, body, key=key, admin=True))
    show(settings, reply, lambda book: f"id     {book.id}\n{book_text(book)}")


@click.command()
@click.argument("book", type=BOOK)
@key_option
@settings_of("remove")
def remove(settings: Settings, book: int, key: str) -> None:
    """Take a book out of the store for good. Needs the admin token."""
    reply = call(settings, lambda store: store.write("DELETE", f"/books/{book}", type(None), key=key, admin=True))
    if settings.json and reply.body:
        show(settings, reply, str)
    else:
        tell(f"Book {book} is no longer sold.")


def book_text(book: BookBody) -> str:
    """A book, one field a line."""
    fields = {
        "title": printable(book.title),
        "topic": printable(book.topic),
        "cost": money(book.cost),
        "count": f"{book.count:,}",
    }
    return "\n".join(f"{paint(name.ljust(5), 'cyan')}  {value}" for name, value in fields.items())


def list_text(books: Sequence[SummaryBody]) -> str:
    """`id  title` lines, ids aligned."""
    width = max(len(str(book.id)) for book in books)
    return "\n".join(f"{book.id:>{width}}  {printable(book.title)}" for book in books)


def order_text(order: AnyOrderBody) -> str:
    """An order in one line."""
    what = ", ".join(f"{copies} x book {book}" for book, copies in order.lines())
    return f"{order.order_id}  {printable(order.date)}  {money(order.total):>10}  {what}"


def bought_text(order: AnyOrderBody, titles: dict[int, str]) -> str:
    """The receipt."""
    number = paint(f"Order {order.order_id}:", "green")
    lines = [
        f'{copies} x "{printable(titles[book])}"' if book in titles else f"{copies} x book {book}"
        for book, copies in order.lines()
    ]
    if len(lines) == 1:
        return f"{number} {lines[0]} {money(order.total)}"
    return "\n".join([f"{number} {money(order.total)}", *(f"  {line}" for line in lines)])
