"""The catalog: books, prices, stock."""

from answers import application, not_found, problem
from flask import jsonify, request
from storage import connection, sell

app = application(__name__)


@app.get("/books/<int:item>")
def lookup(item):
    row = connection().execute("SELECT * FROM books WHERE id = ?", (item,)).fetchone()
    if row is None:
        return not_found(item)
    return jsonify(id=row["id"], title=row["title"], topic=row["topic"], cost=row["cents"] / 100, count=row["count"])


@app.get("/books")
def search():
    topic = request.args.get("topic")
    where, values = ("WHERE topic = ?", (topic,)) if topic is not None else ("", ())
    rows = connection().execute(f"SELECT id, title FROM books {where} ORDER BY id LIMIT 1000", values)
    return jsonify([{"id": row["id"], "title": row["title"]} for row in rows])


@app.post("/sell/<int:item>")
def sale(item):
    sold = sell(connection(), item, request.get_json()["quantity"])
    if sold is None:
        return not_found(item)
    if isinstance(sold, int):
        return problem(409, "Out of stock", f"Of book {item} there are {sold} left.", item=item, count=sold)
    return jsonify(cents=sold["cents"])
