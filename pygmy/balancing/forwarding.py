"""Passing one request to a tier: replica after replica, within patience, and never twice.

Every try of a write carries the same op_id, so the tier makes it take effect once.  What must not happen is that a
write of unknown outcome is called refused: its buyer would buy again under a new key.
"""

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.web.iweb import IRequest

from pygmy.balancing.balancer import Balancer
from pygmy.errors import Problem, outcome_unknown, overloaded, unavailable
from pygmy.logs import Logger
from pygmy.messages.internal import CallBody
from pygmy.peers import LinkDown, Links
from pygmy.web.metrics import Metrics

log = Logger()
AnswerT = TypeVar("AnswerT")
# Refusals that no later try of the same operation can turn into a success: they are recorded, or the request is
# bad whoever reads it. Not so 404: the tier keeps no record of it, and a try still under way may find the book.
SETTLED = frozenset({400, 409, 413, 415, 422})


class Patience(Struct, frozen=True):
    """Seconds: for a request in all, a try of a read, a try of a write; and the pauses between rounds of tries."""

    total: float = 5.0
    read: float = 1.0
    write: float = 3.0
    pause: float = 0.05
    longest_pause: float = 0.4


class Errand(Struct, frozen=True):
    """One call to be passed on, for one request or for several.

    `requests` are those: how log lines call each (`GET /books/1`), and its id; where there are none it is routine,
    and not mentioned. `write`: what must not be called refused while it may be done. `departing()` is called right
    before each try.
    """

    requests: tuple[tuple[str, str], ...]
    body: CallBody
    write: bool = False
    departing: Callable[[], None] = lambda: None

    @property
    def request_id(self) -> str:
        """Of the first of the requests ("-": there is none)."""
        return self.requests[0][1] if self.requests else "-"


class Reply(Struct, Generic[AnswerT], frozen=True):
    """The answer of `replica`. `sure` False: an earlier try may still take effect after this answer."""

    replica: str
    answer: AnswerT
    sure: bool = True


def line_of(request: IRequest) -> str:
    """The request as log lines call it: `GET /books/1`."""
    return f"{request.method.decode('ascii', 'replace')} {request.uri.decode('ascii', 'replace')}"


class Forwards(Protocol):
    """Whatever gets an errand answered: a tier (`Forwarder`), or the server itself (`Local`)."""

    async def forward(self, errand: Errand, expected: type[AnswerT]) -> Reply[AnswerT]:
        """The answer, which is an `expected`; or a Problem. What is cancelled may have been done all the same."""


class Gate:
    """Bounds how many requests are being passed on at one time."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._inside = 0
        self._empty: list[Deferred[None]] = []

    @property
    def inside(self) -> int:
        """How many there are."""
        return self._inside

    def enter(self, count: int) -> None:
        """So many more; a 503 Problem if that is too many."""
        if self._inside + count > self._limit:
            raise overloaded("requests")
        self._inside += count

    def leave(self, count: int) -> None:
        """So many are done."""
        self._inside -= count
        if not self._inside:
            waiting, self._empty = self._empty, []
            for waiter in waiting:
                waiter.callback(None)

    def drained(self) -> "Deferred[None]":
        """Fires when none is inside."""
        waiter: Deferred[None] = Deferred()
        if self._inside:
            self._empty.append(waiter)
        else:
            waiter.callback(None)
        return waiter


class Forwarder:
    """Passes errands to one tier. `behind` is the tier without which that one can do nothing."""

    def __init__(
        self,
        tier: Balancer,
        urls: dict[str, str],
        links: Links,
        gate: Gate,
        metrics: Metrics,
        clock: IReactorTime,
        now: Callable[[], float],
        patience: Patience,
        behind: Balancer | None = None,
    ) -> None:
        self.tier = tier
        self.behind = behind
        self.urls = urls
        self.links = links
        self.gate = gate
        self.metrics = metrics
        self.clock = clock
        self.now = now
        self.patience = patience

    async def forward(self, errand: Errand, expected: type[AnswerT]) -> Reply[AnswerT]:
        """The tier's answer. Fails with a Problem: the tier's own refusal, or a 503 of this front end's."""
        count = len(errand.requests) or 1
        self.gate.enter(count)
        try:
            return await _Journey(self, errand, expected).run()
        finally:
            self.gate.leave(count)


class _Journey(Generic[AnswerT]):
    """One errand's way from replica to replica. `unknown` says why its outcome is, "" as long as it is not."""

    def __init__(self, forwarder: Forwarder, errand: Errand, expected: type[AnswerT]) -> None:
        self._f = forwarder
        self._errand = errand
        self._expected = expected
        self._end = forwarder.now() + forwarder.patience.total
        self._unknown = ""
        self._trouble = "no time left"

    async def run(self) -> Reply[AnswerT]:
        """Rounds of tries, with growing pauses between them, while a replica may come to serve."""
        pause = self._f.patience.pause
        while True:
            reply = await self._round()
            if reply is not None:
                return reply
            self._check_hope()
            if self._left() <= pause:
                raise self._failed(unavailable(f"No {self._f.tier.tier} server answered: {self._trouble}."))
            await deferLater(self._f.clock, pause)
            pause = min(pause * 2, self._f.patience.longest_pause)

    async def _round(self) -> Reply[AnswerT] | None:
        """One try at each candidate; None when none of them settled it."""
        try:
            names = self._f.tier.candidates(routine=not self._errand.requests, write=self._errand.write)
        except Problem as problem:
            raise self._failed(problem) from None
        for place, name in enumerate(names):
            if self._left() <= self._f.patience.pause:  # too little time for another try to mean anything
                break
            reply = await self._try(name, names[place + 1] if place + 1 < len(names) else None)
            if reply is not None:
                return reply
        return None

    async def _try(self, name: str, following: str | None) -> Reply[AnswerT] | None:
        errand, url = self._errand, self._f.urls[name]
        for what, request_id in errand.requests:
            log.info("forward {what} -> {url}", what=what, url=url, rid=request_id)
        longest = self._f.patience.write if errand.write else self._f.patience.read
        errand.departing()
        try:
            answer: Any = await self._f.links.call(name, errand.body, errand.request_id, min(longest, self._left()))
            if not isinstance(answer, self._expected):
                raise LinkDown(f"answered {type(answer).__name__}", sent=True)
        except LinkDown as down:
            self._silent(name, down)
            self._next(url, down.reason, name, following)
            return None
        except Problem as problem:
            self._count(name, str(problem.status))
            self._refused(name, problem)
            self._next(url, str(problem.status), name, following)
            return None
        self._count(name, "ok")
        self._f.tier.serves(name)
        return Reply(name, answer, sure=not self._unknown)

    def _silent(self, name: str, down: LinkDown) -> None:
        """No answer: the write may have been done all the same, unless it surely never arrived."""
        self._count(name, down.reason)
        if down.reason in ("refused", "unreachable", "tls"):
            self._f.tier.down(name, down.reason)
        else:
            self._f.tier.doubtful(name, down.reason)
        self._trouble = f"{name}: {down.reason}"
        if down.sent:
            self._doubt(self._trouble)

    def _refused(self, name: str, problem: Problem) -> None:
        """Refused: raise what settles the errand, else remember what it leaves open."""
        status = problem.status
        if status < 500 and (not self._unknown or status in SETTLED):
            raise problem
        if status < 500:
            raise self._failed(problem)
        self._trouble = f"{name} does not know" if problem.outcome_unknown else problem.detail.rstrip(".")
        if problem.outcome_unknown or status != 503:
            self._doubt(self._trouble)

    def _doubt(self, why: str) -> None:
        if self._errand.write and not self._unknown:
            self._unknown = why

    def _failed(self, problem: Problem) -> Problem:
        """What to tell: once a try's outcome is unknown, a later refusal without effect does not settle it."""
        return outcome_unknown(self._unknown) if self._unknown else problem

    def _check_hope(self) -> None:
        """Raise at once when nobody of this tier, or of the one behind it, may come to serve."""
        for tier in (self._f.tier, self._f.behind):
            if tier is not None and tier.all_down():
                raise self._failed(tier.unreachable())

    def _count(self, name: str, result: str) -> None:
        self._f.metrics.forward(name, result, len(self._errand.requests) or 1)

    def _left(self) -> float:
        return self._end - self._f.now()

    def _next(self, url: str, reason: str, name: str, following: str | None) -> None:
        then = self._f.urls[following] if following else "none"
        for _, request_id in self._errand.requests or (("", "-"),):
            log.info(
                "down {url} ({reason}), next {following}", url=url, reason=reason, following=then, rid=request_id
            )
