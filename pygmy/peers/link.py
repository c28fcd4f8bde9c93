"""One link: whatever gathers while the previous requests are out goes as one (POST /internal).

A request carries one-way messages and calls; its answers stream back one by one, so that a slow
one delays no other.
"""

import math
from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import Any, cast

import msgspec
from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers

from pygmy.errors import overloaded
from pygmy.logs import Logger
from pygmy.messages.internal import Answer, AnswerBody, Call, CallBody, OneWay, OutgoingEnvelope, Refused
from pygmy.peers.answers import GiveUp
from pygmy.peers.client import AsciiUrl, LinkDown, NodeClient, link_down
from pygmy.peers.refused import problem_of
from pygmy.reactors import at_turn_end
from pygmy.seldom import Seldom

log = Logger()

_ENCODER = msgspec.json.Encoder()
_ANSWERS = msgspec.json.Decoder(Answer)
_RIDERS = msgspec.json.Decoder(tuple[OneWay, ...])


def encode(message: OneWay) -> Raw:
    """A message encoded once, to be sent to several peers."""
    return Raw(_ENCODER.encode(message))


class _Waiting:
    """A call, from its asking to its answer."""

    __slots__ = ("deferred", "encoded", "expiry", "sent", "timeout")

    def __init__(self, encoded: Raw, timeout: float, deferred: "Deferred[AnswerBody]") -> None:
        self.encoded = encoded
        self.timeout = timeout
        self.deferred = deferred
        self.expiry: IDelayedCall | None = None
        self.sent = False


class Link:
    """One direction, to one node.

    `width` requests may be out; what comes meanwhile gathers. A request that has been out for `SLOW` seconds gives
    its place to another (up to `width * MOST`), so that calls which take their time do not hold up the rest; and the
    last `width` of these are for messages alone: a view change must not wait for the very calls that wait for it.
    `limit` bounds what waits: then calls are refused as overloaded, and the oldest message makes room for the newest
    (what is repeated supersedes). `patience` bounds a request without calls, in seconds. `name`: how log lines call
    the node.
    """

    PAUSE = 0.001
    SOUND = 1.0
    SLOW = 0.2
    MOST = 8
    ITEMS = 512
    BYTES = 4 * 1024 * 1024

    def __init__(
        self,
        url: str,
        sender: str,
        secret: str,
        client: NodeClient,
        clock: IReactorTime,
        *,
        width: int = 2,
        limit: int = 10_000,
        patience: float = 3.0,
        name: str = "",
        arrived: Callable[[OneWay], None] = lambda message: None,
    ) -> None:
        self._url = cast(AsciiUrl, AsciiUrl.from_text(f"{url}/internal"))
        self._whom = f"{name} at {url}" if name else url
        self._sender = sender
        self._client = client
        self._clock = clock
        self._width = width
        self._limit = limit
        self._patience = patience
        self._arrived = arrived
        self._sound_until = -math.inf
        self._headers = Headers(
            {b"Authorization": [b"Bearer " + secret.encode("ascii")], b"Content-Type": [b"application/json"]}
        )
        self._messages: deque[Raw] = deque()
        self._unsent: dict[int, _Waiting] = {}
        self._calls: dict[int, _Waiting] = {}  # all that have no answer yet, by id
        self._exchanges: set[_Exchange] = set()
        self._asking = 0  # how many of them carry calls
        self._places = 0
        self._taking = 0.0  # seconds: how long a request is out, lately
        self._number = 0
        self._gathering = False  # until the end of this turn
        self._urgent = False  # something that waits for a place should have gone already
        self._later: IDelayedCall | None = None
        self._closed = False
        self._seldom = Seldom(clock.seconds)

    def send(self, message: OneWay | Raw, within: float = 0.0) -> None:
        """Send one way. Lost if its request fails or the queue is full: the protocol repeats.

        A message that may wait goes along with the next one that may not, or with the answer to a request from there
        (`take`); alone it goes after `within` seconds. It waits only while a request of this link's own got through
        not longer than `SOUND` ago: a node whose requests do not get through must not be heard by its answers alone.
        """
        if self._closed:
            return
        if len(self._messages) >= self._limit:
            self._messages.popleft()
        self._messages.append(message if isinstance(message, Raw) else encode(message))
        if within and self._clock.seconds() < self._sound_until:
            self._gather_later(within)
        else:
            self._gather()

    def take(self) -> list[Raw]:
        """The messages that wait for company, while no request is about to bring them."""
        if self._later is None or self._urgent:
            return []
        self._forget_later()
        messages = list(self._messages)
        self._messages.clear()
        return messages

    def call(self, body: CallBody, request_id: str, timeout: float) -> "Deferred[AnswerBody]":
        """Ask. Fails with the Problem that the other side refused with, LinkDown, or overloaded (nothing sent).

        After `timeout` seconds, or when cancelled, it is dropped if unsent.
        """
        answer: Deferred[AnswerBody] = Deferred(lambda _: self._forget(number))
        self._number = number = self._number + 1
        if self._closed:
            answer.errback(LinkDown("closed", sent=False))
        elif len(self._unsent) >= self._limit:
            answer.errback(overloaded("requests to another server"))
        else:
            call = _Waiting(Raw(_ENCODER.encode(Call(number, request_id, body))), timeout, answer)
            call.expiry = self._clock.callLater(timeout, self._expire, number)
            self._calls[number] = self._unsent[number] = call
            self._gather()
        return answer

    @property
    def waiting(self) -> int:
        """How many messages and calls are queued, unsent."""
        return len(self._messages) + len(self._unsent)

    def close(self) -> None:
        """Fail what waits with LinkDown("closed"); messages still unsent are lost."""
        self._closed = True
        self._messages.clear()
        self._unsent.clear()
        self._forget_later()
        for number, call in list(self._calls.items()):
            self._fail(number, LinkDown("closed", call.sent))
        for exchange in list(self._exchanges):
            exchange.cancel()

    # ---- gathering

    def _gather(self) -> None:
        """Send at the end of this reactor turn, with all that the turn brings; or when a place is free.

        While another request is out, and they take long here, `PAUSE` seconds later: those who ask come in crowds, as
        they are answered in crowds, and a request for the first few of a crowd would have the rest wait for the next.
        """
        self._urgent = True
        if self._gathering or not self._has_place():
            return
        self._gathering = True
        if self._places and self._taking > 2 * self.PAUSE:
            self._clock.callLater(self.PAUSE, at_turn_end, self._clock, self._pump)
        else:
            at_turn_end(self._clock, self._pump)

    def _gather_later(self, within: float) -> None:
        if self._later is None:
            self._later = self._clock.callLater(within, self._overdue)

    def _overdue(self) -> None:
        self._later = None
        self._gather()

    def _has_place(self) -> bool:
        return self._places < self._width and len(self._exchanges) < self._width * self.MOST

    def _may_ask(self) -> bool:
        return self._asking < self._width * (self.MOST - 1)

    def _pump(self) -> None:
        self._gathering = False
        while (self._messages or (self._unsent and self._may_ask())) and self._has_place():
            messages, calls = self._take()
            self._post(messages, calls)
        if not self.waiting:
            self._urgent = False
            self._forget_later()

    def _forget_later(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None

    def _take(self) -> tuple[list[Raw], dict[int, _Waiting]]:
        """What goes as one: the oldest messages, then the oldest calls, within ITEMS and BYTES (one at least)."""
        room = self.BYTES
        messages: list[Raw] = []
        calls: dict[int, _Waiting] = {}
        while self._messages and len(messages) < self.ITEMS:
            room -= len(memoryview(self._messages[0]))
            if room < 0 and messages:
                return messages, calls
            messages.append(self._messages.popleft())
        for number, call in self._unsent.items() if self._may_ask() else ():
            room -= len(memoryview(call.encoded))
            if len(messages) + len(calls) >= self.ITEMS or (room < 0 and (messages or calls)):
                break
            calls[number] = call
        for number, call in calls.items():
            del self._unsent[number]
            call.sent = True
        return messages, calls

    # ---- an exchange

    def _post(self, messages: list[Raw], calls: dict[int, _Waiting]) -> None:
        body = _ENCODER.encode(OutgoingEnvelope(self._sender, messages, [call.encoded for call in calls.values()]))
        # Each call has its own time; the exchange outlives them all, so that one late answer costs no other.
        longest = max((call.timeout for call in calls.values()), default=0.0) + 1.0
        exchange = _Exchange(self, calls, max(self._patience, longest))
        self._exchanges.add(exchange)
        self._asking += bool(calls)
        exchange.send(body)

    def _ended(self, exchange: "_Exchange", down: LinkDown) -> None:
        """Whatever has no answer now gets none."""
        self._taking += (self._clock.seconds() - exchange.since - self._taking) / 8
        self._exchanges.discard(exchange)
        self._asking -= bool(exchange.calls)
        self._complain(down)
        for number in exchange.calls:
            if number in self._calls:
                self._fail(number, down)
        exchange.leave()

    def _take_riders(self, messages: Iterable[OneWay]) -> None:
        for message in messages:
            try:
                self._arrived(message)
            except Exception:
                log.failure("a {kind} from {whom} failed", kind=type(message).__name__, whom=self._whom)

    def _complain(self, down: LinkDown) -> None:
        """Of what does not get better by itself, once in a while: the messages that it keeps back are many."""
        if down.reason == "tls" and self._seldom(down.reason):
            log.warn("no link to {whom} (tls): {why}", whom=self._whom, why=down.detail)
        elif down.reason.startswith("http-") and self._seldom(down.reason):
            log.error("{url} answered {reason}", url=self._url.to_text(), reason=down.reason)

    # ---- ends of a call

    def _answered(self, answer: Answer) -> None:
        call = self._settle(answer.id)
        if call is None:
            return  # expired or cancelled meanwhile
        if isinstance(answer.body, Refused):
            call.deferred.errback(problem_of(answer.body))
        else:
            call.deferred.callback(answer.body)

    def _fail(self, number: int, down: LinkDown) -> None:
        if (call := self._settle(number)) is not None:
            call.deferred.errback(down)

    def _expire(self, number: int) -> None:
        self._fail(number, LinkDown("timeout", self._calls[number].sent))

    def _forget(self, number: int) -> None:
        self._settle(number)

    def _settle(self, number: int) -> _Waiting | None:
        """Take a call out of the books, wherever it stands."""
        self._unsent.pop(number, None)
        call = self._calls.pop(number, None)
        if call is not None and call.expiry is not None and call.expiry.active():
            call.expiry.cancel()
        return call


class _Exchange:
    """A request under way. It holds one of the `width` places of its link, until it ends or takes long."""

    __slots__ = ("_code", "_ended", "_give_up", "_held", "_link", "_rest", "_timer", "_until", "calls", "since")

    def __init__(self, link: Link, calls: Collection[int], timeout: float) -> None:
        self.calls = calls
        self.since = link._clock.seconds()
        self._link = link
        self._until = self.since + timeout
        self._timer = link._clock.callLater(min(link.SLOW, timeout), self._long)
        self._held = True
        self._give_up: GiveUp | None = None
        self._ended = False
        self._code = 0
        self._rest = b""  # of the answer's body, what is not read yet
        link._places += 1

    def send(self, body: bytes) -> None:
        """Once."""
        link = self._link
        self._give_up = link._client.exchange(link._url, link._headers, body, self)

    def cancel(self) -> None:
        """Nothing more is to come of it."""
        self._end(LinkDown("closed", sent=True))

    def leave(self) -> None:
        """Give the place to whatever has gathered."""
        if self._held:
            self._held = False
            self._link._places -= 1
        if self._link._urgent:
            self._link._gather()

    def _long(self) -> None:
        """There is one timer, since most exchanges need none."""
        left = self._until - self._link._clock.seconds()
        if left > 0:
            self._timer = self._link._clock.callLater(left, self._long)
            self.leave()
        else:
            self._end(LinkDown("timeout", sent=True))

    # ---- as a reader of the answer

    def begun(self, head: Any) -> None:
        """See `Reader`."""
        self._code = head.code
        if self._code in (200, 204):
            self._link._sound_until = self._link._clock.seconds() + self._link.SOUND

    def received(self, data: bytes) -> None:
        """See `Reader`. Answers are taken one by one, as they come; riders once all are here."""
        if self._code != 200:
            return
        self._rest += data
        if self.calls:
            *lines, self._rest = self._rest.split(b"\n")
            try:
                answers = [_ANSWERS.decode(line) for line in lines]
            except (msgspec.DecodeError, UnicodeDecodeError):
                self._end(LinkDown("garbled", sent=True))
                return
            for answer in answers:
                self._link._answered(answer)

    def ended(self, reason: Failure | None) -> None:
        """See `Reader`."""
        self._give_up = None
        if not self._ended:
            self._end(self._whole() if reason is None else link_down(reason))

    def _whole(self) -> LinkDown:
        """What it means for calls that have no answer."""
        if self._code not in (200, 204):
            # Only a 5xx of its own making can come after a server has begun to act on an envelope.
            return LinkDown(f"http-{self._code}", sent=self._code >= 500 and self._code != 503)
        if self._code == 200 and not self.calls:
            try:
                riders = _RIDERS.decode(self._rest)
            except (msgspec.DecodeError, UnicodeDecodeError):
                return LinkDown("garbled", sent=True)
            self._link._take_riders(riders)
        return LinkDown("lost", sent=True)

    def _end(self, down: LinkDown) -> None:
        self._ended = True
        if self._timer.active():
            self._timer.cancel()
        give_up, self._give_up = self._give_up, None
        if give_up is not None:
            give_up()
        self._link._ended(self, down)
