"""The same store in the memory of one process: what FastAPI itself takes. Nothing of it outlives the process."""

import json
import os
from collections import defaultdict
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import answers
from fastapi import FastAPI
from fastapi.responses import JSONResponse

BOOKS = dict(enumerate(json.loads(Path(os.environ["PEER_BOOKS"]).read_text()), 1))
TITLES = [(item, one["title"]) for item, one in BOOKS.items()]
BY_TOPIC = defaultdict(list)
for number, book in BOOKS.items():
    BY_TOPIC[book["topic"]].append((number, book["title"]))
ORDERS = count(1)

app = FastAPI(openapi_url=None)


@app.get("/books")
async def search(topic: str | None = None) -> JSONResponse:
    return answers.found((TITLES if topic is None else BY_TOPIC.get(topic, []))[:1000])


@app.get("/books/{item}")
async def lookup(item: int) -> JSONResponse:
    """One book; 404 where there is none."""
    one = BOOKS.get(item)
    if one is None:
        return answers.not_found(item)
    return answers.book(item, one["title"], one["topic"], round(one["cost"] * 100), one["count"])


@app.post("/books/{item}")
async def buy(item: int, wanted: answers.Wanted | None = None) -> JSONResponse:
    """Take the copies and number the order."""
    quantity = 1 if wanted is None else wanted.quantity
    one = BOOKS.get(item)
    if one is None:
        return answers.not_found(item)
    if one["count"] < quantity:
        return answers.out_of_stock(item, one["count"])
    one["count"] -= quantity
    return answers.bought(next(ORDERS), item, quantity, round(one["cost"] * 100) * quantity, datetime.now(UTC))
