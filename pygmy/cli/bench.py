"""`pygmy bench`: measures a store, and leaves a page."""

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click
import msgspec

from pygmy.cli.calling import Settings
from pygmy.cli.failures import INTERRUPTED
from pygmy.cli.options import settings_of
from pygmy.cli.terminal import movable, paint, printable, say, table, tell
from pygmy.cli.visiting import is_named, store_of

if TYPE_CHECKING:
    from pygmy.bench.measuring import Measurement
    from pygmy.bench.results import Measured

SHOWN = 40  # differences in the terminal


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--list", "listed", is_flag=True, help="List the measurements.")
@click.option("--quick", is_flag=True, help="Within a minute, roughly.")
@click.option("--peers", is_flag=True, help="Measure other stores, too: those of bench/peers that can run here.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("pygmy-bench"), help="The folder for the results."
)
@click.option("--compare", nargs=2, metavar="A B", type=click.Path(path_type=Path), help="Compare two results.json.")
@settings_of("bench")
def bench(
    settings: Settings,
    names: tuple[str, ...],
    listed: bool,
    quick: bool,
    peers: bool,
    out: Path | None,
    compare: tuple[Path, Path] | None,
) -> None:
    """Measure a store (default: all of it), on private clusters that are gone afterwards.

    Leaves index.html and results.json in --out (default: ./pygmy-bench-TIME). With --frontend-server it measures the
    store that runs there, as far as that can be done with no more than a front end; it buys, too.

    Exit codes: 0 measured, 1 a measurement failed, 2 usage, 130 interrupted.
    """
    from pygmy.bench.measurements import ALL

    if compare is not None:
        show_comparison(settings, *compare)
    elif listed:
        say(table([[one.name, one.title] for one in ALL]))
    else:
        chosen = choose(names, quick=quick, anywhere=is_named(settings))
        show_run(settings, chosen, quick=quick, peers=peers, out=folder(out))


def choose(names: tuple[str, ...], *, quick: bool = False, anywhere: bool = False) -> "tuple[Measurement, ...]":
    """The measurements of these names in their usual order, or all of them: that a quick run takes, and that can be

    taken of a store that runs. One that is unknown, or cannot be taken there, is a usage error.
    """
    from pygmy.bench.measurements import ALL, named

    known = [one.name for one in ALL]
    for name in names:
        if name not in known:
            raise click.UsageError(f"There is no measurement {name!r}. There are {', '.join(known)}.")
        if anywhere and not named(name).anywhere:
            raise click.UsageError(f"{name} needs a store of its own: leave out --frontend-server.")
    wanted = [one for one in ALL if one.name in names or not (names or (quick and not one.quick))]
    return tuple(one for one in wanted if one.anywhere or not anywhere)


def show_run(settings: Settings, chosen: "tuple[Measurement, ...]", *, quick: bool, peers: bool, out: Path) -> None:
    """Measure, tell of each as it is through, and leave the results. Ctrl-C ends all processes first."""
    from pygmy.bench import report, summary
    from pygmy.bench.desk import Desk
    from pygmy.bench.running import Interrupted, measure
    from pygmy.private import interruptible

    progress = Progress()
    server, ca = running(settings)
    desk = Desk(quick=quick, running=server, ca=ca, peers=known_peers() if peers else (), tell=progress)

    def done(measured: "Measured") -> None:
        progress.end()
        if not settings.json:
            say("\n".join(printable(line) for line in summary.lines_of(measured)))

    interrupted = False
    try:
        with interruptible():
            run = measure(desk, chosen, done)
    except Interrupted as interrupt:
        run, interrupted = interrupt.run, True
    finally:
        progress.end()
    path = report.write(run, out)
    for line in summary.ends_of(run):
        tell(printable(line), "yellow")
    if settings.json:
        say(msgspec.json.encode(run).decode())
    else:
        say(paint(f"The page is {path}", "green"))
    if interrupted:
        tell("Interrupted; no process is left.", "yellow")
        raise click.exceptions.Exit(INTERRUPTED)
    if any(one.failed for one in run.measurements):
        raise click.exceptions.Exit(1)


def folder(out: Path | None) -> Path:
    """A folder that is new, or empty."""
    chosen = out or Path(f"pygmy-bench-{datetime.now(UTC).strftime('%Y%m%dT%H%M%SZ')}")
    if chosen.exists() and any(chosen.iterdir()):
        raise click.UsageError(f"--out {printable(str(chosen))}: expected a folder that is empty or not there yet.")
    return chosen


def running(settings: Settings) -> tuple[tuple[str, int] | None, str | None]:
    """The front end that was named on the command line, and over https the file of the CA; it answers."""
    if not is_named(settings):
        return None, None
    store_of(settings)
    parts = urlsplit(settings.url)
    server = (parts.hostname or "localhost", parts.port or 5002)
    return server, settings.ca if parts.scheme == "https" else None


def known_peers() -> tuple[str, ...]:
    """All peers; none, which is told, where there are none."""
    from pygmy.bench.rivals import CannotRun, names

    try:
        return names()
    except CannotRun as why:
        tell(f"No peers: {printable(str(why))}.", "yellow")
        return ()


def show_comparison(settings: Settings, first: Path, second: Path) -> None:
    """B against A, what differs most first."""
    from pygmy.bench.comparing import Difference, compare
    from pygmy.bench.results import BadResults, load
    from pygmy.bench.summary import shown

    try:
        comparison = compare(load(first), load(second))
    except BadResults as error:
        raise click.UsageError(printable(str(error))) from None
    if settings.json:
        say(msgspec.json.encode(comparison).decode())
        return
    for note in comparison.notes:
        tell(f"Not alike: {printable(note)}", "yellow")

    def distance(one: Difference) -> float:
        return max(one.change, 1 / one.change) if one.change > 0 else 0.0

    rows = [["MEASUREMENT", "A", "B", "B/A", "", "WHAT"]]
    for one in sorted(comparison.differences, key=distance, reverse=True)[:SHOWN]:
        rows.append(
            [one.measurement, shown(one.a), shown(one.b), f"{one.change:.2f}", one.verdict, printable(one.what)]
        )
    say(table(rows))
    counts = {
        word: sum(one.verdict == word for one in comparison.differences) for word in ("better", "same", "worse")
    }
    say(", ".join(f"{count} {word}" for word, count in counts.items()))


class Progress:
    """What is under way, on stderr: on a terminal one line that changes, elsewhere a line now and then."""

    def __init__(self) -> None:
        self._movable = movable(sys.stderr)
        self._started = time.monotonic()
        self._shown = False

    def __call__(self, text: str) -> None:
        """This is under way now."""
        line = f"{time.monotonic() - self._started:4.0f} s  {printable(text)}"
        if self._movable:
            self._shown = True
            click.echo(f"\r\x1b[K{line[:100]}", nl=False, err=True)
        else:
            click.echo(line, err=True)

    def end(self) -> None:
        """Take the line away."""
        if self._shown:
            self._shown = False
            click.echo("\r\x1b[K", nl=False, err=True)
