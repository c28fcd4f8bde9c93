"""Two runs against each other: every ratio and every point that both have."""

from collections.abc import Iterator

from msgspec import Struct

from pygmy.bench.results import Measured, Plot, Run
from pygmy.bench.statistics import ratio

NOTABLE = 0.10  # differences below this are as likely chance


class Difference(Struct, frozen=True):
    """One number of both runs. `change`: B as a multiple of A; `verdict`: "better", "worse", "same" or ""."""

    measurement: str
    what: str
    a: float
    b: float
    change: float
    verdict: str


class Comparison(Struct, frozen=True):
    """All differences; `only_a`, `only_b`: measurements that the other run lacks; `notes`: why it may be unfair."""

    differences: tuple[Difference, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    notes: tuple[str, ...]


def compare(a: Run, b: Run) -> Comparison:
    """B against A."""
    of_a, of_b = ({one.name: one for one in run.measurements} for run in (a, b))
    differences = [found for name in of_a if name in of_b for found in _differences(of_a[name], of_b[name])]
    return Comparison(
        tuple(differences),
        tuple(name for name in of_a if name not in of_b),
        tuple(name for name in of_b if name not in of_a),
        tuple(_notes(a, b)),
    )


def _differences(a: Measured, b: Measured) -> Iterator[Difference]:
    before = {one.what: one for one in a.ratios}
    for one in b.ratios:
        if one.what in before:
            yield _difference(a.name, one.what, before[one.what].value, one.value, one.better)
    plots = {plot.title: plot for plot in a.plots}
    for plot in b.plots:
        if plot.title in plots and plot.better:
            yield from _points(a.name, plots[plot.title], plot)


def _points(name: str, a: Plot, b: Plot) -> Iterator[Difference]:
    before = _values(a)
    for key, value in _values(b).items():
        if key in before:
            series, where = key
            yield _difference(name, f"{b.title}: {series}, {where}", before[key], value, b.better)


def _values(plot: Plot) -> dict[tuple[str, str], float]:
    values = {(one.name, label): value for one in plot.bars for label, value in one.bars}
    return values | {(one.name, f"{x:g} {plot.x}"): y for one in plot.curves for x, y in one.points}


def _difference(name: str, what: str, a: float, b: float, better: str) -> Difference:
    change = ratio(b, a)
    return Difference(name, what, a, b, change, verdict(change, better))


def verdict(change: float, better: str) -> str:
    """What a change to so many times as much means, where `better` values are "higher" or "lower"."""
    if not better or change != change:
        return ""
    if abs(change - 1) < NOTABLE:
        return "same"
    return "better" if (change > 1) == (better == "higher") else "worse"


def _notes(a: Run, b: Run) -> Iterator[str]:
    if a.quick != b.quick:
        yield "one of them is a quick run"
    of_a, of_b = dict(a.machine), dict(b.machine)
    for fact in ("processor", "memory", "system", "disk"):
        if of_a.get(fact) != of_b.get(fact):
            yield f"{fact}: {of_a.get(fact)} against {of_b.get(fact)}"
    if a.generator != b.generator:
        yield f"load generator: {a.generator} against {b.generator}"
