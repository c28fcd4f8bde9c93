"""Looking operations up on disk: what is asked for in one turn of the reactor is one search."""

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from pygmy.database import Located, Store
from pygmy.replication.log import result_of
from pygmy.replication.replica import Found


class Searches:
    """Call it with an op_id; fires with what the disk holds under it.

    What was searched for in vain is remembered, up to `most` of them: whoever asks whether an operation has been
    executed mostly has it executed then.
    """

    def __init__(self, store: Store, clock: IReactorTime, most: int) -> None:
        self._store = store
        self._clock = clock
        self._most = most
        self._missed: dict[str, Found] = {}
        self._asked: list[tuple[str, Deferred[Found]]] = []

    def __call__(self, op_id: str) -> Deferred[Found]:
        """Search for this one."""
        if not self._asked:
            self._clock.callLater(0, self._search)
        answer: Deferred[Found] = Deferred()
        self._asked.append((op_id, answer))
        return answer

    def missed(self, op_id: str) -> Found | None:
        """What a search in vain has found, once: what came since is in memory, or the core has it made again."""
        return self._missed.pop(op_id, None)

    def _search(self) -> None:
        asked, self._asked = self._asked, []

        def found(result: tuple[dict[str, Located], int]) -> None:
            located, upto = result
            for op_id, answer in asked:
                one = _found(located.get(op_id), upto)
                if one.known is None:
                    self._remember(op_id, one)
                answer.callback(one)

        def failed(failure: Failure) -> None:
            for _, answer in asked:
                answer.errback(failure)

        self._store.find(op_id for op_id, _ in asked).addCallbacks(found, failed)

    def _remember(self, op_id: str, missed: Found) -> None:
        if len(self._missed) >= self._most:
            self._missed.clear()
        self._missed[op_id] = missed


def _found(hit: Located | None, upto: int) -> Found:
    if hit is None:
        return Found(None, upto)
    return Found((hit.entry, result_of(hit.entry, (hit.epoch, hit.seq), hit.place)), upto)
