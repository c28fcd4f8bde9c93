"""The results of several things that were asked for at once."""

from collections.abc import Sequence
from typing import TypeVar

from twisted.internet.defer import Deferred, FirstError, gatherResults

T = TypeVar("T")


async def results_of(asked: Sequence["Deferred[T]"]) -> list[T]:
    """The results of all, in order; or the first failure, as it was, and the others are taken care of."""
    try:
        return await gatherResults(asked, consumeErrors=True)
    except FirstError as first:
        first.subFailure.raiseException()
