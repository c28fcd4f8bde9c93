"""`pygmy restore`: a backup takes the place of a stopped replica's database."""

from datetime import UTC, datetime
from pathlib import Path

import click

from pygmy.cli.calling import Settings
from pygmy.cli.daemons import choose_replica
from pygmy.cli.nodes import is_here, load_store
from pygmy.cli.options import settings_of
from pygmy.cli.terminal import printable, refuse, say
from pygmy.clock import utc_milliseconds


@click.command()
@click.argument("node")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@settings_of("restore")
def restore(settings: Settings, node: str, file: str) -> None:
    """Give NODE, a stopped replica, the database in FILE, a backup of any replica of its tier.

    What it held before is moved aside. Once started, it fetches what came after the backup from the others.
    """
    from pygmy.pidfile import AlreadyRunning
    from pygmy.restoring import CannotRestore
    from pygmy.restoring import restore as put_in_place

    store = load_store(settings)
    chosen = choose_replica(store, node)
    if not is_here(chosen):
        raise click.UsageError(f"{chosen.name} runs on {chosen.host}: restore it there.")
    try:
        restored = put_in_place(store.data, chosen, Path(file), utc_milliseconds())
    except AlreadyRunning as error:
        refuse(f"{error} Stop it first: {store.advice(f'stop {chosen.name}')}")
    except CannotRestore as error:
        refuse(str(error))
    except OSError as error:
        refuse(f"{error.filename or chosen.name}: {error.strerror}.")
    note = restored.note
    made = datetime.fromtimestamp(note.at // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    say(f"{chosen.name} has the {chosen.role} of {printable(note.node)} of {made} UTC, up to batch {note.head[1]}.")
    if restored.aside is not None:
        say(f"What it had before is in {restored.aside}")
    say(f"Next: {store.advice(f'start {chosen.name}')}")
