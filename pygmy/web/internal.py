"""POST /internal: where messages and calls from other nodes arrive. Members only.

There are two ways in. Every request may go the ordinary one, by twisted.web. Most go the short one, which is for an
envelope that comes whole, under a head that has been seen before: each step of a buy is such a request, and the
ordinary way takes it five times as long. Whatever is the least bit odd is left to the ordinary way, which says why.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import msgspec
from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from pygmy.errors import Problem, bad_request
from pygmy.logs import Logger
from pygmy.messages.internal import AnswerBody, Call, Envelope, OneWay, Refused
from pygmy.peers import as_refused
from pygmy.tls.refusals import Refusals
from pygmy.web.auth import Secrets, Unproven
from pygmy.web.hosts import is_host
from pygmy.web.problems import answer_problem
from pygmy.web.replies import OnChannel, OnRequest, Reply, Sink, whole
from pygmy.web.requests import request_id, write_bytes

if TYPE_CHECKING:
    from pygmy.web.channel import BoundedChannel

log = Logger()

Receive = Callable[[str, OneWay], None]
Answerer = Callable[[str, Call], "Deferred[AnswerBody]"]
Riders = Callable[[str], "list[Raw] | Deferred[list[Raw]]"]

_DECODER = msgspec.json.Decoder(Envelope)
_ENCODER = msgspec.json.Encoder()
_START = b"POST /internal HTTP/1.1"
_LENGTH = b"\r\nContent-Length: "
_JSON = b"application/json"
_NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"
_HEADS = 64  # heads that are remembered: each node sends one
_DIGITS = 8
# Headers that change nothing about what an envelope does.
_HARMLESS = frozenset({b"host", b"content-type", b"accept-encoding", b"user-agent"})


class Internal(Resource):
    """One-way messages go to `receive(sender, message)` in order, then calls to `answer(sender, call)`.

    Then an NDJSON line per `Answer`, each as soon as it is known. A `Problem` from `answer` becomes `Refused`; any
    other failure is logged and becomes `Refused` 500, outcome unknown. A client that goes away does not cancel the
    work. When there are no calls, what `riders(sender)` returns goes with the answer, if anything; else it is 204. It
    may return a Deferred: then the answer waits for it.
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
        self._heads: set[bytes] = set()

    # ---- the ordinary way

    def render(self, request: IRequest) -> Any:
        """twisted.web's way in."""
        try:
            envelope = self._read(request)
        except Problem as problem:
            if isinstance(problem, Unproven):
                self._refusals(request.getClientAddress(), problem.detail.rstrip("."))
            return answer_problem(request, problem)
        riders = self._take(envelope)
        if envelope.calls:
            self._call(envelope, Reply(OnRequest(cast(Request, request)), self._clock, len(envelope.calls)))
            return NOT_DONE_YET
        if isinstance(riders, Deferred):
            riders.addCallback(_ride, OnRequest(cast(Request, request)))
            return NOT_DONE_YET
        return write_bytes(request, 200, _ENCODER.encode(riders)) if riders else write_bytes(request, 204, b"")

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

    # ---- the short way

    def short(self, channel: "BoundedChannel", data: bytes) -> bool:
        """Take a request that came whole, on a connection without another one; False: it goes the ordinary way."""
        envelope = self._whole(channel, data)
        if envelope is None:
            return False
        riders = self._take(envelope)
        if envelope.calls:
            self._call(envelope, Reply(OnChannel(channel), self._clock, len(envelope.calls)))
        elif isinstance(riders, Deferred):
            riders.addCallback(_ride, OnChannel(channel))
        else:
            channel.answer_short(whole(_JSON, _ENCODER.encode(riders)) if riders else _NO_CONTENT)
        return True

    def _whole(self, channel: "BoundedChannel", data: bytes) -> Envelope | None:
        end = data.find(b"\r\n\r\n") if data.startswith(_START) else -1
        cut = data.rfind(_LENGTH, 0, end) if end > 0 else -1
        if cut < 0 or not self._knows(data[:cut]):
            return None
        digits = data[cut + len(_LENGTH) : end]
        if len(digits) > _DIGITS or not digits.isdigit() or len(data) != end + 4 + int(digits):
            return None
        try:
            envelope = _DECODER.decode(memoryview(data)[end + 4 :])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return envelope if self._secrets.proves(envelope.sender, channel.bears) else None

    def _knows(self, head: bytes) -> bool:
        """Whether the cluster secret is in it, and nothing that asks for anything special."""
        if head in self._heads:
            return True
        start, *lines = head.split(b"\r\n")
        headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
        names = [name for name, _ in headers]
        bearers = [value for name, value in headers if name == b"authorization"]
        if (
            start != _START
            or len(bearers) != 1
            or not self._secrets.is_member(bearers[0])
            or len(set(names)) < len(names)
            or not set(names) - {b"authorization"} <= _HARMLESS
            or b"host" not in names
            or not is_host(dict(headers)[b"host"])
        ):
            return False
        if len(self._heads) >= _HEADS:
            self._heads.clear()
        self._heads.add(head)
        return True

    # ---- both

    def _take(self, envelope: Envelope) -> "list[Raw] | Deferred[list[Raw]]":
        """Receive the messages; what rides along with the answer."""
        for message in envelope.messages:
            self._received(envelope.sender, message)
        return [] if envelope.calls else self._riders(envelope.sender)

    def _received(self, sender: str, message: OneWay) -> None:
        try:
            self._receive(sender, message)
        except Exception:
            log.failure("a {kind} from {sender} failed", kind=type(message).__name__, sender=sender)

    def _call(self, envelope: Envelope, reply: Reply) -> None:
        for call in envelope.calls:
            self._called(envelope.sender, call, reply)

    def _called(self, sender: str, call: Call, reply: Reply) -> None:
        try:
            answering = self._answer(sender, call)
        except Exception:
            reply.add(call.id, refused(Failure(), call))
            return
        answering.addCallbacks(
            lambda body: reply.add(call.id, body), lambda failure: reply.add(call.id, refused(failure, call))
        )


def _ride(riders: list[Raw], sink: Sink) -> None:
    if not sink.gone:
        sink.whole(_JSON, _ENCODER.encode(riders))


def refused(failure: Failure, call: Call) -> Refused:
    """How a call's failure travels. What nobody expected may have had effects: its outcome is unknown."""
    error = failure.value
    if isinstance(error, Problem):
        return as_refused(error)
    log.failure("a call failed", failure, rid=call.request_id)
    return Refused(500, "Internal error", "A server behind this one failed.", outcome_unknown=True)
