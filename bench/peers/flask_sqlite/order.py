"""The orders: has the catalog sell, then writes the order. A crash between the two loses the order, not the money."""

import os
from datetime import UTC, datetime

from answers import application, passed_on, session
from flask import jsonify, request
from storage import connection, order

app = application(__name__)
CATALOG = os.environ["PEER_CATALOG"]


@app.post("/books/<int:item>")
def buy(item):
    """Sell, then write the order: each tier on its own disk, and nothing that would mend a crash in between."""
    quantity = (request.get_json(silent=True) or {}).get("quantity", 1)
    answer = session().post(f"{CATALOG}/sell/{item}", json={"quantity": quantity}, timeout=30)
    if answer.status_code != 200:
        return passed_on(answer)
    cents = answer.json()["cents"] * quantity
    date = datetime.now(UTC).strftime("%b-%d-%Y %H:%M:%S")
    number = order(connection(), item, quantity, cents, date)
    return jsonify(
        {
            "OrderId": number,
            "ID": item,
            "Date": date,
            "Order status": "Success",
            "Quantity": quantity,
            "Total": cents / 100,
        }
    )
