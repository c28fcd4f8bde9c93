"""The audit of a store: each copy by itself, then copies of one tier with each other, then orders with sales."""

from collections.abc import Iterator
from itertools import combinations

from msgspec import Struct

from pygmy.audit.chain import first_difference
from pygmy.audit.copy import CopyAudit
from pygmy.audit.reports import Report, Unaudited, Verdict
from pygmy.audit.scratch import Notes, Scratch, Unsold
from pygmy.messages.operations import TIERS, Tier


class _Audited(Struct):
    """A copy that is done: its report and the hashes of its chain."""

    report: Report
    trail: bytearray


class StoreAudit:
    """Any number of copies, one after the other. `close` it: it has a file of its own."""

    def __init__(self) -> None:
        self._scratch = Scratch()
        self._copies: list[_Audited] = []
        self._unaudited: list[Unaudited] = []
        self._longest: dict[Tier, tuple[Report, Notes]] = {}  # of the sound ones

    def begin(self, name: str, tier: Tier) -> CopyAudit:
        """A copy of this tier's data."""
        return CopyAudit(name, tier, self._scratch.notes())

    def done(self, copy: CopyAudit) -> Report:
        """There is no more of this copy."""
        report = copy.finish()
        self._copies.append(_Audited(report, copy.trail))
        other = self._longest.get(copy.tier)
        if report.sound and (other is None or other[0].head[1] < report.head[1]):
            self._longest[copy.tier] = (report, copy.notes)
            if other is not None:
                other[1].drop()
        else:
            copy.notes.drop()
        return report

    def give_up(self, name: str, why: str) -> None:
        """A copy that cannot be read."""
        self._unaudited.append(Unaudited(name, why))

    def verdict(self) -> Verdict:
        """Everything that there is to say."""
        problems: list[str] = []
        remarks: list[str] = []
        for tier in TIERS.values():
            copies = [copy for copy in self._copies if copy.report.tier == tier]
            between = list(_differences(copies))
            problems += between
            if len(copies) > 1 and not between:
                remarks += _agreement(tier, copies)
        waiting = None
        if len(self._longest) == len(TIERS):
            (_, sales), (_, orders) = self._longest["catalog"], self._longest["order"]
            unsold = [_unsold(order, self._longest["catalog"][0]) for order in orders.unsold(sales)]
            problems += unsold
            waiting = orders.waiting(sales)
            if not unsold:
                remarks.append("every order has its sale")
        elif {copy.report.tier for copy in self._copies} == set(TIERS):
            remarks.append("orders were not compared with sales: that needs a sound copy of each tier")
        sound = not problems and all(copy.report.sound for copy in self._copies)
        reports = tuple(copy.report for copy in self._copies)
        return Verdict(sound, reports, tuple(problems), tuple(remarks), waiting, tuple(self._unaudited))

    def close(self) -> None:
        """Its file is gone."""
        self._scratch.close()


def _differences(copies: list[_Audited]) -> Iterator[str]:
    """A log is the chosen prefix and at most one tentative batch: only the last batch of a copy may differ."""
    for one, other in combinations(copies, 2):
        seq = first_difference(one.trail, other.trail)
        if seq is not None and seq not in (one.report.head[1], other.report.head[1]):
            ends = f"which end with batches {one.report.head[1]} and {other.report.head[1]}"
            yield (
                f"batch {seq} is not the same in {one.report.name} and {other.report.name}, {ends}: expected one log,"
                " of which at most the last batch of a copy differs"
            )


def _agreement(tier: Tier, copies: list[_Audited]) -> Iterator[str]:
    longest = max(copies, key=lambda copy: copy.report.head[1])
    head = longest.report.head[1]
    apart = []
    for copy in copies:
        report = copy.report
        if (seq := first_difference(copy.trail, longest.trail)) is not None:
            apart.append(
                f"{report.name} has another batch {seq} than {longest.report.name}, not yet decided between them"
            )
        elif report.head[1] < head:
            behind = head - report.head[1]
            apart.append(f"{report.name} is {behind:,} {'batch' if behind == 1 else 'batches'} behind")
    yield f"{tier}: {len(copies)} copies of one log" + "".join(f"; {what}" for what in apart)


def _unsold(order: Unsold, catalog: Report) -> str:
    """What is wrong with an order that is not what was sold."""
    number = f"order {order.number} ({order.op_id}, batch {order.seq} of the order log)"
    if order.sold is None:
        end = f", and the catalog's log here ends with batch {catalog.head[1]}" * (order.sale_seq > catalog.head[1])
        return f"{number} has no sale: expected one in batch {order.sale_seq} of the catalog's log{end}"
    if order.sold != order.ordered:
        sold, ordered = order.sold.decode(), order.ordered.decode()
        return f"{number} is not what was sold in batch {order.sold_seq}: expected {sold}, found {ordered}"
    return f"{number} names batch {order.sale_seq} as its sale's: expected {order.sold_seq}"
