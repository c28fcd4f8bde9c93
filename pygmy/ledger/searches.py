"""Looking operations up on disk: what is asked for in one turn of the reactor is one search."""

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from pygmy.database import Located, Store
from pygmy.reactors import Turn
from pygmy.replication.log import Log, result_of
from pygmy.replication.replica import Found

LEARNT, PAUSE = 5_000, 0.05  # op_ids at a time, and seconds between: a million of them are no haste


class Searches:
    """Call it with an op_id; fires with what the disk holds under it.

    Most op_ids are new, and the log knows that of them once it has `learn`ed which ones are on disk.
    """

    def __init__(self, store: Store, log: Log, clock: IReactorTime) -> None:
        self._store = store
        self._log = log
        self._clock = clock
        self._turn = Turn(clock, self._find)

    def __call__(self, op_id: str) -> Deferred[Found]:
        """Search for this one."""
        answer: Deferred[Found] = Deferred()
        self._turn.add((op_id, answer))
        return answer

    def spared(self, op_id: str) -> Found | None:
        """What a search would find, if that is known without one."""
        return Found(None, self._log.head[1]) if self._log.lacks(op_id) else None

    def learn(self) -> Deferred[None]:
        """Tell the log which op_ids are on disk; fires when it knows them all. Fails as the store does."""
        return Deferred.fromCoroutine(self._learn())

    async def _learn(self) -> None:
        older, place, more = self._log.older, (0, -1), not self._log.older.complete
        while more:
            found = await self._store.op_ids(place, LEARNT)
            for seq, index, op_id in found:
                older.add(op_id)
                place = seq, index
            more = len(found) == LEARNT
            if more:
                await deferLater(self._clock, PAUSE)
        older.complete = True

    def _find(self, asked: list[tuple[str, Deferred[Found]]]) -> None:
        def found(result: tuple[dict[str, Located], int]) -> None:
            located, upto = result
            for op_id, answer in asked:
                answer.callback(_found(located.get(op_id), upto))

        def failed(failure: Failure) -> None:
            for _, answer in asked:
                answer.errback(failure)

        self._store.find(op_id for op_id, _ in asked).addCallbacks(found, failed)


def _found(hit: Located | None, upto: int) -> Found:
    if hit is None:
        return Found(None, upto)
    return Found((hit.entry, result_of(hit.entry, (hit.epoch, hit.seq), hit.place)), upto)
