"""A small typed client of a front end: one coroutine per call, failures as `CommandFailed` exceptions."""

from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

import msgspec
from msgspec import Struct
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as GaveUp
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers

from pygmy.cli.failures import Interrupted, OutcomeUnknown, Refused, Unavailable
from pygmy.peers import AsciiUrl
from pygmy.tls.troubles import trouble_of
from pygmy.web.ids import uuid7

T = TypeVar("T")


class HasId(Protocol):
    """What can be paged through."""

    @property
    def id(self) -> int:
        """What `after` of the next page names."""


PagedT = TypeVar("PagedT", bound=HasId)
DOUBT = "It may or may not have been done."
PAUSE = 0.1
NEVER_SENT = (ConnectError, DNSLookupError)


class Reply(Struct, Generic[T], frozen=True):
    """An answer twice: `value` typed, `body` as it came."""

    value: T
    body: bytes


class _Answer(Struct, frozen=True):
    """An HTTP answer read to its end; `more`: its Link header names a next page."""

    status: int
    body: bytes
    more: bool


class StoreClient:
    """Calls to the front end at `url`, each given up after `timeout` seconds as a whole.

    `token` is asked for the admin token only by calls that need it.
    """

    def __init__(
        self, http: HTTPClient, url: str, clock: IReactorTime, timeout: float, token: Callable[[], str]
    ) -> None:
        self.url = url
        self.clock = clock
        self._http = http
        self._timeout = timeout
        self._token = token

    async def get(self, path: str, kind: type[T], *, admin: bool = False, **params: object) -> Reply[T]:
        """Ask for one thing. Raises Refused or Unavailable."""
        answer = await self._read(path, params, admin)
        return Reply(self._decoded(answer.body, kind), answer.body)

    async def status(self, path: str, kind: type[T]) -> Reply[T]:
        """As `get`, for /health and the like: a 503 with a proper body is an answer."""
        answer = await self._ask(path, {}, admin=False)
        return Reply(self._decoded(answer.body, kind), answer.body)

    async def body(self, path: str, *, admin: bool = True, **params: object) -> bytes:
        """Ask for something that is no JSON value, such as JSON lines. Raises Refused or Unavailable."""
        return (await self._read(path, params, admin)).body

    def at(self, url: str) -> "StoreClient":
        """The same client of another node."""
        return StoreClient(self._http, url, self.clock, self._timeout, self._token)

    def bearing(self, secret: str) -> "StoreClient":
        """The same client with another secret."""
        return StoreClient(self._http, self.url, self.clock, self._timeout, lambda: secret)

    async def pause(self) -> None:
        """The time between two looks at something that is about to come."""
        await deferLater(self.clock, PAUSE)

    async def pages(self, path: str, kind: type[PagedT], **params: object) -> Reply[list[PagedT]]:
        """Everything of a list, page by page, as one JSON array."""
        values: list[PagedT] = []
        raw: list[msgspec.Raw] = []
        after: dict[str, object] = {}
        while True:
            answer = await self._read(path, {**params, **after, "limit": 1000}, admin=False)
            page: list[PagedT] = self._decoded(answer.body, list[kind])  # type: ignore[valid-type]
            values += page
            raw += self._decoded(answer.body, list[msgspec.Raw])
            if not answer.more or not page:
                return Reply(values, msgspec.json.encode(raw))
            after = {"after": page[-1].id}

    async def write(
        self, method: str, path: str, kind: type[T], body: object = None, *, key: str = "", admin: bool = False
    ) -> Reply[T]:
        """Have the store do something, once per `key` (made here when empty).

        Raises Refused, Unavailable when the request has surely not been sent, and otherwise OutcomeUnknown.
        """
        key = key or uuid7()
        headers = {"Idempotency-Key": key, **self._authorization(admin)}
        data = b"" if body is None else msgspec.json.encode(body)
        try:
            answer = await self._exchange(method, path, {}, data, headers)
        except Unavailable:
            raise
        except Exception as error:
            unknown = Interrupted if _cancelled(error) else OutcomeUnknown
            raise unknown(f"{self._silence(error)} {DOUBT}", key) from error
        if answer.status >= 500:
            raise self._failed_write(answer, key)
        self._refuse(answer)
        return Reply(self._decoded(answer.body, kind), answer.body)

    def _failed_write(self, answer: _Answer, key: str) -> Exception:
        """Only a 503 that does not say otherwise promises that nothing was done."""
        problem = _problem(answer.body)
        refused = Refused(answer.status, problem, answer.body)
        if answer.status == 503 and problem and not problem.get("outcome_unknown"):
            return refused
        said = str(refused) if problem.get("outcome_unknown") else f"{refused} {DOUBT}"
        return OutcomeUnknown(said, key, answer.body)

    async def _read(self, path: str, params: dict[str, object], admin: bool) -> _Answer:
        answer = await self._ask(path, params, admin)
        self._refuse(answer)
        return answer

    async def _ask(self, path: str, params: dict[str, object], admin: bool) -> _Answer:
        headers = self._authorization(admin)
        try:
            return await self._exchange("GET", path, params, b"", headers)
        except (Unavailable, CancelledError):
            raise
        except Exception as error:
            raise Unavailable(self._silence(error)) from error

    async def _exchange(
        self, method: str, path: str, params: dict[str, object], body: bytes, headers: dict[str, str]
    ) -> _Answer:
        """Request and whole answer. Raises Unavailable if it was surely never sent; else whatever happened."""
        if body:
            headers = {**headers, "Content-Type": "application/json"}
        query = {name: str(value) for name, value in params.items()}
        work = Deferred.fromCoroutine(self._request(method, path, query, body, headers))
        try:
            return await work.addTimeout(self._timeout, self.clock, _gave_up)
        except NEVER_SENT as error:
            raise Unavailable(f"There is no store at {self.url}: {_reason(error)}.") from error
        except Exception as error:
            trouble = trouble_of(Failure(error))
            if trouble is None or trouble.sent:
                raise
            raise Unavailable(f"{self.url} is not to be trusted: {trouble.why}.") from error

    async def _request(
        self, method: str, path: str, params: dict[str, str], body: bytes, headers: dict[str, str]
    ) -> _Answer:
        raw: dict[str, Sequence[str]] = {name: [value] for name, value in headers.items()}
        response = await self._http.request(
            method, AsciiUrl.from_text(self.url + path), params=params, headers=Headers(raw), data=body or None
        )
        content = await response.content()
        links = ",".join(response.headers.getRawHeaders("link", []))
        return _Answer(response.code, content, 'rel="next"' in links)

    def _authorization(self, admin: bool) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token()}"} if admin else {}

    def _refuse(self, answer: _Answer) -> None:
        if answer.status < 400:
            return
        problem = _problem(answer.body)
        if not problem:  # the 404 of some other server says nothing about books
            raise self._stranger()
        raise Refused(answer.status, problem, answer.body)

    def _decoded(self, body: bytes, kind: type[T]) -> T:
        if kind is type(None):
            return None
        try:
            return msgspec.json.decode(body, type=kind)
        except msgspec.MsgspecError as error:
            raise self._stranger() from error

    def _stranger(self) -> Unavailable:
        return Unavailable(f"What answers at {self.url} is no Pygmy front end.")

    def _silence(self, error: Exception) -> str:
        if isinstance(error, GaveUp):
            return f"{self.url} gave no answer within {self._timeout:g} s."
        if _cancelled(error):
            return "Interrupted while the store was at work."
        return f"The connection to {self.url} was lost before the answer came."


def _gave_up(result: T | Failure, seconds: float) -> T:
    """What a request that is cancelled for its time ends with: by itself it may call that a lost connection."""
    if isinstance(result, Failure):
        raise GaveUp(f"{seconds:g} s")
    return result


def _cancelled(error: Exception) -> bool:
    """True if we were told to stop; a request under way wraps that into the reasons of its own failure."""
    reasons = getattr(error, "reasons", None) or ()
    return isinstance(error, CancelledError) or any(reason.check(CancelledError) for reason in reasons)


def _problem(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.MsgspecError:
        return {}


def _reason(error: Exception) -> str:
    """`connection refused`, out of Twisted's longer sentences."""
    if isinstance(error, DNSLookupError):
        return "no such host"
    text = " ".join(str(getattr(error, "args", [""])[-1] or error).split()).rstrip(".")
    return text[:1].lower() + text[1:] if text else type(error).__name__
