"""`pygmy prepare`: a data directory for every node of a cluster, each with what its node is to find there and no more."""

import os
from collections.abc import Mapping
from pathlib import Path

import click

from pygmy.cli.daemons import cluster_option
from pygmy.cli.nodes import Store, data_option, load_store
from pygmy.cli.restore import refuse
from pygmy.cli.terminal import printable, say
from pygmy.cluster import Node
from pygmy.web.auth import ADMIN_FILE, CLUSTER_FILE, Secrets, SecretsError

CLUSTER_NAME = "cluster.txt"
FILE_MODE = 0o600
FOLDER_MODE = 0o700


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@cluster_option
@data_option
def prepare(directory: Path, cluster_file: str | None, data: str | None) -> None:
    """Prepare DIRECTORY/<node> as the data directory of each node: the cluster file and the secrets.

    The secrets are those of the data directory; those that are missing are made there. Run again, it changes only what
    is due. Root gives what it makes to the owner of the data directory.
    """
    store = load_store(cluster_file, data)
    try:
        Secrets.load(str(store.data))
        for node in store.cluster.nodes:
            give(directory / node.name, belongings(store, node), store.data.stat())
            say(f"{node.name}: {printable(str(directory / node.name))}")
    except SecretsError as error:
        refuse(str(error))
    except OSError as error:
        refuse(f"{error.filename or directory}: {error.strerror}.")


def belongings(store: Store, node: Node) -> dict[str, bytes]:
    """What that node has to find in its data directory, by name. Raises OSError."""
    return {
        CLUSTER_NAME: store.cluster.text.encode(),
        **{name: (store.data / name).read_bytes() for name in (CLUSTER_FILE, ADMIN_FILE)},
    }


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
            _write(path, content, owner)


def _own(directory: Path, owner: os.stat_result) -> None:
    directory.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    directory.chmod(FOLDER_MODE)
    _give_away(directory, owner)


def _write(path: Path, content: bytes, owner: os.stat_result) -> None:
    draft = path.with_name(f".{path.name}.draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    _give_away(draft, owner)
    draft.replace(path)


def _give_away(path: Path, owner: os.stat_result) -> None:
    if os.geteuid() == 0:
        os.chown(path, owner.st_uid, owner.st_gid)
