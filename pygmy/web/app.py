"""A Klein app made from a route table, with one place that turns any error into problem+json.

app = make_app([*routes, *common_routes(...)], secrets=secrets, metrics=metrics)
site = BoundedSite(root_resource(app, internal=Internal(...)), clock)
"""

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, TypeVar, cast

from klein import Klein
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request

from pygmy.errors import bad_request
from pygmy.logs import Logger
from pygmy.web.auth import Secrets
from pygmy.web.bearers import for_people
from pygmy.web.internal import Internal
from pygmy.web.metrics import Metrics
from pygmy.web.openapi import Auth, Route, document
from pygmy.web.problems import answer_failure, log_unheard
from pygmy.web.queries import Nothing, query
from pygmy.web.requests import refuse_body, refuse_conditions, request_id, write_bytes
from pygmy.web.short import ShortWay

T = TypeVar("T")
log = Logger()

INTERNAL_PATH = b"/internal"
_NO_ROUTE = "(none)"
_CLIENT_GONE = 499


class App(Klein):
    """A Klein app, and a short way to its routes."""

    short: ShortWay


def make_app(
    routes: Sequence[Route],
    *,
    secrets: Secrets,
    metrics: Metrics,
    title: str = "Pygmy",
    now: Callable[[], float] = perf_counter,
) -> "App":
    """A Klein app that serves these routes and /openapi.json, behind the secrets they name; counts and times.

    Every error leaves as problem+json: `Problem` as it is, 404/405 with Allow, anything else as a 500 that
    tells no details and is logged with the request id. HEAD works wherever GET does.
    """
    app = App()
    app.url_map.merge_slashes = False  # a redirect would be an HTML page
    table = (*routes, _openapi_route(routes, title))
    served = [(route, _guarded(route, secrets, metrics, now)) for route in table]
    for number, (route, serve) in enumerate(served):
        path = route.path.replace("{", "<").replace("}", ">")
        app.route(path, methods=[route.method], endpoint=f"{number} {route.method} {route.path}")(serve)
    app.short = ShortWay(served)

    @app.handle_errors(Exception)
    def unrouted(request: IRequest, failure: Failure) -> bytes:
        body = answer_failure(request, failure)
        metrics.request(_NO_ROUTE, _method(request), _status(request), 0.0)
        return body

    return app


def _openapi_route(routes: Sequence[Route], title: str) -> Route:
    """The route that shows the table, itself included; the document is made once, when first asked for."""
    made: list[bytes] = []

    def openapi(request: IRequest) -> bytes:
        if not made:
            made.append(document((*routes, route), title))
        return write_bytes(request, 200, made[0])

    route = Route(
        method="GET",
        path="/openapi.json",
        handler=openapi,
        summary="This server's OpenAPI 3.1 document",
        answers={200: dict[str, Any]},
    )
    return route


def _guarded(
    route: Route, secrets: Secrets, metrics: Metrics, now: Callable[[], float]
) -> Callable[..., "Deferred[bytes]"]:
    """The route's handler behind its secret, with its errors answered and its answers counted."""
    check = {Auth.ADMIN: secrets.require_admin, Auth.MEMBER: secrets.require_member}.get(route.auth)
    refuses_query = route.query is None and not route.lenient
    refuses_body = route.body is None and not route.lenient
    shielded = route.method != "GET" and not route.lasting

    def call(request: IRequest, parts: dict[str, str]) -> Any:
        if check is not None:
            check(request)
        if refuses_query and b"?" in request.uri:
            query(request, Nothing)  # a ?quantity=5 must not buy one copy
        if refuses_body:
            refuse_body(request)
        return route.handler(request, **parts)

    def serve(request: IRequest, **parts: str) -> "Deferred[bytes]":
        started = now()
        request_id(request)

        def failed(failure: Failure) -> bytes | Failure:
            if failure.check(CancelledError):
                metrics.request(route.path, _method(request), _CLIENT_GONE, now() - started)
                return failure
            return answered(answer_failure(request, failure))

        def answered(body: bytes) -> bytes:
            metrics.request(route.path, _method(request), _status(request), now() - started)
            return body

        work = maybeDeferred(call, request, parts)
        if shielded:
            work = _shield(work, request)
        return work.addCallbacks(answered, failed)

    return serve


def _status(request: IRequest) -> int:
    return cast(Request, request).code


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def _method(request: IRequest) -> str:
    """For a metric's label: clients may send any word as a method, and must not make as many time series."""
    method = request.method.decode("ascii", "replace")
    return method if method in _METHODS else "other"


class _Root(Resource):
    """The internal path beside the Klein app; what Klein would not answer as problem+json is answered here."""

    isLeaf = True

    def __init__(self, app: App, internal: Internal | None) -> None:
        super().__init__()
        self._app = app.resource()
        self.short = app.short
        self.internal = internal

    def render(self, request: IRequest) -> Any:
        if self.internal is not None and request.path == INTERNAL_PATH and not for_people(request):
            return self.internal.render(request)
        try:
            _readable(request)
            if request.method not in (b"GET", b"HEAD"):
                refuse_conditions(request)
            request.setHost(b"localhost", 80)  # Klein would look at it, and cannot do with every one
            return self._app.render(request)
        except Exception:
            return answer_failure(request, Failure())


def _readable(request: IRequest) -> None:
    """Klein decodes the path as UTF-8 before any error handler could hear of it."""
    try:
        b"/".join(request.postpath).decode("utf-8")
    except UnicodeDecodeError:
        raise bad_request("Expected a path in UTF-8.") from None


def root_resource(app: App, *, internal: Internal | None = None) -> IResource:
    """The app, with the internal path (a plain Resource: the hot path of every buy) beside it."""
    return _Root(app, internal)


def _shield(work: "Deferred[T]", request: IRequest) -> "Deferred[T]":
    """A Deferred with the result of `work` whose cancellation leaves `work` alone.

    A handler is cancelled when its client disconnects; a write under way goes on. If nobody is left to hear of its
    failure, the failure is logged.
    """
    waiter: Deferred[T] = Deferred()

    def done(result: T) -> None:
        if not waiter.called:
            waiter.callback(result)

    def failed(failure: Failure) -> None:
        if not waiter.called:
            waiter.errback(failure)
        else:
            log_unheard(failure, request_id(request))

    work.addCallbacks(done, failed)
    return waiter
