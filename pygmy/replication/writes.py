"""The write path (P1, P4..P8): one batch of the whole tier is in flight at a time."""

from msgspec import Struct

from pygmy.messages.operations import NoSuchBook, Operation, OutOfRange, Result, Reused
from pygmy.messages.replication import Ack, Batch, Entry, QueryValidate, Update, Validate
from pygmy.replication.core import Core
from pygmy.replication.effects import Abandon, Answer, Recheck
from pygmy.replication.log import Diverged, LogBroken, chained
from pygmy.replication.ownership import Ownership

UNRECORDED = (NoSuchBook, OutOfRange)


class Waiting(Struct):
    """An operation in the queue.

    `known` is what the disk had under its op_id when its log ended with seq `checked` (None: nothing).
    """

    ticket: int
    op_id: str
    operation: Operation
    digest: str
    known: tuple[Entry, Result] | None
    checked: int
    taken: bool = False


class _Flight(Struct):
    """The owner's batch under way: who has it, and what is answered when all have.

    `awaited`: a reader elsewhere waits for its VALIDATE.
    """

    batch: Batch
    taken: list[Waiting]
    answers: list[Answer | Recheck]
    acks: set[str]
    awaited: bool = False


class Writes:
    """The queue of a replica, its pending batch and, at the owner, the batch in flight."""

    def __init__(self, core: Core, ownership: Ownership) -> None:
        self._core = core
        self._ownership = ownership
        self.queue: list[Waiting] = []
        self.pending: Batch | None = None
        self.pending_keys: frozenset[str] = frozenset()
        self._flight: _Flight | None = None
        self._acked: Batch | None = None
        self._hastened: Batch | None = None
        self._tokens: dict[int, tuple[int, Batch]] = {}

    # ---- epochs

    def forget_epoch(self) -> None:
        """V3: what was in flight goes back to the queue; nothing is pending."""
        if self._flight:
            self.queue = self._flight.taken + self.queue
        self._flight = self._acked = None
        # Not as after a commit: what was pending is not known to be chosen, so whoever waits to read it waits on.
        self.pending, self.pending_keys = None, frozenset()
        self._tokens = {}

    def abandon_all(self, why: str) -> None:
        """This node is out of the view: nobody here will be answered."""
        for waiting in self.queue:
            self._core.effects.append(Abandon(waiting.ticket, waiting.taken, why))
        self.queue = []

    @property
    def idle(self) -> bool:
        """True if nothing waits and nothing is in flight here."""
        return not self.queue and self._flight is None

    # ---- P1: an operation arrives

    def submit(self, waiting: Waiting) -> None:
        """Queue the operation, or answer it at once where its outcome is committed already."""
        if not self._answer_chosen(waiting):
            self.queue.append(waiting)

    def _answer_chosen(self, waiting: Waiting) -> bool:
        core = self._core
        if core.mode != "RUNNING":
            return False
        found = core.log.result(waiting.op_id) or waiting.known
        if found is None:
            return False
        if not core.log.stands(found[1]):
            return False
        if self.pending and self.pending.version == (found[1].epoch, found[1].seq):
            return False
        core.effects.append(Answer(waiting.ticket, _again(waiting, found)))
        return True

    # ---- P4: the owner takes a batch from the queue

    def pump(self) -> None:
        """Go on with whatever can go on: the next batch, a GIVE, a TAKE."""
        core = self._core
        while core.mode == "RUNNING" and self._flight is None:
            if not self._ownership.mine:
                if self.queue:
                    self._ownership.ask()
                return
            if not self.queue or not self._start_batch():
                break
        if core.mode == "RUNNING" and self._flight is None and self._ownership.mine and self._ownership.wanted:
            self._ownership.give()

    def _start_batch(self) -> bool:
        """Decide the next batch; False if nothing can be done now. Answers that need no record go at once."""
        core = self._core
        taken = self.queue[: core.timing.batch]
        version = (core.epoch, core.log.head[1] + 1)
        entries, answers = self._decide(taken, version)
        if not entries and core.lease_left() <= 0:
            return False  # a refusal without a record is a read: it needs the lease
        del self.queue[: len(taken)]
        if not entries:
            core.effects.extend(answers)
            return True
        base = core.log.head
        digest = chained(core.log.head_hash, version, base[0], entries)
        batch = Batch(version[0], version[1], base[0], tuple(entries), digest)
        for waiting in taken:
            waiting.taken = True
        self._propagate(batch, taken, answers)
        return True

    def _decide(self, taken: list[Waiting], version: tuple[int, int]) -> tuple[list[Entry], list[Answer | Recheck]]:
        log = self._core.log
        machine, first = log.machine, log.first
        machine.begin()
        at = max(self.wall, log.last_at)
        entries: list[Entry] = []
        fresh: dict[str, tuple[Entry, Result]] = {}
        answers: list[Answer | Recheck] = []
        for waiting in taken:
            found = self._found(waiting, fresh)
            if found is None and waiting.checked < first > 1:
                answers.append(Recheck(waiting.ticket))
                continue
            if found is None:
                outcome = machine.apply(waiting.op_id, waiting.operation, at, version)
                if isinstance(outcome, UNRECORDED):
                    answers.append(Answer(waiting.ticket, Result(outcome, at)))
                    continue
                entry = Entry(waiting.op_id, waiting.digest, waiting.operation, at, outcome)
                found = (entry, Result(outcome, at, version[0], version[1], len(entries)))
                fresh[waiting.op_id] = found
                entries.append(entry)
            answers.append(Answer(waiting.ticket, _again(waiting, found)))
        return entries, answers

    def _found(self, waiting: Waiting, fresh: dict[str, tuple[Entry, Result]]) -> tuple[Entry, Result] | None:
        log = self._core.log
        found = fresh.get(waiting.op_id) or log.result(waiting.op_id)
        if found is None and waiting.known is not None and log.stands(waiting.known[1]):
            return waiting.known
        return found

    # ---- P5: propagate

    def _propagate(self, batch: Batch, taken: list[Waiting], answers: list[Answer | Recheck]) -> None:
        core = self._core
        keys = core.log.machine.touched()
        changes = core.log.append_own(batch)
        self.pending, self.pending_keys = batch, keys
        self._flight = _Flight(batch, taken, answers, set())
        core.broadcast(Update(core.epoch, batch))
        invalidations = core.sessions.invalidate(keys, core.now)
        token = core.store(batch.seq, (batch,), changes, invalidations)
        self._tokens[token] = (core.epoch, batch)

    # ---- P6: a member accepts

    def on_update(self, peer: str, update: Update) -> None:
        """Append and store what follows this head; ACK again what was ACKed or is known chosen."""
        core, batch = self._core, update.batch
        if core.log.head == batch.base:
            if self._ownership.mine:
                raise LogBroken(f"{peer} sent {batch.version} although the primary copy is here")
            self._ownership.wrote(peer)
            try:
                changes = core.log.append(batch)
            except Diverged:
                if core.view is not None and peer == core.view.leader:
                    raise
                return  # which of the two logs is another one than the leader's comes out by heartbeats
            self.pending, self.pending_keys = batch, core.log.machine.touched()
            invalidations = core.sessions.invalidate(self.pending_keys, core.now)
            token = core.store(batch.seq, (batch,), changes, invalidations)
            self._tokens[token] = (core.epoch, batch)
        elif core.log.contains(batch.version):
            open_here = self.pending and self.pending.version == batch.version and self._acked is not self.pending
            if not open_here:
                core.send(peer, Ack(core.epoch, batch.version))

    def stored(self, token: int) -> None:
        """The batch is durable here and no front end of mine serves what it changed: P6's ACK, or P7's own."""
        core = self._core
        epoch, batch = self._tokens.pop(token, (0, None))
        if batch is None or not core.in_epoch(epoch):
            return
        if self._flight and self._flight.batch is batch:
            self.on_ack(core.me, batch.version)
        else:
            self._acked = batch
            core.send(self._ownership.owner, Ack(epoch, batch.version))

    # ---- P7, P8: commit

    def on_ack(self, peer: str, version: tuple[int, int]) -> None:
        """All have it: committed. Answer, VALIDATE, and go on."""
        core, flight = self._core, self._flight
        if flight is None or flight.batch.version != version or core.view is None:
            return
        flight.acks.add(peer)
        if not flight.acks >= core.view.members.keys():
            return
        self._flight = None
        self._clear_pending()
        core.broadcast(Validate(core.epoch, version), patient=not flight.awaited)
        core.effects.extend(flight.answers)
        if self._ownership.wanted:
            self._ownership.give()
        self.pump()

    def on_validate(self, version: tuple[int, int]) -> None:
        """P8 arrives: the pending batch is committed."""
        if self.pending and self.pending.version == version and self._flight is None:
            self._clear_pending()

    def on_query_validate(self, peer: str, version: tuple[int, int]) -> None:
        """Someone missed a VALIDATE, or cannot wait for it."""
        core = self._core
        if self._flight and self._flight.batch.version == version:
            self._flight.awaited = True
        elif core.log.contains(version) and not (self.pending and self.pending.version == version):
            core.send(peer, Validate(core.epoch, version))

    @property
    def awaits_validate(self) -> bool:
        """True if something is pending here of which its owner alone knows whether it is committed."""
        return self.pending is not None and self._flight is None

    def hasten(self) -> None:
        """A reader waits here: the VALIDATE that it waits for, which may wait for company, is not to."""
        core = self._core
        if self.pending and self.awaits_validate and self._hastened is not self.pending:
            self._hastened = self.pending
            core.broadcast(QueryValidate(core.epoch, self.pending.version))

    def settle(self) -> None:
        """A GIVE proves that what was pending here is committed."""
        self._clear_pending()

    def _clear_pending(self) -> None:
        if self.pending is not None:
            self.pending, self.pending_keys = None, frozenset()
            self._core.run_readers()

    # ---- every heartbeat

    def repeat(self) -> None:
        """Repeat whatever is unanswered."""
        core = self._core
        if self._flight and core.view:
            message = Update(core.epoch, self._flight.batch)
            for peer in core.peers():
                if peer not in self._flight.acks:
                    core.send(peer, message)
        elif self.pending:
            core.broadcast(QueryValidate(core.epoch, self.pending.version))
        self.pump()

    wall: int = 0  # the wall clock of the input at hand (ms), read when a batch is decided


def _again(waiting: Waiting, found: tuple[Entry, Result]) -> Result:
    """The recorded answer, or a refusal if it belongs to another request."""
    entry, result = found
    return result if entry.digest == waiting.digest else Result(Reused(), result.at)
