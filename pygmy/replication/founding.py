"""V0: how a cluster gets its id, and how a node tells a cluster's birth from the loss of its own memory.

A node that knows no complete charter answers *newborn*, with a number drawn at this start.  Once every node has
answered so, the founder (the first by name) gives all of them a draft of the charter, each under that node's number;
once every node holds the draft durably, the charter is complete, and only then does anybody vote.  So

- a node that hears of a complete charter while it holds that draft has never voted: it may begin to;
- one that does not hold the draft has lost it, and with it perhaps votes: it must be re-admitted;
- a draft that was delayed until after such a loss names a number of an earlier start, and is refused.
"""

from random import Random

from msgspec.structs import replace

from pygmy.messages.register import Census, Charter, Draft, FoundingMessage, Standing
from pygmy.replication.effects import Note, Send


class WrongCluster(Exception):
    """What this node has stored belongs to another cluster, or to another list of nodes: it must not start."""


def check_charter(kept: Charter | None, cluster_id: str | None, nodes: tuple[str, ...]) -> Charter | None:
    """The charter to start with, from the voter's file, the replica's file and the cluster file.

    `cluster_id` without a charter means that the voter's file was emptied: the node belongs to that cluster, but has
    to be re-admitted as a voter. None: newborn. Raises WrongCluster where the three do not fit together.
    """
    listed = tuple(sorted(nodes))
    if kept is None:
        return None if cluster_id is None else Charter(cluster_id, listed, True)
    if cluster_id is not None and cluster_id != kept.cluster_id:
        raise WrongCluster(f"the replica's data is of cluster {cluster_id}, the voter's of {kept.cluster_id}")
    if kept.nodes != listed:
        raise WrongCluster(
            f"cluster {kept.cluster_id} was founded with the nodes {', '.join(kept.nodes)}; "
            f"the cluster file lists {', '.join(listed)}. The list of nodes is fixed at birth."
        )
    return kept


class Founding:
    """The charter as this node holds it. What its methods return may be sent once that is durable."""

    def __init__(self, me: str, nodes: tuple[str, ...], charter: Charter | None, random: Random) -> None:
        self._me = me
        self._nodes = tuple(sorted(nodes))
        self._others = tuple(node for node in self._nodes if node != me)
        self._random = random
        self._boot = random.getrandbits(48)
        self._newborn: dict[str, Standing] = {}
        self.charter = charter

    @property
    def complete(self) -> bool:
        """True once this node belongs to a cluster."""
        return self.charter is not None and self.charter.complete

    def awaited(self) -> tuple[str, ...]:
        """Who has not answered this newborn yet."""
        return () if self.complete else tuple(node for node in self._others if node not in self._newborn)

    def tick(self) -> list[Send | Note]:
        """A newborn asks every other node who it is."""
        if self.complete:
            return []
        return [Send(self._others, Census(self.charter))] if self._others else self._found()

    def receive(self, sender: str, message: FoundingMessage) -> list[Send | Note]:
        """A message from another node of the cluster."""
        match message:
            case Census():
                notes = self._hear_of(message.charter)
                asker_done = message.charter is not None and message.charter.complete
                return notes if asker_done else [*notes, self._answer(sender)]
            case Draft():
                self._take(message)
                return [self._answer(sender)]
            case Standing():
                self._newborn[sender] = message
                return self._hear_of(message.charter) or self._found()

    def _take(self, draft: Draft) -> None:
        if not self.complete and draft.boot == self._boot and draft.charter.nodes == self._nodes:
            self.charter = draft.charter

    def _answer(self, sender: str) -> Send:
        return Send((sender,), Standing(self.charter, self._boot))

    def _hear_of(self, charter: Charter | None) -> list[Send | Note]:
        """Someone knows a complete charter."""
        if charter is None or not charter.complete or charter == self.charter:
            return []
        if charter.nodes != self._nodes or self.complete:
            return [Note(f"ignoring a node of cluster {charter.cluster_id} ({', '.join(charter.nodes)})")]
        self.charter = charter
        return [Note(f"this node belongs to cluster {charter.cluster_id}")]

    # ---- the founder

    def _all_newborn(self) -> bool:
        return self._newborn.keys() == set(self._others)

    def _found(self) -> list[Send | Note]:
        """Once all are newborn, give them the draft; once all hold it, it is complete."""
        if self.complete or self._me != self._nodes[0] or not self._all_newborn():
            return []
        if self.charter is None:
            self.charter = self._new_draft()
        draft = self.charter
        lacking = {node: heard.boot for node, heard in self._newborn.items() if heard.charter != draft}
        if lacking:
            return [Send((node,), Draft(draft, boot)) for node, boot in lacking.items()]
        self.charter = replace(draft, complete=True)
        return [Send(self._others, Census(self.charter)), Note(f"cluster {draft.cluster_id} is founded")]

    def _new_draft(self) -> Charter:
        """A random id, unless a founder that has lost its memory gave one out already."""
        drafts = [heard.charter for heard in self._newborn.values() if heard.charter is not None]
        fitting = [draft for draft in drafts if draft.nodes == self._nodes]
        return fitting[0] if fitting else Charter(f"{self._random.getrandbits(96):024x}", self._nodes)
