"""The tier's view lives in a replicated register (V0, V1), which decides rightly whatever crashes or is cut off.

Its voters are all nodes of the cluster, front ends included, so a tier of two can tell a dead peer from a cut wire.
A change is a compare-and-set on (epoch, gen); one whose outcome is unknown is followed by reads until it is known.
"""

from collections.abc import Callable
from random import Random

from msgspec import Struct

from pygmy.messages.register import RegisterReply
from pygmy.messages.replication import Version, View, ViewAsk, ViewMessage, ViewTell
from pygmy.replication import views
from pygmy.replication.backoff import Backoff
from pygmy.replication.core import Core
from pygmy.replication.membership import MembershipFactory
from pygmy.replication.proposer import Outcome, Proposer


class _Goal(Struct, frozen=True):
    """What is wanted of the register: `new` in the place of `expected`, or (None) just its value.

    `settle`: the value after everything that this node has sent off may still have changed it.
    """

    since: float
    expected: Version | None = None
    new: View | None = None
    settle: bool = False

    def update(self, found: View | None) -> View | None:
        """The value to put in the place of the one found."""
        matches = (None if found is None else found.number) == self.expected
        return self.new if self.new is not None and matches else found


class RegisterMembership:
    """The view as this node knows it. `known` has always been chosen, but need not be the newest."""

    def __init__(
        self,
        core: Core,
        known: View | None,
        on_value: Callable[[View], None],
        register: str,
        voters: tuple[str, ...],
        cluster_id: Callable[[], str | None],
        random: Random,
        awaited: Callable[[], tuple[str, ...]],
    ) -> None:
        self._core = core
        self._on_value = on_value
        self._cluster_id = cluster_id
        self._awaited = awaited
        self.known = known
        self._proposer = Proposer(register, core.me, voters, core.ask_voters, random, core.timing.round_life)
        self._register = register
        self._backoff = Backoff(random, core.timing.heartbeat, 4 * core.timing.heartbeat)
        self._voters = voters
        self._goal: _Goal | None = None
        self._asking_since = core.now  # since when there has been no answer from a majority
        self._told: dict[str, ViewTell] = {}  # what the other nodes of the tier say, for the first view

    # ---- the interface

    def read(self) -> None:
        """Read the register, unless what is under way will tell as much."""
        if self._goal is None:
            self._pursue(_Goal(self._core.now))

    def change(self, expected: Version | None, new: View) -> None:
        """Compare and set. An earlier goal is given up: the round for this one settles that one, too."""
        self._pursue(_Goal(self._core.now, expected, new))

    def tick(self) -> None:
        """Repeat what is unanswered; wish for nothing that was wanted too long ago."""
        core, goal = self._core, self._goal
        if goal is None:
            return
        outcome = self._proposer.repeat(core.now)
        if outcome is not None:
            self._ended(outcome)
        elif not self._proposer.busy:
            if goal.new is not None and core.now - goal.since > 2 * core.timing.round_life:
                self._goal = _Goal(core.now, settle=True)
            self._try_again()

    def receive(self, sender: str, message: ViewMessage | RegisterReply) -> None:
        """A voter's reply; news and questions of the tier's other nodes."""
        match message:
            case ViewAsk():
                self._core.send(sender, ViewTell(self._core.incarnation, self.known))
            case ViewTell():
                self._told[sender] = message
                self._hear_of(message.known)
            case _ if message.register == self._register:
                outcome = self._proposer.receive(sender, message, self._core.now)
                if outcome is not None:
                    self._ended(outcome)

    def why(self) -> str:
        """One sentence on why the view can be neither read nor changed; "" where it can."""
        if self._cluster_id() is None:
            missing = ", ".join(self._awaited())
            return f"The cluster has not been founded yet{f': it waits for {missing}' if missing else ''}."
        if self._goal is None or self._core.now - self._asking_since < 2 * self._core.timing.round_life:
            return ""
        voices, voters = self._proposer.voices, len(self._voters)
        return f"No majority of the nodes answers (only {voices} of {voters}), so the tier's view cannot be decided."

    # ---- rounds

    def _pursue(self, goal: _Goal) -> None:
        if self._goal is None:
            self._asking_since = self._core.now
        self._goal = goal
        self._backoff.reset()
        self._try_again()

    def _try_again(self) -> None:
        core, goal, cluster_id = self._core, self._goal, self._cluster_id()
        if goal is None or cluster_id is None or not self._backoff.ready(core.now):
            return
        if goal.new is None and not goal.settle:
            self._proposer.look(cluster_id, core.now)
        else:
            self._proposer.start(cluster_id, goal.update, core.now)

    def _ended(self, outcome: Outcome) -> None:
        goal = self._goal
        if goal is None:
            return
        if outcome.kind == "ok":
            self._goal = None
            self._settled(goal, outcome.value)
            return
        if outcome.kind == "unknown":
            self._goal = _Goal(self._core.now, settle=True)
        self._backoff.fail(self._core.now)
        self._try_again()

    def _settled(self, goal: _Goal, value: View | None) -> None:
        if value is None:
            self._give_birth()
            return
        if self.known is None or value.number > self.known.number:
            self.known = value
        if value == goal.new:
            self._core.ask_all(ViewTell(self._core.incarnation, value))
        self._on_value(self.known)

    def _hear_of(self, view: View | None) -> None:
        """Another node knows a newer view: it was chosen.  An INIT node acts on nothing but its own reads (V6)."""
        if view is None or (self.known is not None and view.number <= self.known.number):
            return
        if self._core.mode == "INIT":
            self.read()
        else:
            self.known = view
            self._on_value(view)

    # ---- V0: birth

    def _give_birth(self) -> None:
        """The register is empty: propose the first view, once every node of the tier says that it never had one."""
        core, told = self._core, self._told
        if self.known is not None or any(tell.known is not None for tell in told.values()):
            return  # cannot be while a majority of the voters keeps its memory: better no view than a second birth
        if told.keys() >= set(core.others):
            self._pursue(_Goal(core.now, None, views.birth({core.me: core.incarnation, **self._incarnations()})))
        else:
            core.ask_all(ViewAsk(core.incarnation, None))

    def _incarnations(self) -> dict[str, int]:
        return {node: tell.incarnation for node, tell in self._told.items()}


def replicated(
    register: str,
    voters: tuple[str, ...],
    cluster_id: Callable[[], str | None],
    random: Random,
    awaited: Callable[[], tuple[str, ...]] = tuple,
) -> MembershipFactory:
    """What `Replica` makes its membership with: the register of this name, with all nodes of the cluster as voters.

    `cluster_id` and `awaited` are those of this node's own voter (`Voter`).
    """
    return lambda core, known, on_value: RegisterMembership(
        core, known, on_value, register, voters, cluster_id, random, awaited
    )
