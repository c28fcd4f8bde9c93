"""What a store of FastAPI answers, wherever its books are."""

from datetime import datetime

from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field


class Wanted(BaseModel):
    quantity: int = Field(1, ge=1, le=1000)


def found(books: list[tuple[int, str]]) -> JSONResponse:
    return JSONResponse([{"id": item, "title": title} for item, title in books])


def book(item: int, title: str, topic: str, cents: int, count: int) -> JSONResponse:
    return JSONResponse({"id": item, "title": title, "topic": topic, "cost": cents / 100, "count": count})


def bought(order: int, item: int, quantity: int, cents: int, moment: datetime) -> JSONResponse:
    """A success; `cents` for all copies."""
    return JSONResponse(
        {
            "OrderId": order,
            "ID": item,
            "Date": moment.strftime("%b-%d-%Y %H:%M:%S"),
            "Order status": "Success",
            "Quantity": quantity,
            "Total": cents / 100,
        }
    )


def not_found(item: int) -> JSONResponse:
    return problem(404, "Not found", f"There is no book {item}.", item=item)


def out_of_stock(item: int, count: int) -> JSONResponse:
    return problem(409, "Out of stock", f"Of book {item} there are {count} left.", item=item, count=count)


def problem(status: int, title: str, detail: str, **more: int) -> JSONResponse:
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}
    return JSONResponse(body, status, media_type="application/problem+json")
