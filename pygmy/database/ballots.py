"""A node's vote, on a small disk file of its own (`voter.db`): durable before anyone hears of it.

It is never backed up, restored or copied: a vote that was given must not be forgotten.  It also holds a *witness* of
the replica's file beside it: so a copy put in that one's place is told from the file that this node last ran with.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.python.threadpool import ThreadPool

from pygmy.clock import boottime
from pygmy.database.file import DatabaseFile
from pygmy.database.meta import fetch, put
from pygmy.database.store import Identity
from pygmy.messages.register import VoterState


class Witness(Struct, frozen=True):
    """What a replica's file must say of itself, at the least, to be the one that its node last ran with.

    `now` is the incarnation of the last start with it, or `was` if that start got no further; `hash` is that of a
    chosen batch, `seq` (0: of none yet).
    """

    was: int
    now: int
    seq: int = 0
    hash: str = ""

    def recognizes(self, file: Identity) -> bool:
        """True if this is that file. `file.hash` is that of batch `seq`."""
        return file.incarnation in (self.was, self.now) and (not self.seq or file.hash == self.hash)


_decode_state = msgspec.json.Decoder(VoterState).decode
_decode_witness = msgspec.json.Decoder(Witness).decode


class Ballots:
    """The file; everything asked of it is done in the order asked (see `DatabaseFile`)."""

    def __init__(self, file: DatabaseFile) -> None:
        """For `open` only."""
        self._file = file

    @classmethod
    def open(
        cls,
        path: str,
        node: str,
        reactor: Any,
        *,
        now: Callable[[], float] = boottime,
        threads: ThreadPool | None = None,
    ) -> "Deferred[Ballots]":
        """Open or create the file of this node; fails as `Store.open` does."""
        file = DatabaseFile(path, reactor, now, lambda writes, seconds: None, threads)

        async def opened() -> Ballots:
            await file.open("voter", node)
            return cls(file)

        return Deferred.fromCoroutine(opened())

    def state(self) -> Deferred[VoterState]:
        """What was saved last; an empty state in a new file."""
        return self._file.read(lambda cursor: _decoded(fetch(cursor, "state"), _decode_state) or VoterState())

    def save(self, state: VoterState) -> Deferred[None]:
        """Fires once the state is on disk."""
        text = msgspec.json.encode(state).decode()
        return self._file.write(lambda cursor: put(cursor, "state", text))

    def witness(self) -> Deferred[Witness | None]:
        """What is known of the replica's file; None: nothing."""
        return self._file.read(lambda cursor: _decoded(fetch(cursor, "witness"), _decode_witness))

    def testify(self, witness: Witness) -> Deferred[None]:
        """Keep this of the replica's file; fires once it is on disk."""
        text = msgspec.json.encode(witness).decode()
        return self._file.write(lambda cursor: put(cursor, "witness", text))

    def close(self) -> Deferred[None]:
        """As `Store.close`."""
        return self._file.close()


def _decoded(text: str | None, decode: Callable[[str], Any]) -> Any:
    return None if text is None else decode(text)
