"""A tier's log on disk: batches and their entries, each entry found again by its op_id.

Everything here is a plain function of a cursor, inside whoever's transaction.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

import msgspec

from pygmy.database import rows
from pygmy.database.errors import StoreBroken
from pygmy.messages.internal import Sale
from pygmy.messages.operations import Change, Operation, Outcome, Result, Sell, Sold, Tier
from pygmy.messages.replication import GENESIS, Batch, Entry, Version

_encode = msgspec.json.Encoder().encode
_decode_operation = msgspec.json.Decoder(Operation).decode
_decode_outcome = msgspec.json.Decoder(Outcome).decode
_decode_sell = msgspec.json.Decoder(Sell).decode

# A node that asks for what follows its log names the last two batches that it has: a third one gets it on, however
# long all three are.
LEAST = 3

_SALES = """
    SELECT seq, idx, op_id, at, operation, outcome, (SELECT epoch FROM batches WHERE batches.seq = entries.seq)
    FROM entries WHERE seq > ? AND seq <= ? AND kind = 'sell' ORDER BY seq, idx
"""


Place = tuple[int, int]  # of an entry: the seq of its batch, and which it is in there, from 0


class Located(NamedTuple):
    """A recorded entry and where it stands: batch (epoch, seq), `place` in it from 0."""

    entry: Entry
    epoch: int
    seq: int
    place: int


def head(cursor: sqlite3.Cursor) -> Version:
    """The version of the last batch."""
    last = cursor.execute("SELECT epoch, seq FROM batches ORDER BY seq DESC LIMIT 1").fetchone()
    return last or GENESIS


def settled(cursor: sqlite3.Cursor) -> tuple[int, str] | None:
    """Seq and hash of the last batch but one."""
    found = cursor.execute("SELECT seq, hash FROM batches ORDER BY seq DESC LIMIT 1 OFFSET 1").fetchone()
    return None if found is None else (int(found[0]), str(found[1]))


def commit(cursor: sqlite3.Cursor, tier: Tier, cut: int, batches: Sequence[Batch], changes: Sequence[Change]) -> None:
    """Drop what has seq >= cut, append the batches, bring the rows to where these changes leave them.

    StoreBroken, with nothing done that the caller's rollback would not undo, if it does not fit the log.
    """
    last = head(cursor)
    if cut <= last[1]:
        last = _truncate(cursor, tier, cut, last)
    elif cut > last[1] + 1:
        raise StoreBroken(f"a cut at {cut}, but the log ends with {last}")
    if batches:
        _append(cursor, last, batches)
        rows.write(cursor, tier, changes)
        newest = batches[-1].seq
        rows.keep_undo(cursor, newest, [change for change in changes if change.seq == newest])
    elif changes:
        raise StoreBroken("changed rows without a batch that changed them")


def find(cursor: sqlite3.Cursor, op_ids: Iterable[str]) -> tuple[dict[str, Located], int]:
    """The entries recorded under these op_ids, and the seq up to which that is the whole truth."""
    found = {}
    for op_id in op_ids:
        columns = cursor.execute(
            "SELECT op_id, digest, operation, at, outcome, epoch, seq, idx"
            " FROM entries JOIN batches USING (seq) WHERE op_id = ?",
            (op_id,),
        ).fetchone()
        if columns is not None:
            found[op_id] = Located(_entry(*columns[:5]), *columns[5:])
    return found, head(cursor)[1]


def op_ids(cursor: sqlite3.Cursor, after: Place, limit: int) -> list[tuple[int, int, str]]:
    """Where an entry stands (as in `Place`) and its op_id, of up to `limit` entries after that place, in order."""
    return cursor.execute(
        "SELECT seq, idx, op_id FROM entries WHERE (seq, idx) > (?, ?) ORDER BY seq, idx LIMIT ?", (*after, limit)
    ).fetchall()


def read(cursor: sqlite3.Cursor, first: int, limit: int, limit_bytes: int) -> tuple[Batch, ...]:
    """Up to `limit` batches from seq `first` on, in order.

    No further one once their entries hold `limit_bytes` characters, but always the first LEAST.
    """
    found: list[Batch] = []
    size = 0
    cursor.execute(
        "SELECT seq, op_id, digest, operation, at, outcome, epoch, base_epoch, hash"
        " FROM entries JOIN batches USING (seq) WHERE seq >= ? AND seq < ? ORDER BY seq, idx",
        (first, first + limit),
    )
    for seq, lines in groupby(cursor, itemgetter(0)):
        entries = [line[1:] for line in lines]
        epoch, base_epoch, digest = entries[0][5:]
        size += sum(len(e[0]) + len(e[1]) + len(e[2]) + len(e[4]) + 20 for e in entries)
        if size > limit_bytes and len(found) >= LEAST:
            break
        found.append(Batch(epoch, seq, base_epoch, tuple(_entry(*e[:5]) for e in entries), digest))
    return tuple(found)


def newest(cursor: sqlite3.Cursor, count: int) -> tuple[Batch, ...]:
    """The last `count` batches (fewer if there are fewer), in order."""
    return read(cursor, head(cursor)[1] - count + 1, count, 1 << 62)


def sales(cursor: sqlite3.Cursor, after: int, until: int, upto: int, limit: int) -> tuple[tuple[Sale, ...], int]:
    """What was sold after seq `after`, in log order, and the seq up to which that is all of it.

    It ends with `upto`, before the first batch that decides on one later than `until` (ms), or with the batch that
    fills `limit`: a batch is never cut, so there may be a few more.
    """
    upto = min(upto, head(cursor)[1])
    found: list[Sale] = []
    batch: list[Sale] = []  # what is known of the batch `current`
    current = after
    for seq, index, op_id, at, operation, outcome, epoch in cursor.execute(_SALES, (after, upto)):
        if seq != current:
            found += batch
            batch, current = [], seq
            if len(found) >= limit:
                return tuple(found), seq - 1
        if at > until:
            return tuple(found), seq - 1
        sold = _decode_outcome(outcome)
        if isinstance(sold, Sold):
            batch.append(Sale(op_id, _decode_sell(operation).basket, Result(sold, at, epoch, seq, index)))
    return tuple(found + batch), max(after, upto)


def _truncate(cursor: sqlite3.Cursor, tier: Tier, cut: int, last: Version) -> Version:
    if cut != last[1] or not rows.has_undo(cursor, cut):
        raise StoreBroken(f"only the last batch can be dropped: asked for {cut}, the log ends with {last}")
    rows.undo(cursor, tier)
    cursor.execute("DELETE FROM entries WHERE seq = ?", (cut,))
    cursor.execute("DELETE FROM batches WHERE seq = ?", (cut,))
    return head(cursor)


def _append(cursor: sqlite3.Cursor, last: Version, batches: Sequence[Batch]) -> None:
    for batch in batches:
        if batch.base != last:
            raise StoreBroken(f"batch {batch.version} follows {batch.base}, but the log ends with {last}")
        last = batch.version
    cursor.executemany(
        "INSERT INTO batches VALUES (?,?,?,?)", [(b.seq, b.epoch, b.base_epoch, b.hash) for b in batches]
    )
    cursor.executemany(
        "INSERT INTO entries VALUES (?,?,?,?,?,?,?,?)",
        [
            (
                batch.seq,
                index,
                entry.op_id,
                entry.operation.__struct_config__.tag,
                entry.digest,
                entry.at,
                _encode(entry.operation).decode(),
                _encode(entry.outcome).decode(),
            )
            for batch in batches
            for index, entry in enumerate(batch.entries)
        ],
    )


def _entry(op_id: str, digest: str, operation: str, at: int, outcome: str) -> Entry:
    return Entry(op_id, digest, _decode_operation(operation), at, _decode_outcome(outcome))
