-- A node's vote on the views of the tiers: what it must not forget about them is one JSON value in `meta` (`state`).

CREATE TABLE meta (
    key TEXT PRIMARY KEY NOT NULL,
    value ANY
) STRICT, WITHOUT ROWID;
