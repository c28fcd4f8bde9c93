"""POST /internal: where messages and calls from other nodes arrive. Members only."""

from collections.abc import Callable
from typing import Any, cast

import msgspec
from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from pygmy.errors import Problem, bad_request
from pygmy.messages.internal import Answer, AnswerBody, Call, Envelope, OneWay, Refused
from pygmy.tls.refusals import Refusals
from pygmy.web.auth import Secrets, Unproven
from pygmy.web.problems import answer_problem
from pygmy.web.requests import request_id, write_bytes

log = Logger()

Receive = Callable[[str, OneWay], None]
Answerer = Callable[[str, Call], "Deferred[AnswerBody]"]
Riders = Callable[[str], list[Raw]]

_DECODER = msgspec.json.Decoder(Envelope)
_ENCODER = msgspec.json.Encoder()


class Internal(Resource):
    """One-way messages go to `receive(sender, message)` in order, then calls to `answer(sender, call)`.

    Then an NDJSON line per `Answer`, each as soon as it is known. A `Problem` from `answer` becomes `Refused`; any
    other failure is logged and becomes `Refused` 500, outcome unknown. A client that goes away does not cancel the
    work. When there are no calls, what `riders(sender)` returns goes with the answer, if anything; else it is 204.
    """

    isLeaf = True

    def __init__(
        self,
        secrets: Secrets,
        clock: IReactorTime,
        receive: Receive,
        answer: Answerer,
        riders: Riders = lambda sender: [],
    ) -> None:
        super().__init__()
        self._secrets = secrets
        self._clock = clock
        self._receive = receive
        self._answer = answer
        self._refusals = Refusals(clock.seconds)
        self._riders = riders

    def render(self, request: IRequest) -> Any:
        """twisted.web's way in."""
        try:
            envelope = self._read(request)
        except Problem as problem:
            if isinstance(problem, Unproven):
                self._refusals(request.getClientAddress(), problem.detail.rstrip("."))
            return answer_problem(request, problem)
        for message in envelope.messages:
            self._received(envelope.sender, message)
        if not envelope.calls:
            riders = self._riders(envelope.sender)
            return write_bytes(request, 200, _ENCODER.encode(riders)) if riders else write_bytes(request, 204, b"")
        reply = _Reply(request, self._clock, len(envelope.calls))
        for call in envelope.calls:
            self._called(envelope.sender, call, reply)
        return NOT_DONE_YET

    def _read(self, request: IRequest) -> Envelope:
        if request.method != b"POST":
            request_id(request)
            raise Problem(405, "Method not allowed", "Expected POST.", headers={"Allow": "POST"})
        self._secrets.require_member(request)
        try:
            envelope = _DECODER.decode(request.content.read())
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise bad_request(f"The envelope cannot be read: {error}.") from None
        self._secrets.require_name(request, envelope.sender)
        return envelope

    def _received(self, sender: str, message: OneWay) -> None:
        try:
            self._receive(sender, message)
        except Exception:
            log.failure("a {kind} from {sender} failed", kind=type(message).__name__, sender=sender)

    def _called(self, sender: str, call: Call, reply: "_Reply") -> None:
        try:
            answering = self._answer(sender, call)
        except Exception:
            reply.add(call.id, refused(Failure(), call))
            return
        answering.addErrback(refused, call).addCallback(lambda body: reply.add(call.id, body))


def refused(failure: Failure, call: Call) -> Refused:
    """How a call's failure travels. What nobody expected may have had effects: its outcome is unknown."""
    error = failure.value
    if isinstance(error, Problem):
        return Refused(error.status, error.title, error.detail, error.extra, error.retry_after, error.outcome_unknown)
    log.failure("a call failed", failure, rid=call.request_id)
    return Refused(500, "Internal error", "A server behind this one failed.", outcome_unknown=True)


class _Reply:
    """The answers to one envelope's calls; what becomes ready in one reactor turn is one write."""

    def __init__(self, request: IRequest, clock: IReactorTime, expected: int) -> None:
        self._request = request
        self._clock = clock
        self._missing = expected
        self._ready: list[bytes] = []
        self._started = False
        self._gone = False
        cast(Request, request).notifyFinish().addErrback(self._client_gone)

    def _client_gone(self, _: Failure) -> None:
        self._gone = True
        self._ready.clear()

    def add(self, number: int, body: AnswerBody) -> None:
        """The answer to the call with this id."""
        self._missing -= 1
        if self._gone:
            return
        if not self._ready:
            self._clock.callLater(0, self._flush)
        self._ready.append(_ENCODER.encode(Answer(number, body)))

    def _flush(self) -> None:
        if self._gone:
            return
        lines = b"\n".join([*self._ready, b""])
        self._ready.clear()
        if not self._started:
            self._started = True
            self._request.setHeader(b"Content-Type", b"application/x-ndjson")
            if not self._missing:
                self._request.setHeader(b"Content-Length", b"%d" % len(lines))
        self._request.write(lines)
        if not self._missing:
            self._request.finish()
