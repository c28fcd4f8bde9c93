"""`pygmy prepare`: a data directory for every node of a cluster, with what that node needs and no more."""

import os
from collections.abc import Mapping
from pathlib import Path

import click

from pygmy.cli.calling import Settings
from pygmy.cli.nodes import Store, load_store
from pygmy.cli.options import settings_of
from pygmy.cli.restore import refuse
from pygmy.cli.terminal import printable, say
from pygmy.cluster import Node
from pygmy.datadir import data_directory, tls_directory, tls_path
from pygmy.web.auth import ADMIN_FILE, CLUSTER_FILE, Secrets, SecretsError

CLUSTER_NAME = "cluster.txt"
FILE_MODE = 0o600
FOLDER_MODE = 0o700


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@settings_of("prepare")
def prepare(settings: Settings, directory: Path) -> None:
    """Prepare DIRECTORY/<node> as the data directory of each node: cluster file, secrets, its certificate.

    They come from the data directory, where those that are missing are made. Run again, it changes what is due, such
    as a certificate that expires soon. Root gives all of it to the owner of the data directory.
    """
    from pygmy.tls.certificates import make_certificates
    from pygmy.tls.files import BadFiles

    store = load_store(settings)
    try:
        Secrets.load(str(store.data))
        folder = _certificates(settings, store.data)
        if folder is not None:
            make_certificates(folder, store.cluster)
        for node in store.cluster.nodes:
            give(directory / node.name, belongings(store, node, folder), store.data.stat())
            say(f"{node.name}: {printable(str(directory / node.name))}")
    except (SecretsError, BadFiles) as error:
        refuse(str(error))
    except OSError as error:
        refuse(f"{error.filename or directory}: {error.strerror}.")


def _certificates(settings: Settings, data: Path) -> Path | None:
    """Where certificates are made; None: this store is to have none (--tls off)."""
    assert settings.values is not None
    wanted = settings.values["tls"]
    return tls_path(data) if wanted is None else tls_directory(wanted, data_directory(settings.data))


def belongings(store: Store, node: Node, certificates: Path | None) -> dict[str, bytes]:
    """What that node has to find in its data directory, by name. Raises OSError."""
    files = {CLUSTER_NAME: store.cluster.text.encode()}
    files |= {name: (store.data / name).read_bytes() for name in (CLUSTER_FILE, ADMIN_FILE)}
    if certificates is not None:
        for name in ("ca.pem", f"{node.name}.pem", f"{node.name}.key"):
            files[f"tls/{name}"] = (certificates / name).read_bytes()
    return files


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
