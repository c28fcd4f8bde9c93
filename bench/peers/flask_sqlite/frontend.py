"""The front end: lookups and searches go to the catalog, buys to the orders. It keeps nothing."""

import os

from answers import application, passed_on, session
from flask import request

app = application(__name__)
CATALOG, ORDER = os.environ["PEER_CATALOG"], os.environ["PEER_ORDER"]


@app.get("/books")
def search():
    return passed_on(session().get(f"{CATALOG}/books", params=request.args, timeout=30))


@app.get("/books/<int:item>")
def lookup(item):
    return passed_on(session().get(f"{CATALOG}/books/{item}", timeout=30))


@app.post("/books/<int:item>")
def buy(item):
    body, media = request.get_data(), request.headers.get("Content-Type", "application/json")
    answer = session().post(f"{ORDER}/books/{item}", data=body, headers={"Content-Type": media}, timeout=30)
    return passed_on(answer)
