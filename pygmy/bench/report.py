"""The page of a run: ratios, then every figure with how it was made, then the machine."""

from collections.abc import Iterator
from pathlib import Path

from pygmy.bench.results import Grid, Measured, Plot, Run, encode
from pygmy.bench.summary import times
from pygmy.pages import Bars, Cell, Facts, Figure, Fold, Line, Page, Points, Section, Table, Text, render

LEAD = (
    "Pygmy is a bookstore on several servers: catalogs, order servers, and front ends that may keep a cache. Here it "
    "was measured, side by side in one run on one machine, on which the load generator runs, too. Ratios come first: "
    "they carry over to other machines better than times do."
)
RATIOS = "2.00 x: what is named first is twice as much, or takes twice as long, as what it is held against."
AGAINST = "of what, against what"
BETTER = {"higher": "Higher is better.", "lower": "Lower is better.", "": ""}


def write(run: Run, directory: Path) -> Path:
    """index.html and results.json in this folder, which is made; the page."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "results.json").write_bytes(encode(run))
    path = directory / "index.html"
    path.write_text(render(page(run)), "utf-8")
    return path


def page(run: Run) -> Page:
    """The page."""
    kind = "a quick run: its numbers are rough" if run.quick else "a full run"
    lead = f"{LEAD} This was {kind}, begun {run.started}."
    sections = [_ratios(run), *(_section(one) for one in run.measurements), _machine(run)]
    return Page("Pygmy, measured", lead, sections)


def _ratios(run: Run) -> Section:
    rows = [
        (times(ratio), ratio.what, Cell(one.name, link=f"#{one.name}"))
        for one in run.measurements
        for ratio in one.ratios
    ]
    table = Table(("", AGAINST, "more"), rows, "rl")
    parts: list[Text | Table] = [Text(RATIOS), table] if rows else [Text("None.")]
    return Section("Ratios", parts, id="ratios")


def _section(measured: Measured) -> Section:
    parts: list[Text | Table | Figure | Fold] = [Text(measured.how)]
    if measured.failed:
        parts.append(Text(f"Failed: {measured.failed.splitlines()[0]}", colour="bad"))
    parts += [Text(f"Note: {warning}.", colour="warn") for warning in measured.warnings[:MOST_WARNINGS]]
    if more := [f"{warning}." for warning in measured.warnings[MOST_WARNINGS:]]:
        parts.append(Fold(f"{len(more)} more notes", [Text(text) for text in more]))
    parts += (
        [Table(("", "of what, against what"), [(times(one), one.what) for one in measured.ratios], "rl")]
        if measured.ratios
        else []
    )
    parts += [figure(plot) for plot in measured.plots]
    parts += [Fold(grid.title, [_table(grid)]) for grid in measured.grids]
    return Section(measured.title, parts, id=measured.name, badge=("failed", "bad") if measured.failed else None)


MOST_WARNINGS = 3


def figure(plot: Plot) -> Figure:
    """A plot as the pages draw it."""
    note = BETTER[plot.better]
    if plot.bars:
        rows = [Bars(one.name, [(label, value, f"{value:,.3f}") for label, value in one.bars]) for one in plot.bars]
        return Figure(plot.title, x=plot.x, y=plot.y, series=rows, note=note)
    kind = Points if plot.scatter else Line
    series = [kind(one.name, one.points) for one in plot.curves]
    y_min = None if plot.log_y else 0.0
    return Figure(
        plot.title, x=plot.x, y=plot.y, series=series, log_x=plot.log_x, log_y=plot.log_y, y_min=y_min, note=note
    )


def _table(grid: Grid) -> Table:
    return Table(grid.head, grid.rows, "lr")


def _machine(run: Run) -> Section:
    parts: list[Facts | Text] = [Facts(run.machine)]
    parts += [Text(text) for text in _peers(run)]
    return Section("The machine", parts, id="machine")


def _peers(run: Run) -> Iterator[str]:
    for name, why in run.peers:
        yield f"Peer {name}: {'could not run: ' + why if why else 'measured'}."
