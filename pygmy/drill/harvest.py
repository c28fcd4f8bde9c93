"""What is left on the disks in the end: every replica's log and rows, compared, and told in the checker's terms."""

import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from pygmy.checker.history import Logged, Record, Stock
from pygmy.cluster import Role
from pygmy.database import log, rows
from pygmy.messages.operations import Book, MarkReconciled, Order, Tier
from pygmy.messages.replication import Batch
from pygmy.private import PrivateStore

EVERYTHING = 1 << 62


class Copy(NamedTuple):
    """One replica's data."""

    node: str
    tier: Tier
    batches: tuple[Batch, ...]
    books: tuple[Book, ...]
    orders: tuple[Order, ...]


def read_copy(path: Path, node: str, tier: Tier) -> Copy:
    """Without changing anything; its process must have ended."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        cursor = connection.cursor()
        batches = log.read(cursor, 1, EVERYTHING, EVERYTHING)
        if tier == "catalog":
            books = tuple(row for row in rows.load(cursor, tier) if isinstance(row, Book))
            return Copy(node, tier, batches, tuple(sorted(books, key=lambda book: book.item)), ())
        return Copy(node, tier, batches, (), rows.orders_page(cursor, 0, EVERYTHING, EVERYTHING))


def copies(store: PrivateStore, without: Collection[str] = ()) -> list[Copy]:
    """All replicas', by tier, but those of these nodes."""
    found = []
    for node in (*store.cluster.catalogs, *store.cluster.orders):
        if node.name in without:
            continue
        tier: Tier = "catalog" if node.role is Role.CATALOG else "order"
        found.append(read_copy(store.data / node.name / f"{tier}.sqlite", node.name, tier))
    return found


def without_marks(copy: Copy) -> Copy:
    """The copy without the batches at its end that only move the reconciler's mark.

    One whose node was stopped before another's may lack them: the other one goes on, and the mark moves by itself.
    """
    batches = copy.batches
    while batches and all(isinstance(entry.operation, MarkReconciled) for entry in batches[-1].entries):
        batches = batches[:-1]
    return copy._replace(batches=batches)


def compare(found: list[Copy]) -> Iterator[str]:
    """In which way copies of one tier differ."""
    first: dict[Tier, Copy] = {}
    for copy in found:
        other = first.setdefault(copy.tier, copy)
        if copy.batches != other.batches:
            ours, theirs = [batch.version for batch in copy.batches], [batch.version for batch in other.batches]
            same = next(
                (n for n, (a, b) in enumerate(zip(copy.batches, other.batches, strict=False)) if a != b),
                min(len(ours), len(theirs)),
            )
            yield (
                f"the logs differ from batch {same + 1} on: {copy.node} has {ours[same : same + 3]} of {len(ours)},"
                f" {other.node} has {theirs[same : same + 3]} of {len(theirs)}"
            )
        if (copy.books, copy.orders) != (other.books, other.orders):
            yield f"the rows of {copy.node} differ from those of {other.node}"


def records(found: list[Copy]) -> Iterator[Record]:
    """The logs, each of its tier's first copy, and what each catalog has on its shelves."""
    told: set[Tier] = set()
    for copy in found:
        if copy.tier not in told:
            told.add(copy.tier)
            for batch in copy.batches:
                for index, entry in enumerate(batch.entries):
                    yield Logged(copy.tier, batch.version, index, entry)
        if copy.tier == "catalog":
            yield Stock(copy.node, copy.books)
