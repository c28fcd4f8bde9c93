"""What a run leaves behind: results.json is exactly this."""

from pathlib import Path

import msgspec
from msgspec import Struct

FORMAT = 1


class BadResults(ValueError):
    """A file that is not the results of a run; str() says what was expected, in one line."""


class Ratio(Struct, frozen=True):
    """`what` is so many times something else: the first thing to look at. `better`: "higher", "lower" or ""."""

    what: str
    value: float
    better: str = ""


class Curve(Struct, frozen=True):
    """One series of a plot: (x, y)."""

    name: str
    points: tuple[tuple[float, float], ...]


class Bar(Struct, frozen=True):
    """One series of a plot without an x axis: (label, value)."""

    name: str
    bars: tuple[tuple[str, float], ...]


class Plot(Struct, frozen=True):
    """A figure: curves, or bars. `scatter`: the curves are single points. `better` as in `Ratio`, of its values."""

    title: str
    x: str = ""
    y: str = ""
    curves: tuple[Curve, ...] = ()
    bars: tuple[Bar, ...] = ()
    scatter: bool = False
    log_x: bool = False
    log_y: bool = False
    better: str = ""


class Grid(Struct, frozen=True):
    """A table."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Measured(Struct, frozen=True):
    """One measurement. `how`: how its numbers are made; `failed`: why there are none; `seconds`: what it took."""

    name: str
    title: str
    how: str
    ratios: tuple[Ratio, ...] = ()
    plots: tuple[Plot, ...] = ()
    grids: tuple[Grid, ...] = ()
    warnings: tuple[str, ...] = ()
    failed: str = ""
    seconds: float = 0.0


class Run(Struct, frozen=True):
    """All of them, with the machine (names and what they are) and who made the load.

    `peers`: other stores that were measured, and for those that could not, why ("": it was).
    """

    format: int
    started: str
    quick: bool
    machine: tuple[tuple[str, str], ...]
    generator: str
    peers: tuple[tuple[str, str], ...] = ()
    measurements: tuple[Measured, ...] = ()


def encode(run: Run) -> bytes:
    """results.json."""
    return msgspec.json.format(msgspec.json.encode(run), indent=1)


def load(path: Path) -> Run:
    """The results in a file, or in results.json of a folder. Raises BadResults."""
    file = path / "results.json" if path.is_dir() else path
    try:
        run = msgspec.json.decode(file.read_bytes(), type=Run)
    except OSError as error:
        raise BadResults(f"{file}: {error.strerror or error}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadResults(f"{file}: expected the results.json of `pygmy bench`: {error}.") from None
    if run.format != FORMAT:
        raise BadResults(f"{file}: expected results of format {FORMAT}, not {run.format}.")
    return run
