"""What came of an operation, as the error that its asker is shown."""

from pygmy.errors import Problem, key_reused, no_such_book
from pygmy.messages.operations import NoSuchBook, Outcome, OutOfRange, Reused, SoldOut


def refusal(outcome: Outcome) -> Problem | None:
    """The Problem of a refused operation; None of one that took effect."""
    if isinstance(outcome, NoSuchBook):
        return no_such_book(outcome.items)
    if isinstance(outcome, Reused):
        return key_reused()
    if isinstance(outcome, OutOfRange):
        return out_of_range(outcome)
    if isinstance(outcome, SoldOut):
        return out_of_stock(outcome)
    return None


def out_of_range(outcome: OutOfRange) -> Problem:
    """409: the change would leave a count that no book can have; `count` is what there is."""
    detail = f"Book {outcome.item} has {outcome.count} copies; the change would leave it outside 0..1,000,000,000."
    return Problem(409, "Count out of range", detail, item=outcome.item, count=outcome.count)


def out_of_stock(outcome: SoldOut) -> Problem:
    """409: names every book that is short, and how many copies of it there are."""
    names = ", ".join(f"{short.count} of book {short.item}" for short in outcome.short)
    items = [{"id": short.item, "count": short.count} for short in outcome.short]
    first = outcome.short[0]
    extra = {"item": first.item, "count": first.count} if len(items) == 1 else {"items": items}
    return Problem(409, "Out of stock", f"There are too few copies: {names} left.", **extra)
