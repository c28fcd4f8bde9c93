"""How an error travels from node to node."""

from pygmy.errors import Problem
from pygmy.messages.internal import Refused

_PROBLEM_FIELDS = frozenset({"status", "title", "detail", "retry_after", "outcome_unknown", "headers", "self"})


def as_refused(problem: Problem) -> Refused:
    """The error as an answer, without its headers."""
    return Refused(
        problem.status, problem.title, problem.detail, problem.extra, problem.retry_after, problem.outcome_unknown
    )


def problem_of(refused: Refused) -> Problem:
    """The error that the other side's answer stands for."""
    return Problem(
        refused.status,
        refused.title,
        refused.detail,
        retry_after=refused.retry_after,
        outcome_unknown=refused.outcome_unknown,
        **{name: value for name, value in refused.extra.items() if name not in _PROBLEM_FIELDS},
    )
