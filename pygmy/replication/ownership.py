"""The primary copy and how it moves (P2, P3): the owner of the tier's one primary copy is who may write."""

from pygmy.messages.replication import Give, Take, Took
from pygmy.replication.core import Core
from pygmy.replication.log import LogBroken


class Ownership:
    """Who holds the primary copy in this epoch, as far as this node is concerned."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.moves = 0  # how often the primary copy has come or gone, in all epochs
        self.forget()

    def forget(self) -> None:
        """A new epoch: ownership never outlives one."""
        self.mine = False
        self.owner = ""  # the owner as last heard of: for people, not for the protocol
        self._counter = 0
        self._waiters: list[str] = []
        self._given: tuple[str, Give] | None = None
        self._asked = False

    def start(self, leader: str) -> None:
        """V5: when an epoch becomes active its leader owns the log."""
        self.mine = leader == self._core.me
        self.owner = leader

    @property
    def wanted(self) -> bool:
        """True if another node waits for the primary copy."""
        return bool(self._waiters)

    def ask(self) -> None:
        """P2: TAKE to all, once until the next heartbeat."""
        if not self._asked:
            self._asked = True
            self._core.broadcast(Take(self._core.epoch))

    def on_take(self, peer: str) -> None:
        """P2 arrives: the owner notes who waits, and so does whom the primary copy may be on its way to.

        The asker repeats itself no sooner than at the next heartbeat.
        """
        if peer not in self._waiters:
            self._waiters.append(peer)

    def give(self) -> None:
        """P3: pass the primary copy to the first waiter, and the other waiters with it."""
        core, to = self._core, self._waiters[0]
        self._counter += 1
        self.moves += 1
        message = Give(core.epoch, self._counter, core.log.head, tuple(self._waiters[1:]))
        self.mine, self.owner, self._waiters, self._asked = False, to, [], False
        self._given = (to, message)
        core.send(to, message)

    def on_give(self, peer: str, give: Give) -> bool:
        """P3 arrives; True if the primary copy is here now. A GIVE proves that its head is committed."""
        core = self._core
        core.send(peer, Took(give.epoch, give.counter), patient=True)
        if give.counter <= self._counter or self.mine:
            return False
        if give.head != core.log.head:
            raise LogBroken(f"the primary copy came with head {give.head}; this log ends with {core.log.head}")
        self.mine, self.owner = True, core.me
        self.moves += 1
        self._counter, self._given = give.counter, None
        waiters = dict.fromkeys((*give.waiters, *self._waiters))
        self._waiters = [node for node in waiters if node != core.me]
        return True

    def wrote(self, peer: str) -> None:
        """This member writes: the primary copy is there, and it waits no more."""
        self.owner = peer
        if peer in self._waiters:
            self._waiters.remove(peer)

    def on_took(self, took: Took) -> None:
        """The GIVE arrived: no need to repeat it."""
        if self._given and self._given[1].counter == took.counter:
            self._given = None

    def repeat(self) -> None:
        """Every heartbeat: the last GIVE again, until it is TOOK; and TAKE may be sent again, here and elsewhere."""
        self._asked = False
        if not self.mine:
            self._waiters = []
        if self._given:
            self._core.send(*self._given)
