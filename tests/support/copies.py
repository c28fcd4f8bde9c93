"""Copies of a tier's data as a replica leaves them on disk, to be audited; and the tools to tamper with them."""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from pygmy.database import log
from pygmy.messages.operations import (
    AddBook,
    ChangeBook,
    Line,
    NewBook,
    OpenStock,
    Operation,
    OrderLine,
    RecordOrder,
    RemoveBook,
    Sell,
    Sold,
    Tier,
)
from pygmy.messages.replication import GENESIS, Batch, Entry
from pygmy.replication.log import GENESIS_HASH, chained, digest_of
from pygmy.state.orders import OrderBook
from pygmy.state.stock import Stock
from tests.support.inline_store import inline_store, now_of

Step = tuple[int, Sequence[tuple[str, Operation]]]
"""A batch to be: its epoch, and operations by op_id."""

OPENING = OpenStock(tuple(NewBook(f"Book {item}", "t", 100 * item, 10, item) for item in (1, 2, 3)), "d")
CATALOG: list[Step] = [
    (1, [("open:0", OPENING)]),
    (1, [("c:a", Sell((Line(1, 2),))), ("c:b", Sell((Line(2, 99),)))]),
    (2, [("c:c", Sell((Line(1, 1), Line(3, 1)), True)), ("c:d", ChangeBook(2, increment=5))]),
    (2, [("c:e", AddBook(NewBook("New", "u", 50, 3))), ("c:f", RemoveBook(3))]),
    (3, [("c:g", Sell((Line(2, 1),)))]),
    (3, [("c:h", Sell((Line(1, 1),)))]),
]


def batches_of(tier: Tier, steps: Sequence[Step]) -> tuple[list[Batch], list[Any]]:
    """What a primary makes of these, and each batch's changes."""
    machine: Any = Stock() if tier == "catalog" else OrderBook()
    batches: list[Batch] = []
    changes = []
    head, digest = GENESIS, GENESIS_HASH
    for seq, (epoch, operations) in enumerate(steps, 1):
        machine.begin()
        entries = []
        for op_id, operation in operations:
            at = 1000 * seq
            outcome = machine.apply(op_id, operation, at, (epoch, seq))
            entries.append(Entry(op_id, digest_of(operation), operation, at, outcome))
        digest = chained(digest, (epoch, seq), head[0], entries)
        batches.append(Batch(epoch, seq, head[0], tuple(entries), digest))
        changes.append(machine.changes(seq))
        head = (epoch, seq)
    return batches, changes


def orders_for(sales: Sequence[Step] = CATALOG) -> list[Step]:
    """The orders of these sales, one a batch."""
    steps: list[Step] = []
    for batch in batches_of("catalog", sales)[0]:
        for entry in batch.entries:
            if isinstance(entry.outcome, Sold):
                lines = tuple(OrderLine(line.item, line.quantity, line.price) for line in entry.outcome.lines)
                basket = isinstance(entry.operation, Sell) and entry.operation.basket
                record = RecordOrder(lines, entry.outcome.total, entry.at, batch.seq, basket)
                steps.append((1, [(entry.op_id, record)]))
    return steps


def write_copy(data: Path, name: str, steps: Sequence[Step]) -> Path:
    """The database of the node `name` in this data directory, with this log; its path."""
    tier: Tier = "catalog" if name.startswith("catalog") else "order"
    path = data / name / f"{tier}.sqlite"
    path.parent.mkdir(parents=True)
    store = inline_store(path, tier)
    for batch, changes in zip(*batches_of(tier, steps), strict=True):
        now_of(store.commit(batch.seq, [batch], changes))
    now_of(store.close())
    return path


def tamper(path: Path, *statements: str) -> None:
    """Run these on the file, behind everyone's back."""
    with closing(sqlite3.connect(path)) as db:
        for statement in statements:
            db.execute(statement)
        db.commit()


def rechain(path: Path, change: Callable[[Entry], Entry] = lambda entry: entry) -> None:
    """Change entries, then make every hash and base that of what stands there now: a careful forger's work."""
    with closing(sqlite3.connect(path)) as db:
        cursor = db.cursor()
        head, digest = GENESIS, GENESIS_HASH
        for batch in log.read(cursor, 0, 1 << 30, 1 << 60):
            entries = tuple(map(change, batch.entries))
            digest = chained(digest, batch.version, head[0], entries)
            cursor.execute("UPDATE batches SET base_epoch = ?, hash = ? WHERE seq = ?", (head[0], digest, batch.seq))
            for index, entry in enumerate(entries):
                cursor.execute(
                    "UPDATE entries SET digest = ?, operation = ?, outcome = ?, kind = ? WHERE seq = ? AND idx = ?",
                    (
                        entry.digest,
                        log._encode(entry.operation).decode(),
                        log._encode(entry.outcome).decode(),
                        entry.operation.__struct_config__.tag,
                        batch.seq,
                        index,
                    ),
                )
            head = batch.version
        db.commit()


def snapshot(directory: Path) -> dict[str, tuple[int, int, bytes | None]]:
    """Every path below it, with its mode, modification time (ns) and bytes."""
    found = {}
    for path in [directory, *sorted(directory.rglob("*"))]:
        status = path.stat()
        found[str(path)] = (status.st_mode, status.st_mtime_ns, path.read_bytes() if path.is_file() else None)
    return found
