"""`pygmy prepare`: a data directory for every node of a cluster, with what that node needs and no more."""

import os
from collections.abc import Mapping
from pathlib import Path

import click

from pygmy.cli.calling import Settings
from pygmy.cli.nodes import load_store
from pygmy.cli.options import settings_of
from pygmy.cli.terminal import printable, refuse, say
from pygmy.datadir import tls_home
from pygmy.durable import give_away, write_whole
from pygmy.web.auth import SecretsError

CLUSTER_NAME = "cluster.txt"
FOLDER_MODE = 0o700


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@settings_of("prepare")
def prepare(settings: Settings, directory: Path) -> None:
    """Prepare DIRECTORY/<node> as the data directory of each node: cluster file, secrets, its certificate.

    They come from the data directory, where those that are missing are made. Run again, it changes what is due, such
    as a certificate that expires soon. Root gives all of it to the owner of the data directory.
    """
    from pygmy.deploy.keys import make_keys
    from pygmy.tls.files import BadFiles

    store = load_store(settings)
    try:
        keys = make_keys(store.data, tls_home(settings.values["tls"], store.data), store.cluster)
        for node in store.cluster.nodes:
            files = {CLUSTER_NAME: store.cluster.text.encode(), **keys.files([node.name])}
            give(directory / node.name, files, store.data.stat())
            say(f"{node.name}: {printable(str(directory / node.name))}")
    except (SecretsError, BadFiles) as error:
        refuse(str(error))
    except OSError as error:
        refuse(f"{error.filename or directory}: {error.strerror}.")


def give(directory: Path, files: Mapping[str, bytes], owner: os.stat_result) -> None:
    """Have these files in that directory, each old or new and whole at any time. Raises OSError.

    Nobody but the owner can read them.
    """
    _own(directory, owner)
    for name, content in files.items():
        path = directory / name
        if path.parent != directory:
            _own(path.parent, owner)
        if not (path.exists() and path.read_bytes() == content):
            write_whole(path, content, owner=owner)


def _own(directory: Path, owner: os.stat_result) -> None:
    directory.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    directory.chmod(FOLDER_MODE)
    give_away(directory, owner)
