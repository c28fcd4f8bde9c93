"""Taking the measurements one after the other; one that fails says why, and the next is taken."""

import math
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from datetime import UTC, datetime

from msgspec.structs import replace

from pygmy.bench import loading, machine
from pygmy.bench.desk import Desk
from pygmy.bench.measuring import Findings, Measurement
from pygmy.bench.results import FORMAT, Bar, Curve, Measured, Plot, Run

NOT_THERE = "it needs a store of its own: leave out --frontend-server"
NO_NUMBER = "some numbers could not be had"


class Interrupted(Exception):
    """Ctrl-C came; `run` has the measurements that were through."""

    def __init__(self, run: Run) -> None:
        super().__init__("interrupted")
        self.run = run


def measure(desk: Desk, chosen: Iterable[Measurement], done: Callable[[Measured], None] = lambda one: None) -> Run:
    """All that were chosen; `done` hears of each as it is through. Raises Interrupted, when all is cleaned up."""
    generator = loading.generator()
    started = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    run = Run(FORMAT, started, desk.quick, machine.describe(generator), generator)
    try:
        with ExitStack() as stack:
            stack.callback(desk.close)
            for one in chosen:
                measured = take(desk, one)
                run = replace(run, measurements=(*run.measurements, measured), peers=seen(desk))
                done(measured)
    except KeyboardInterrupt:
        raise Interrupted(run) from None
    return run


def seen(desk: Desk) -> tuple[tuple[str, str], ...]:
    """The peers, and why one could not be measured."""
    return tuple((name, desk.missing.get(name, "")) for name in desk.peers)


def take(desk: Desk, one: Measurement) -> Measured:
    """One measurement; what it found before it failed is kept."""
    findings, failed = Findings(), ""
    started = time.perf_counter()
    if desk.running is not None and not one.anywhere:
        failed = NOT_THERE
    else:
        try:
            one.work(desk, findings)
        except Exception as error:  # whatever it was: the other measurements are of use without this one
            failed = f"{type(error).__name__}: {error}".strip()
            desk.close()  # the store may be the reason
    measured = Measured(
        one.name,
        one.title,
        one.how,
        tuple(findings.ratios),
        tuple(findings.plots),
        tuple(findings.grids),
        desk.warnings(),
        failed,
        time.perf_counter() - started,
    )
    return finite(measured)


def finite(measured: Measured) -> Measured:
    """The same without what is no number (JSON has none for it), and a warning if there was any."""
    clean = replace(
        measured,
        ratios=tuple(one for one in measured.ratios if math.isfinite(one.value)),
        plots=tuple(_finite_plot(plot) for plot in measured.plots),
    )
    return clean if clean == measured else replace(clean, warnings=(*measured.warnings, NO_NUMBER))


def _finite_plot(plot: Plot) -> Plot:
    curves = tuple(
        Curve(one.name, tuple(point for point in one.points if all(map(math.isfinite, point)))) for one in plot.curves
    )
    bars = tuple(Bar(one.name, tuple(bar for bar in one.bars if math.isfinite(bar[1]))) for one in plot.bars)
    return replace(plot, curves=curves, bars=bars)
