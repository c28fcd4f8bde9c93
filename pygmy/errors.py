"""The one error type: what went wrong, in the form that its receiver is shown (RFC 9457, problem+json)."""

from typing import Any

SECONDS_TO_RETRY = 1


class Problem(Exception):
    """An error with a place in HTTP; raised anywhere, turned into a response in one place (`pygmy.web.app`).

    `extra` are further fields of the body (`item`, `count`, ...). `outcome_unknown`: the write may or may not
    have taken effect; only a retry under the same key can tell.
    """

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        *,
        retry_after: int | None = None,
        outcome_unknown: bool = False,
        headers: dict[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(f"{status} {title}: {detail}")
        self.status = status
        self.title = title
        self.detail = detail
        self.retry_after = retry_after
        self.outcome_unknown = outcome_unknown
        self.headers = headers or {}
        self.extra = extra


def bad_request(detail: str, **extra: Any) -> Problem:
    """400: the request cannot be understood; `detail` says what was expected."""
    return Problem(400, "Bad request", detail, **extra)


def no_such_book(items: tuple[int, ...]) -> Problem:
    """404: the catalog has no such books."""
    if len(items) == 1:
        return Problem(404, "No such book", f"There is no book {items[0]}.", item=items[0])
    return Problem(404, "No such book", f"There are no books {', '.join(map(str, items))}.", items=list(items))


def key_reused() -> Problem:
    """422: the idempotency key belongs to another request."""
    return Problem(422, "Key already used", "This Idempotency-Key was used for another request. Use a new key.")


def unavailable(detail: str, **extra: Any) -> Problem:
    """503: nothing was done; try again soon."""
    return Problem(503, "Unavailable", detail, retry_after=SECONDS_TO_RETRY, **extra)


def overloaded(what: str) -> Problem:
    """503: a bounded queue is full; nothing was done."""
    return unavailable(f"Too many {what} are waiting here. Try again soon.")


def outcome_unknown(detail: str) -> Problem:
    """503: the write may or may not have taken effect."""
    return Problem(503, "Outcome unknown", detail, retry_after=SECONDS_TO_RETRY, outcome_unknown=True)
