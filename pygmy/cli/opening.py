"""`pygmy open`, which is `run.sh`: a store on this machine, or on the hosts of its cluster file."""

from collections.abc import Sequence

import click

from pygmy.cli.deploy import deploy
from pygmy.cli.nodes import is_here
from pygmy.cli.options import HELP, given
from pygmy.cli.up import up
from pygmy.cluster import ClusterError, load_cluster
from pygmy.settings import BadFile, BadSetting, for_command, resolve, setting


@click.command("open", hidden=True, add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def open_store(context: click.Context, arguments: tuple[str, ...]) -> None:
    """`pygmy deploy` for a cluster file that names other machines, else `pygmy up`, with these arguments."""
    command = deploy if names_others(cluster_file(arguments)) else up
    with command.make_context(str(command.name), list(arguments), context.parent) as inner:
        command.invoke(inner)


def cluster_file(arguments: Sequence[str]) -> str | None:
    """The cluster file among the arguments of either command; None: there is none."""
    arguments = [word for word in arguments if word not in HELP]
    for command in (up, deploy):
        try:
            with command.make_context(str(command.name), list(arguments), help_option_names=list(HELP)) as context:
                flags = given(for_command(str(command.name)), dict(context.params))
                found: str | None = resolve([setting("cluster")], flags)["cluster"]
                return found
        except (click.UsageError, BadSetting, BadFile):
            continue
    # Something is wrong with them: whichever command is meant has to say so.
    return next((word for word in arguments if names_others(word)), None)


def names_others(path: str | None) -> bool:
    """True if the file has hosts that are not this machine. Whatever is wrong with it, the command will tell."""
    try:
        return any(not is_here(node) for node in load_cluster(path).nodes)
    except ClusterError:
        return False
