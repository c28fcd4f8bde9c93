"""How the other nodes of the tier are, by their own word: what probes, and the answers to them, have told."""

from msgspec import Struct

from pygmy.messages.replication import Mode, Probe, Status, View
from pygmy.replication.core import Core


class Neighbour(Struct, frozen=True):
    """Another node as it last said that it is, and when. The rest is as in `Probe` and `Status`."""

    mode: Mode
    incarnation: int
    epoch: int
    emptied: bool
    blank: bool
    at: float


class Neighbours:
    """The other nodes of the tier; what was told too long ago counts no more."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._told: dict[str, Neighbour] = {}

    def note(self, node: str, said: Probe | Status) -> None:
        """What a node says of itself just now; whoever probes is INIT."""
        mode: Mode = said.mode if isinstance(said, Status) else "INIT"
        self._told[node] = Neighbour(mode, said.incarnation, said.epoch, said.emptied, said.blank, self._core.now)

    def serving(self, view: View) -> list[str]:
        """The members of this view that are RUNNING in it, by name."""
        recent = self._within(self._core.timing.status_fresh)
        running = (node for node, told in recent.items() if told.mode == "RUNNING" and told.epoch == view.epoch)
        return sorted(node for node in running if node in view.members)

    def waiting(self) -> dict[str, Neighbour]:
        """Those that are INIT."""
        recent = self._within(self._core.timing.status_fresh)
        return {node: told for node, told in recent.items() if told.mode == "INIT"}

    def last_word(self, node: str) -> Neighbour | None:
        """How a node was when it last spoke; None: it has been silent for so long that it counts as gone."""
        return self._within(self._core.timing.silence).get(node)

    def _within(self, seconds: float) -> dict[str, Neighbour]:
        return {node: told for node, told in self._told.items() if self._core.now - told.at < seconds}
