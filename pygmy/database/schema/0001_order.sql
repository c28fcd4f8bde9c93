-- The orders: the fold of their log. Money is cents, `at` the moment of the sale, `lines` JSON.

CREATE TABLE orders (
    order_id INTEGER PRIMARY KEY NOT NULL,
    op_id TEXT NOT NULL,
    at INTEGER NOT NULL,
    total INTEGER NOT NULL,
    basket INTEGER NOT NULL,
    lines TEXT NOT NULL
) STRICT;
