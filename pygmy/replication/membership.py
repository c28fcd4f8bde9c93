"""Who decides the view: what a replica needs of its membership, and a simple one.

In the simple one the tier's lowest live node decides.  A node counts as live while it was heard within the silence
time.  Nodes that cannot hear each other may decide differently: it is right for crashes and restarts, not for
partitions.  `pygmy.replication.register` is right for those too.
"""

from collections.abc import Callable
from typing import Protocol

from pygmy.messages.register import RegisterReply
from pygmy.messages.replication import Version, View, ViewAsk, ViewChange, ViewMessage, ViewTell
from pygmy.replication import views
from pygmy.replication.core import Core


class Membership(Protocol):
    """The view as this node knows it, and how it asks for and changes it.

    `read` and `change` end in `on_value` with the view that counts now, later or, when messages are lost, never.
    """

    known: View | None

    def heard(self, node: str) -> None:
        """Anything at all came from this node of the tier."""

    def read(self) -> None:
        """Ask for the view that counts."""

    def change(self, expected: Version, new: View) -> None:
        """Put `new` in place of the view numbered `expected`, if that is still the one that counts."""

    def receive(self, sender: str, message: ViewMessage | RegisterReply) -> None:
        """A message about the view: from a node of the tier, or a voter's reply from any node of the cluster."""

    def tick(self) -> None:
        """A heartbeat is due: repeat whatever is unanswered."""


MembershipFactory = Callable[[Core, View | None, Callable[[View], None]], Membership]


class SimpleMembership:
    """The lowest live node of the tier decides."""

    def __init__(self, core: Core, known: View | None, on_value: Callable[[View], None]) -> None:
        self._core = core
        self._on_value = on_value
        self.known = known
        self._heard: dict[str, float] = {}
        self._told: dict[str, int] = {}  # node -> incarnation, of those that answered the read under way
        self._reading = False
        self._started = core.now

    def _live(self) -> set[str]:
        now, silence = self._core.now, self._core.timing.silence
        return {self._core.me} | {node for node, at in self._heard.items() if now - at <= silence}

    def heard(self, node: str) -> None:
        """Anything at all came from this node."""
        self._heard[node] = self._core.now

    def tick(self) -> None:
        """Nothing to repeat: whoever asks does so again."""

    def receive(self, sender: str, message: ViewMessage | RegisterReply) -> None:
        """Answers, news and wishes of other nodes of the tier."""
        match message:
            case ViewAsk():
                self._on_ask(sender, message)
            case ViewTell():
                self._on_tell(sender, message)
            case ViewChange():
                self._on_change(sender, message)

    # ---- asking

    def read(self) -> None:
        """Ask every node of the tier for the view."""
        core = self._core
        if not self._reading:
            self._reading, self._told = True, {}
        core.ask_all(ViewAsk(core.incarnation, self.known))
        self._conclude()

    def _on_ask(self, peer: str, ask: ViewAsk) -> None:
        """Someone asks, and tells what it knows."""
        self._adopt(ask.known)
        self._core.send(peer, ViewTell(self._core.incarnation, self.known))

    def _on_tell(self, peer: str, tell: ViewTell) -> None:
        """An answer, or news of a change."""
        if self._reading:
            self._told[peer] = tell.incarnation
        self._adopt(tell.known)
        self._conclude()

    def _conclude(self) -> None:
        """A read is over when everyone has answered, or has been silent for so long that it counts as gone."""
        core = self._core
        if not self._reading:
            return
        missing = set(core.others) - self._told.keys()
        starting = core.now - self._started <= core.timing.silence
        if missing and (starting or missing & self._live()):
            return
        self._reading = False
        if self.known is not None:
            self._on_value(self.known)
        elif core.me == min(self._live()):
            self._put(views.birth({core.me: core.incarnation, **self._told}))

    # ---- changing

    def change(self, expected: Version, new: View) -> None:
        """Put `new` in place of the view numbered `expected`, if that is still the one that counts."""
        gone = self.known.members.keys() - new.members.keys() if self.known else set()
        decider = min(self._live() - gone)
        if decider == self._core.me:
            self._compare_and_set(expected, new)
        else:
            self._core.send(decider, ViewChange(expected, new))

    def _on_change(self, peer: str, change: ViewChange) -> None:
        """A node that takes this one for the tier's lowest live one wants a change."""
        if change.expected is not None:
            self._compare_and_set(change.expected, change.new)
        self._core.send(peer, ViewTell(self._core.incarnation, self.known))

    def _compare_and_set(self, expected: Version, new: View) -> None:
        if self.known is not None and self.known.number == expected:
            self._put(new)
        elif self.known is not None:
            self._on_value(self.known)

    def _put(self, view: View) -> None:
        self.known = view
        self._core.ask_all(ViewTell(self._core.incarnation, view))
        self._on_value(view)

    def _adopt(self, view: View | None) -> None:
        if view is not None and (self.known is None or view.number > self.known.number):
            self.known = view
            self._on_value(view)
