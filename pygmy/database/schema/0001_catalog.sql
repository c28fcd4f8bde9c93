-- The catalog: the fold of its log. Money is cents; (epoch, seq) is the batch that changed the book last.

CREATE TABLE books (
    item INTEGER PRIMARY KEY NOT NULL,
    title TEXT NOT NULL,
    topic TEXT NOT NULL,
    cost INTEGER NOT NULL,
    count INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    removed INTEGER NOT NULL
) STRICT;
