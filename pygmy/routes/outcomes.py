"""What came of an operation, as the error that its asker is shown."""

from pygmy.errors import Problem, key_reused, no_such_book, outcome_unknown
from pygmy.messages.operations import NoSuchBook, OutOfRange, Result, Reused, SoldOut


def refusal(result: Result, sure: bool = True) -> Problem:
    """The Problem of a refused operation. Not `sure`: an earlier try may still be under way.

    Then a refusal without a record settles nothing.
    """
    outcome = result.outcome
    if not sure and not result.seq and not isinstance(outcome, Reused):
        return outcome_unknown("an earlier try went unanswered")
    if isinstance(outcome, NoSuchBook):
        return no_such_book(outcome.items)
    if isinstance(outcome, Reused):
        return key_reused()
    if isinstance(outcome, OutOfRange):
        return out_of_range(outcome)
    if isinstance(outcome, SoldOut):
        return out_of_stock(outcome)
    return Problem(500, "Internal error", "The log's answer does not fit.")


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
