"""The proposer of the replicated register (V1): rounds of CASPaxos (Rystsov 2018), one at a time.

A round prepares at a majority of the voters, applies a function to the value that it finds there, and has a
majority accept the result.  A function that changes nothing makes the round a linearizable read.
"""

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Literal

from msgspec import Struct

from pygmy.messages.register import (
    Accept,
    Ballot,
    Look,
    Nack,
    Prepare,
    Promise,
    RegisterReply,
    RegisterRequest,
    Seen,
)
from pygmy.messages.replication import View

Update = Callable[[View | None], View | None]


class Outcome(Struct, frozen=True):
    """How a round ended: `ok` with the value chosen, `conflict` (nothing was sent), or `unknown` (read again)."""

    kind: Literal["ok", "conflict", "unknown"]
    value: View | None = None
    accepted: Ballot | None = None


class _Round(Struct):
    """A round under way. `question` is what the voters are asked now, `answers` those to it."""

    question: RegisterRequest
    update: Update
    since: float
    answers: dict[str, RegisterReply]


class Proposer:
    """Proposes for one register, on behalf of the node `me`.

    `send` takes the receivers and a message, which may get lost.  `now` is the time on this node's own clock
    (seconds, going on while the process is stopped): a round is over `life` seconds after its start, whatever
    arrives later, which is what lets a voter that lost its promises come back (`pygmy.replication.voter`).
    """

    def __init__(
        self,
        register: str,
        me: str,
        voters: tuple[str, ...],
        send: Callable[[tuple[str, ...], RegisterRequest], None],
        random: Random,
        life: float,
    ) -> None:
        self._register = register
        self._me = me
        self._boot = random.getrandbits(48)  # tells the ballots of this start from those of any other
        self._voters = voters
        self._send = send
        self._life = life
        self._n = 0
        self._voices = 0
        self._round: _Round | None = None

    @property
    def busy(self) -> bool:
        """True while a round is under way."""
        return self._round is not None

    @property
    def voices(self) -> int:
        """How many voters have answered the question that is out now, or that was given up last."""
        return max(self._voices, 0 if self._round is None else len(self._round.answers))

    # ---- starting and ending

    def start(self, cluster_id: str, update: Update, now: float) -> None:
        """Begin a round that puts `update(value)` in the place of the value. What was under way is given up."""
        self._round = _Round(Prepare(self._register, cluster_id, self._next_ballot()), update, now, {})
        self._send(self._voters, self._round.question)

    def look(self, cluster_id: str, now: float) -> None:
        """Read without voting, if the voters agree; else by a round. Linearizable like a round.

        If a majority holds its value under one ballot, that value is chosen, and nothing newer was when this
        read began: the majority of a newer one would share a voter with those that answered.
        """
        self._round = _Round(Look(self._register, cluster_id, self._next_ballot()), lambda value: value, now, {})
        self._send(self._voters, self._round.question)

    def give_up(self) -> Outcome:
        """End the round under way here. Once its value is on its way, it may still be chosen."""
        sent = self._round is not None and isinstance(self._round.question, Accept)
        self._voices = 0 if self._round is None else len(self._round.answers)
        self._round = None
        return Outcome("unknown" if sent else "conflict")

    def _next_ballot(self) -> Ballot:
        self._n += 1
        return (self._n, self._me, self._boot)

    # ---- going on

    def repeat(self, now: float) -> Outcome | None:
        """Ask again whoever has not answered; the outcome if the round has lived for too long."""
        if self._round is None:
            return None
        if self._expired(now):
            return self.give_up()
        if isinstance(self._round.question, Look) and self._majority():
            self.start(self._round.question.cluster_id, self._round.update, self._round.since)
        elif silent := tuple(voter for voter in self._voters if voter not in self._round.answers):
            self._send(silent, self._round.question)
        return None

    def _expired(self, now: float) -> bool:
        return self._round is not None and now - self._round.since > self._life

    def receive(self, voter: str, reply: RegisterReply, now: float) -> Outcome | None:
        """A voter's reply; the outcome of the round if this ends it."""
        self._learn_ballot(reply)
        current = self._round
        if current is None or reply.ballot != current.question.ballot or voter not in self._voters:
            return None
        if self._expired(now) or isinstance(reply, Nack):
            return self.give_up()
        match current.question, reply:
            case Look(), Seen():
                return self._looked(current, voter, reply)
            case Prepare(), Promise():
                self._prepared(current, voter, reply)
            case Accept(), _ if not isinstance(reply, Seen | Promise):
                return self._accepted(current, voter, reply)
        return None

    def _learn_ballot(self, reply: RegisterReply) -> None:
        match reply:
            case Nack():
                self._n = max(self._n, reply.promised[0])
            case Seen() | Promise():
                self._n = max(self._n, reply.accepted[0])

    def _majority(self) -> bool:
        return self._round is not None and 2 * len(self._round.answers) > len(self._voters)

    def _looked(self, current: _Round, voter: str, reply: Seen) -> Outcome | None:
        current.answers[voter] = reply
        votes = Counter(answer.accepted for answer in current.answers.values() if isinstance(answer, Seen))
        if 2 * votes[reply.accepted] > len(self._voters):
            self._round = None
            return Outcome("ok", reply.value, reply.accepted)
        if len(current.answers) == len(self._voters):
            self.start(current.question.cluster_id, current.update, current.since)
        return None

    def _prepared(self, current: _Round, voter: str, reply: Promise) -> None:
        current.answers[voter] = reply
        if not self._majority():
            return
        promises = [answer for answer in current.answers.values() if isinstance(answer, Promise)]
        newest = max(promises, key=lambda promise: promise.accepted)
        asked = current.question
        current.question = Accept(asked.register, asked.cluster_id, asked.ballot, current.update(newest.value))
        current.answers = {}
        self._send(self._voters, current.question)

    def _accepted(self, current: _Round, voter: str, reply: RegisterReply) -> Outcome | None:
        current.answers[voter] = reply
        if not self._majority() or not isinstance(current.question, Accept):
            return None
        self._round = None
        return Outcome("ok", current.question.value, current.question.ballot)
