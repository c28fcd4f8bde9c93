"""A tier's log as a replica would have decided it: with its hashes, its outcomes and its rows."""

from collections.abc import Iterator
from pathlib import Path

from pygmy.messages.operations import Change, Line, NewBook, OpenStock, Operation, OrderLine, RecordOrder, Sell, Tier
from pygmy.messages.replication import Batch, Entry, View
from pygmy.replication.log import Log, chained, digest_of
from pygmy.state.orders import OrderBook
from pygmy.state.stock import Stock
from tests.support.inline_store import inline_store, now_of

BOOKS = 20
COPIES = 1000
VIEW = View(3, 0, {"catalog-0": 1}, frozenset({"catalog-0"}), "catalog-0")
Step = tuple[Batch, list[Change]]


def steps(tier: Tier, count: int, epoch: int = 1) -> list[Step]:
    """The first `count` batches: the catalog opens and sells book 1 again and again, the order tier writes orders."""
    return list(_steps(tier, count, epoch))


def _steps(tier: Tier, count: int, epoch: int) -> Iterator[Step]:
    machine = Stock() if tier == "catalog" else OrderBook()
    log = Log(machine)
    for seq in range(1, count + 1):
        operation, version = _operation(tier, seq), (epoch, seq)
        machine.begin()
        outcome = machine.apply(f"op{seq}", operation, 1000 + seq, version)
        entries = (Entry(f"op{seq}", digest_of(operation), operation, 1000 + seq, outcome),)
        base = log.head[0]
        batch = Batch(epoch, seq, base, entries, chained(log.head_hash, version, base, entries))
        yield batch, log.append_own(batch)


def _operation(tier: Tier, seq: int) -> Operation:
    if tier == "order":
        return RecordOrder((OrderLine(1, 1, 3000),), 3000, 1000 + seq, seq)
    if seq == 1:
        return OpenStock(tuple(NewBook(f"Title {n}", "topic", 3000, COPIES, n) for n in range(1, BOOKS + 1)), "d")
    return Sell((Line(1, 1),))


def member(path: Path, tier: Tier, count: int) -> None:
    """The database of a replica that has taken part in a view, closed, with so many batches."""
    store = inline_store(path, tier)
    now_of(store.boot())
    now_of(store.save_view(VIEW, True))
    for batch, changes in steps(tier, count):
        now_of(store.commit(batch.seq, [batch], changes))
    now_of(store.close())
