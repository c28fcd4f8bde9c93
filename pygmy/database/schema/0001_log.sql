-- What both tiers have: a few facts about this replica, the log, and the way back from its last batch.
-- Times are milliseconds since the Unix epoch, UTC; operations and outcomes are JSON (pygmy/messages/operations.py).

CREATE TABLE meta (
    key TEXT PRIMARY KEY NOT NULL,
    value ANY
) STRICT, WITHOUT ROWID;

CREATE TABLE batches (
    seq INTEGER PRIMARY KEY NOT NULL,
    epoch INTEGER NOT NULL,
    base_epoch INTEGER NOT NULL,
    hash TEXT NOT NULL
) STRICT;

CREATE TABLE entries (
    seq INTEGER NOT NULL,
    idx INTEGER NOT NULL,
    op_id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    digest TEXT NOT NULL,
    at INTEGER NOT NULL,
    operation TEXT NOT NULL,
    outcome TEXT NOT NULL,
    PRIMARY KEY (seq, idx)
) STRICT, WITHOUT ROWID;

-- At most one line: the rows that batch `seq`, the last one, has touched, as they were before it (JSON).
CREATE TABLE undo (
    seq INTEGER PRIMARY KEY NOT NULL,
    rows TEXT NOT NULL
) STRICT;

CREATE TABLE marks (
    name TEXT PRIMARY KEY NOT NULL,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
