"""What an audit says, typed: of each copy, of the copies together, and of what could not be read at all."""

from msgspec import Struct

from pygmy.messages.operations import Tier
from pygmy.messages.replication import Version

MOST_FINDINGS = 20  # that are kept of one copy; all are counted


class Unreadable(Exception):
    """This cannot be audited; str() says in one sentence why, and what would help."""


class Finding(Struct, frozen=True):
    """One thing that is wrong, with what was expected. `seq`: the batch in which it shows (None: in none)."""

    what: str
    seq: int | None = None

    def __str__(self) -> str:
        return self.what if self.seq is None else f"batch {self.seq}: {self.what}"


class Findings:
    """What is wrong with one copy: the first ones in words, and how many there are."""

    def __init__(self) -> None:
        self.kept: list[Finding] = []
        self.count = 0

    def add(self, what: str, seq: int | None = None) -> None:
        """One more."""
        self.count += 1
        if len(self.kept) < MOST_FINDINGS:
            self.kept.append(Finding(what, seq))


class Figures(Struct, frozen=True):
    """What a copy comes to, for a shopkeeper. Of a catalog: `books` for sale, copies of them `in_stock`, and `sold`.

    Of an order tier: `orders`, and what they come to (`total`, cents).
    """

    books: int = 0
    in_stock: int = 0
    sold: int = 0
    orders: int = 0
    total: int = 0


class Report(Struct, frozen=True):
    """The audit of one copy. It is sound if there are no `problems`.

    `findings` are the first of them. `rows`: the tables were compared with the log, too; `remarks` say what else
    should be known.
    """

    name: str
    tier: Tier
    batches: int
    entries: int
    head: Version
    head_hash: str
    figures: Figures
    rows: bool
    problems: int
    findings: tuple[Finding, ...]
    remarks: tuple[str, ...] = ()

    @property
    def sound(self) -> bool:
        """True if nothing is wrong with it."""
        return not self.problems


class Unaudited(Struct, frozen=True):
    """A copy that could not be read, and why."""

    name: str
    why: str


class Verdict(Struct, frozen=True):
    """The whole audit. `problems`: what is wrong between copies; `remarks`: what is right, or no more than a pity.

    `waiting`: sales without an order, which the reconciler writes when the store runs (None: not known).
    """

    sound: bool
    copies: tuple[Report, ...]
    problems: tuple[str, ...]
    remarks: tuple[str, ...]
    waiting: int | None
    unaudited: tuple[Unaudited, ...]
