"""Results on stdout, messages on stderr, colour only where a person sees it."""

import os
import sys
from typing import NoReturn, TextIO

import click

COLOURS = ("cyan", "magenta", "yellow", "green", "blue", "bright_cyan", "bright_magenta", "bright_yellow")


def colourful(stream: TextIO | None) -> bool:
    """True on a terminal that its user has not asked to be plain (no-color.org). None: a stream that was closed."""
    if stream is None or not stream.isatty():
        return False
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def movable(stream: TextIO) -> bool:
    """True on a terminal whose cursor can be moved."""
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def paint(text: str, colour: str, stream: TextIO | None = None) -> str:
    """`text` in that colour, if the stream (stdout by default) shows colours."""
    return click.style(text, fg=colour) if colourful(stream or sys.stdout) else text


def say(text: str) -> None:
    """A result, to stdout."""
    click.echo(text)


def tell(text: str, colour: str | None = None) -> None:
    """A message to the person, to stderr."""
    click.echo(paint(text, colour, sys.stderr) if colour else text, err=True)


def silence(stream: TextIO) -> None:
    """Have all that is yet written there go nowhere: its reader has gone away, and each time it would raise."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def printable(text: str) -> str:
    """Text of unknown origin without the control characters that would drive a terminal."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def money(amount: float) -> str:
    """`30.00`."""
    return f"{amount:,.2f}"


def table(rows: list[list[str]], colour: dict[int, list[str | None]] | None = None) -> str:
    """Columns as wide as their widest cell, two spaces apart; `colour[column][row]` paints a cell."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for number, row in enumerate(rows):
        cells = []
        for column, cell in enumerate(row):
            fg = (colour or {}).get(column, [None] * len(rows))[number]
            padded = cell.ljust(widths[column])
            cells.append(paint(padded, fg) if fg else padded)
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def refuse(why: str) -> NoReturn:
    """Tell why nothing was done. Exit code 1."""
    tell(printable(why), "red")
    raise click.exceptions.Exit(1) from None
