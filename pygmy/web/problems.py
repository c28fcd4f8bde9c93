"""The one place that turns an error into an answer: problem+json (RFC 9457)."""

import re
from typing import Any

import msgspec
from msgspec import Struct
from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from pygmy.errors import Problem
from pygmy.logs import Logger
from pygmy.web.requests import request_id, write_bytes

log = Logger()

PROBLEM_MEDIA = "application/problem+json"


class ProblemBody(Struct, frozen=True, omit_defaults=True):
    """An error as its receiver sees it; further fields name what it is about."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str
    outcome_unknown: bool = False


def answer_failure(request: IRequest, failure: Failure) -> bytes:
    """Turn any failure into the answer; re-raises CancelledError (nobody is left to be answered)."""
    if failure.check(CancelledError):
        failure.raiseException()
    return answer_problem(request, as_problem(failure, request_id(request)))


def answer_problem(request: IRequest, problem: Problem) -> bytes:
    """Status, headers and body of a problem; the bytes to return or write."""
    body = problem_body(problem, request_id(request))
    return write_bytes(request, problem.status, body, problem_headers(problem), PROBLEM_MEDIA)


def as_problem(failure: Failure, rid: str) -> Problem:
    """The problem that a failure is shown as; what nobody expected is logged, and told without details."""
    error = failure.value
    if isinstance(error, Problem):
        return error
    if isinstance(error, HTTPException):
        return _of_routing(error)
    log.failure("unexpected error", failure, rid=rid)
    return Problem(500, "Internal error", "The server failed to answer. Its log has the details.")


def log_unheard(failure: Failure, rid: str) -> None:
    """A write went on after its client had left, and failed: nobody else is told."""
    if failure.check(Problem):
        log.info("after its client had gone: {problem}", problem=failure.value, rid=rid)
    else:
        log.failure("failed after its client had gone", failure, rid=rid)


def _of_routing(error: HTTPException) -> Problem:
    """Klein's 404 and 405, and whatever else werkzeug raises."""
    status = error.code or 500
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or ()))
        return Problem(405, "Method not allowed", f"Expected one of: {allowed}.", headers={"Allow": allowed})
    if status == 404:
        return Problem(404, "Not found", "There is nothing at this path.")
    return Problem(status, error.name, "The request cannot be routed.")


def problem_headers(problem: Problem) -> dict[str, str]:
    """The problem's own headers, with Retry-After where it says when to retry."""
    if problem.retry_after is None:
        return problem.headers
    return {**problem.headers, "Retry-After": str(problem.retry_after)}


def problem_body(problem: Problem, request_id: str) -> bytes:
    """The problem+json body of an error."""
    fields: dict[str, Any] = {
        "type": "urn:pygmy:problem:" + re.sub(r"[^a-z0-9]+", "-", problem.title.lower()).strip("-"),
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "request_id": request_id,
    }
    if problem.outcome_unknown:
        fields["outcome_unknown"] = True
    return msgspec.json.encode({**problem.extra, **fields})
