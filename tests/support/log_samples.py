"""Small logs to store: sales of one book, an order for each."""

from collections.abc import Sequence

from pygmy.messages.operations import (
    Book,
    Change,
    Line,
    Mark,
    Order,
    Ordered,
    OrderLine,
    RecordOrder,
    Sell,
    Short,
    Sold,
    SoldLine,
    SoldOut,
)
from pygmy.messages.replication import Batch, Entry


def book(item: int = 1, count: int = 100, seq: int = 0) -> Book:
    return Book(item, f"Title {item}", "a topic", 3000, count, 1 if seq else 0, seq)


def sale(op_id: str, item: int = 1, left: int = 0, at: int = 1000) -> Entry:
    outcome = Sold((SoldLine(item, 1, 3000, left),), 3000)
    return Entry(op_id, f"digest of {op_id}", Sell((Line(item, 1),)), at, outcome)


def refusal(op_id: str, at: int = 1000) -> Entry:
    return Entry(op_id, f"digest of {op_id}", Sell((Line(1, 9),)), at, SoldOut((Short(1, 2),)))


def batch(seq: int, *entries: Entry, epoch: int = 1, base_epoch: int | None = None) -> Batch:
    base = (epoch if seq > 1 else 0) if base_epoch is None else base_epoch
    return Batch(epoch, seq, base, entries, f"hash of {epoch}.{seq}")


def sell_step(seq: int) -> tuple[Batch, list[Change]]:
    """Batch `seq` sells one copy of book 1, of which there were 100 before batch 1."""
    before = None if seq == 1 else book(count=101 - seq, seq=seq - 1)
    return batch(seq, sale(f"op{seq}", left=100 - seq)), [Change(seq, before, book(count=100 - seq, seq=seq))]


def order_step(seq: int) -> tuple[Batch, list[Change]]:
    """Batch `seq` writes order `seq`."""
    lines: Sequence[OrderLine] = (OrderLine(1, 1, 3000),)
    order = Order(seq, f"op{seq}", tuple(lines), 3000, 1000 + seq)
    operation = RecordOrder(order.lines, 3000, order.at, seq)
    before = Mark("last_order_id", seq - 1) if seq > 1 else None
    changes = [Change(seq, None, order), Change(seq, before, Mark("last_order_id", seq))]
    return batch(seq, Entry(f"op{seq}", "d", operation, order.at, Ordered(order))), changes
