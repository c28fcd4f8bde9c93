"""How a voter that has lost its memory comes to vote again.

It abstains until a full round (prepare and accept, value unchanged) has succeeded at a majority of all voters without
its own vote, and takes over that round's ballot and value.  By then it outdoes every vote that it may have forgotten:
the majority of each round that counted it shares another voter with the majority of this one.

That covers rounds that had all their promises when this one began, so it waits first until every older one is over.
Else a proposer that still held a forgotten promise could complete its round with too few others, below the ballots
of what was chosen meanwhile with this voter's new vote.
"""

from collections.abc import Callable
from random import Random

from pygmy.messages.register import Ballot, RegisterReply, RegisterRequest
from pygmy.messages.replication import View
from pygmy.replication.backoff import Backoff
from pygmy.replication.proposer import Proposer
from pygmy.replication.timing import Timing


class Readmission:
    """The return of one voter to one register; it started, without a memory, at `now`."""

    def __init__(
        self,
        register: str,
        me: str,
        voters: tuple[str, ...],
        send: Callable[[tuple[str, ...], RegisterRequest], None],
        random: Random,
        now: float,
        timing: Timing,
    ) -> None:
        self._proposer = Proposer(register, me, voters, send, random, timing.round_life)
        self._me = me
        self._backoff = Backoff(random, timing.heartbeat, 4 * timing.heartbeat)
        self._not_before = now + 2 * timing.round_life

    def tick(self, cluster_id: str, now: float) -> None:
        """Start the round, or repeat it."""
        if now < self._not_before:
            return
        if self._proposer.repeat(now) is not None:
            self._backoff.fail(now)
        self._start(cluster_id, now)

    def _start(self, cluster_id: str, now: float) -> None:
        if not self._proposer.busy and self._backoff.ready(now):
            self._proposer.start(cluster_id, lambda value: value, now)

    def receive(
        self, voter: str, reply: RegisterReply, cluster_id: str, now: float
    ) -> tuple[Ballot, View | None] | None:
        """Another voter's reply; what to begin with, once the round has succeeded."""
        outcome = self._proposer.receive(voter, reply, now) if voter != self._me else None
        if outcome is None:
            return None
        if outcome.kind == "ok" and outcome.accepted is not None:
            return outcome.accepted, outcome.value
        self._backoff.fail(now)
        self._start(cluster_id, now)
        return None
