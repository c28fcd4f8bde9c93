"""A Klein app made from a route table, with one place that turns any error into problem+json.

app = make_app([Route(...), *common_routes(...)], secrets=secrets, metrics=metrics)
site = BoundedSite(root_resource(app, internal=...), clock)
"""

from collections.abc import Sequence
from typing import TypeVar

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource

from pygmy.errors import Problem
from pygmy.web.auth import Secrets
from pygmy.web.metrics import Metrics
from pygmy.web.openapi import Route

T = TypeVar("T")


def make_app(routes: Sequence[Route], *, secrets: Secrets, metrics: Metrics, title: str = "Pygmy") -> Klein:
    """A Klein app that serves these routes and /openapi.json; asks for the secrets that routes name; counts and times.

    Every error leaves as problem+json (API.md): `Problem` as it is, 404/405 with Allow, anything else as a 500 that
    tells no details and is logged with the request id. HEAD works wherever GET does.
    """
    raise NotImplementedError


def root_resource(app: Klein, *, internal: IResource | None = None) -> IResource:
    """The app, with the internal path (a plain Resource: the hot path of every buy) beside it."""
    raise NotImplementedError


def shield(work: "Deferred[T]", request: IRequest | None = None) -> "Deferred[T]":
    """A Deferred with the result of `work` whose cancellation leaves `work` alone.

    Klein cancels a handler when its client disconnects; a write under way goes on. If nobody is left to hear
    of its failure, the failure is logged (a `Problem` in one line).
    """
    raise NotImplementedError


def problem_body(problem: Problem, request_id: str) -> bytes:
    """The problem+json body of an error."""
    raise NotImplementedError
