"""Whether a replica's file is the one that its node last ran with.

A file that was copied there, restored, or kept from an earlier time lacks what its node has acknowledged since: taken
for the node's own, it could have the whole tier roll that back.  So the node keeps a witness of its file beside it,
in `voter.db`, and with a file that the witness does not recognize it starts as a learner: it teaches nobody, and
fetches what the file lacks.
"""

from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from pygmy.database import Ballots, Boot, Identity, Store, Witness
from pygmy.logs import Logger
from pygmy.ticking import Ticking

log = Logger()

INTERVAL = 1.0


class Recognized(Struct, frozen=True):
    """A replica's file, and whether its node knows it. `floor`: no incarnation up to this one may be used again."""

    identity: Identity
    trusted: bool
    witness: Witness
    floor: int


async def recognize(store: Store, ballots: Ballots) -> Recognized:
    """Compare the file with its witness. A node that has none (it is new, or its vote was lost) trusts the file."""
    witness = await ballots.witness()
    identity = await store.identity(witness.seq if witness else 0)
    trusted = witness is None or witness.recognizes(identity)
    if not trusted:
        log.warn("this database is not the one that the node last ran with: it starts as a learner")
    return Recognized(
        identity,
        trusted,
        witness if witness is not None and trusted else Witness(0, 0),
        max(identity.incarnation, witness.now if witness is not None else 0),
    )


async def begin(store: Store, ballots: Ballots, file: Recognized, window: int, least: int) -> Boot:
    """Count this start in both files, in the order that lets a crash between the two mislead nobody."""
    incarnation = max(file.floor + 1, least)
    witness = Witness(file.identity.incarnation, incarnation, file.witness.seq, file.witness.hash)
    if file.trusted:
        await ballots.testify(witness)
    boot = await store.boot(window, incarnation=incarnation, trusted=file.trusted)
    await ballots.testify(replace(witness, was=incarnation))
    return boot


class Witnessing(Ticking):
    """Keeps the witness up to date: each second, if there is something new, the last batch but one.

    It is chosen, whatever becomes of the last one, and it is on the disk, as it was read from there.
    """

    def __init__(
        self,
        store: Store,
        ballots: Ballots,
        incarnation: int,
        head: Callable[[], object],
        clock: IReactorTime,
        failed: Callable[[Failure], None],
    ) -> None:
        super().__init__(self._tick, clock, INTERVAL)
        self._store = store
        self._ballots = ballots
        self._incarnation = incarnation
        self._head = head
        self._failed: Callable[[Failure], None] | None = failed
        self._seen: object = None
        self._busy = False

    def _tick(self) -> None:
        head = self._head()
        if head != self._seen and not self._busy:
            self._seen, self._busy = head, True
            Deferred.fromCoroutine(self._testify()).addCallbacks(self._done, self._broken)

    def stopService(self) -> None:
        """Look no more: the files are about to be closed."""
        self._failed = None
        super().stopService()

    def _broken(self, failure: Failure) -> None:
        if self._failed is not None:
            self._failed(failure)

    def _done(self, _: object) -> None:
        self._busy = False

    async def _testify(self) -> None:
        settled = await self._store.settled()
        if settled is not None:
            await self._ballots.testify(Witness(self._incarnation, self._incarnation, *settled))
