"""A node's voter: at rest it wakes nobody."""

from random import Random
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from pygmy.messages.operations import TIERS
from pygmy.messages.register import Charter, Vote, VoterState
from pygmy.voting import Voting

NAMES = ("catalog-0", "frontend-0", "order-0")
FOUNDED = Charter("id", NAMES, complete=True)
VOTED = {tier: Vote() for tier in TIERS}


class Box:
    def save(self, state: VoterState) -> "Deferred[None]":
        return succeed(None)


class Mail:
    def __init__(self) -> None:
        self.sent = 0

    def tell(self, names: Any, message: Any, **how: Any) -> None:
        self.sent += 1


def started(kept: VoterState) -> tuple[Clock, Mail]:
    clock, mail = Clock(), Mail()
    links: Any = mail
    voting = Voting(
        "order-0", NAMES, kept, Box(), links, clock, lambda _: None, lambda failure: failure.raiseException(),
        random=Random(1), now=clock.seconds,
    )  # fmt: skip
    voting.start()
    return clock, mail


def test_a_voter_to_which_nothing_is_wanting_is_not_woken() -> None:
    """Each of its ticks would wake a process that has nothing to do, four times a second, for ever."""
    clock, _ = started(VoterState(FOUNDED, VOTED))
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    "kept", [VoterState(), VoterState(FOUNDED, {}), VoterState(FOUNDED, {"order": Vote()}), VoterState(None, VOTED)]
)
def test_one_that_is_newborn_or_has_lost_a_vote_goes_on_asking(kept: VoterState) -> None:
    clock, mail = started(kept)
    sent = mail.sent
    clock.pump([0.25] * 20)
    assert mail.sent > sent
    assert clock.getDelayedCalls()
