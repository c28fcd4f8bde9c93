"""The `pygmy` command and what stands before every subcommand."""

from typing import Any

import click

import pygmy
from pygmy.cli.calling import Settings
from pygmy.cli.commands import Commands
from pygmy.cli.failures import INTERRUPTED
from pygmy.cli.options import HELP, given, json_option, options_of
from pygmy.settings import for_command
from pygmy.settings.table import PYGMY


class Interruptible(click.Group):
    """Ctrl-C before a command has begun to ask for anything is no failure, which click would take it for."""

    def invoke(self, ctx: click.Context) -> Any:
        """As any group's."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise click.exceptions.Exit(INTERRUPTED) from None


@click.group(cls=Interruptible, commands=Commands(), context_settings={"help_option_names": list(HELP)})
@click.version_option(pygmy.__version__, prog_name="pygmy")
@options_of(PYGMY)
@json_option()
@click.pass_context
def main(ctx: click.Context, /, as_json: bool, **options: Any) -> None:
    """Pygmy: a bookstore you can pull the plug on.

    \b
    pygmy up                      open a whole store on this machine
    pygmy search                  what there is
    pygmy lookup 1, pygmy buy 1   look at a book, buy it
    pygmy status                  how the nodes are
    pygmy audit                   whether its data is sound
    pygmy drill                   pull the plug on a store of its own, and look
    pygmy trace 1                 the way of an order through all nodes

    The options below may stand before the command or after it.

    \b
    Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 out of stock,
    69 store unavailable, 75 outcome unknown, 130 interrupted.
    """
    settings = ctx.ensure_object(Settings)
    settings.json, settings.flags = as_json, given(for_command(PYGMY), options)
