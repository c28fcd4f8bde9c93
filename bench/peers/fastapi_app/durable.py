"""The whole store as one FastAPI application over PostgreSQL; a buy is one statement, so one round trip."""

import os
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import answers
import asyncpg
from fastapi import FastAPI
from fastapi.responses import JSONResponse

LOOKUP = "SELECT id, title, topic, cents, count FROM books WHERE id = $1"
TOPIC = "SELECT id, title FROM books WHERE topic = $1 ORDER BY id LIMIT 1000"
ALL = "SELECT id, title FROM books ORDER BY id LIMIT 1000"
BUY = """
WITH sold AS (
    UPDATE books SET count = count - $2 WHERE id = $1 AND count >= $2 RETURNING id, cents
)
INSERT INTO orders (item, quantity, cents, date) SELECT id, $2, cents * $2, $3 FROM sold RETURNING id, cents
"""
LARGEST = 2**31 - 1

pool: asyncpg.Pool


@asynccontextmanager
async def lifespan(_: FastAPI):
    global pool
    async with asyncpg.create_pool(os.environ["PEER_DSN"], min_size=10, max_size=10) as pool:
        yield


app = FastAPI(lifespan=lifespan, openapi_url=None)


@app.get("/books")
async def search(topic: str | None = None) -> JSONResponse:
    rows = await (pool.fetch(ALL) if topic is None else pool.fetch(TOPIC, topic))
    return answers.found([(row["id"], row["title"]) for row in rows])


@app.get("/books/{item}")
async def lookup(item: int) -> JSONResponse:
    """One book; 404 where there is none."""
    row = await pool.fetchrow(LOOKUP, item) if item <= LARGEST else None
    return answers.not_found(item) if row is None else answers.book(*row)


@app.post("/books/{item}")
async def buy(item: int, wanted: answers.Wanted | None = None) -> JSONResponse:
    """Take the copies and write the order, in one statement; 404 or 409 where that cannot be."""
    quantity = 1 if wanted is None else wanted.quantity
    now = datetime.now(UTC)
    row = await pool.fetchrow(BUY, item, quantity, now) if item <= LARGEST else None
    if row is None:
        return await refused(item)
    return answers.bought(row["id"], item, quantity, row["cents"], now)


async def refused(item: int) -> JSONResponse:
    """Why nothing was sold."""
    row = await pool.fetchrow(LOOKUP, item) if item <= LARGEST else None
    return answers.not_found(item) if row is None else answers.out_of_stock(item, row["count"])
