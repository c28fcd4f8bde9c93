"""`pygmy trace`: the way of one order through all nodes, from their logs."""

from pathlib import Path

import click

from pygmy.cli.calling import Settings
from pygmy.cli.nodes import load_store
from pygmy.cli.options import settings_of
from pygmy.cli.terminal import printable, say, tell


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
    from pygmy.tracing.reading import Line, read_log
    from pygmy.tracing.story import Untold, story_of

    store = load_store(settings)
    lines: list[Line] = []
    for node in store.cluster.nodes:
        try:
            lines += read_log(store.log(node), node.name)
        except OSError as error:
            tell(f"{node.name}: {printable(str(error.filename))}: {error.strerror}.", "yellow")
    try:
        story = story_of(order, lines, {node.name: node.url for node in store.cluster.nodes})
    except Untold as untold:
        tell(str(untold), "red")
        raise click.exceptions.Exit(3) from None
    say(printable_lines(text(story)))
    if out is not None:
        try:
            out.write_text(render(page(story)), encoding="utf-8")
        except OSError as error:
            tell(f"--out {printable(str(out))}: {error.strerror}.", "red")
            raise click.exceptions.Exit(1) from None
        tell(f"The figure is in {printable(str(out))}")


def printable_lines(text: str) -> str:
    """Each line without what would drive a terminal."""
    return "\n".join(map(printable, text.splitlines()))
