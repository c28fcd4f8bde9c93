"""`pygmy trace`: the way of one order through all nodes, from their logs."""

from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING

import click

from pygmy.cli.calling import Settings
from pygmy.cli.failures import NOT_FOUND
from pygmy.cli.nodes import Store, load_store
from pygmy.cli.options import settings_of
from pygmy.cli.terminal import printable, say, tell

if TYPE_CHECKING:
    from pygmy.tracing.story import Story, Untold

PATIENCE_SECONDS = 0.8  # a node's lines are in its file `pygmy.logs.file.FLUSH_SECONDS` after they were logged
PAUSE_SECONDS = 0.1


@click.command()
@click.argument("order", type=click.IntRange(min=1))
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write a page with the figure, too.")
@settings_of("trace")
def trace(settings: Settings, order: int, out: Path | None) -> None:
    """Tell how ORDER came to be: each node's steps, W1 to W8, with times, from the logs in the data directory.

    Exit code 3: no log tells of that order.
    """
    from pygmy.pages import render
    from pygmy.tracing.picture import page, text
    from pygmy.tracing.story import Untold

    store = load_store(settings)
    troubles: dict[str, str] = {}
    story = _told_in_time(store, order, troubles)
    for name, trouble in troubles.items():
        tell(f"{name}: {trouble}", "yellow")
    if isinstance(story, Untold):
        tell(str(story), "red")
        raise click.exceptions.Exit(NOT_FOUND)
    say(printable_lines(text(story)))
    if out is not None:
        try:
            out.write_text(render(page(story)), encoding="utf-8")
        except OSError as error:
            tell(f"--out {printable(str(out))}: {error.strerror}.", "red")
            raise click.exceptions.Exit(1) from None
        tell(f"The figure is in {printable(str(out))}")


def _told_in_time(store: Store, order: int, troubles: dict[str, str]) -> "Story | Untold":
    """What the logs tell; as long as that is not all, they are read again for a little."""
    told = _told(store, order, troubles)
    deadline = monotonic() + PATIENCE_SECONDS
    while not told.whole and monotonic() < deadline:
        sleep(PAUSE_SECONDS)
        told = _told(store, order, troubles)
    return told


def _told(store: Store, order: int, troubles: dict[str, str]) -> "Story | Untold":
    """What the logs tell now; by node, `troubles` with those that cannot be read."""
    from pygmy.tracing.reading import Line, read_log
    from pygmy.tracing.story import Untold, story_of

    lines: list[Line] = []
    troubles.clear()
    for node in store.cluster.nodes:
        try:
            lines += read_log(store.log(node), node.name)
        except OSError as error:
            troubles[node.name] = f"{printable(str(error.filename))}: {error.strerror}."
    try:
        return story_of(order, lines, {node.name: node.url for node in store.cluster.nodes})
    except Untold as untold:
        return untold


def printable_lines(text: str) -> str:
    """Each line without what would drive a terminal."""
    return "\n".join(map(printable, text.splitlines()))
