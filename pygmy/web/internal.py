"""POST /internal: where messages and calls from other nodes arrive. Members only."""

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import Resource

from pygmy.messages.internal import AnswerBody, Call, OneWay
from pygmy.web.auth import Secrets

Receive = Callable[[str, OneWay], None]
Answerer = Callable[[str, Call], "Deferred[AnswerBody]"]


class Internal(Resource):
    """One-way messages go to `receive(sender, message)` in order, then calls to `answer(sender, call)`.

    204 when there are no calls, else an NDJSON line per `Answer`, each as soon as it is known. A `Problem` from
    `answer` becomes `Refused`; any other failure is logged and becomes `Refused` 500. A client that goes away
    does not cancel the work.
    """

    isLeaf = True

    def __init__(self, secrets: Secrets, clock: IReactorTime, receive: Receive, answer: Answerer) -> None:
        raise NotImplementedError
