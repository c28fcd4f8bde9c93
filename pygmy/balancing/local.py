"""Calls to the very server that a request came to, in the form in which a front end makes them to another."""

from typing import TypeVar

from pygmy.balancing.forwarding import Errand, Reply
from pygmy.errors import Problem
from pygmy.messages.internal import Call
from pygmy.web.internal import Answerer

AnswerT = TypeVar("AnswerT")


class Local:
    """A `Forwards` without a network: one try, here."""

    def __init__(self, name: str, answer: Answerer) -> None:
        self._name = name
        self._answer = answer

    async def forward(self, errand: Errand, expected: type[AnswerT]) -> Reply[AnswerT]:
        """This server's answer."""
        errand.departing()
        answer: object = await self._answer(self._name, Call(0, errand.request_id, errand.body))
        if not isinstance(answer, expected):
            raise Problem(500, "Internal error", "The answer does not fit the call.")
        return Reply(self._name, answer)
