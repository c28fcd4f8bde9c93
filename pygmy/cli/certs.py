"""`pygmy certs`: a private CA and a certificate for each node of a store."""

from collections.abc import Sequence
from pathlib import Path

import click

from pygmy.cli.calling import Settings
from pygmy.cli.nodes import load_store
from pygmy.cli.options import settings_of
from pygmy.cli.terminal import printable, refuse, say, table
from pygmy.cluster import Cluster
from pygmy.datadir import tls_home, tls_path
from pygmy.tls.lifetimes import CA_DAYS, DAYS


@click.command()
@click.option(
    "--out",
    type=click.Path(file_okay=False),
    help="Where they are made. [default: the setting tls, else DATA/tls]",
)
@click.option(
    "--days",
    type=click.IntRange(1, CA_DAYS),
    default=DAYS,
    show_default=True,
    help="How long a node's certificate is good for.",
)
@settings_of("certs")
def certs(settings: Settings, out: str | None, days: int) -> None:
    """Make a private CA and a certificate for each node, for a store that speaks TLS.

    What is missing is made, what expires within 30 days is made anew, and the rest stays as it is. Nodes that are
    started on a data directory with a folder `tls` speak TLS and nothing else.
    """
    from pygmy.tls.certificates import make_certificates
    from pygmy.tls.files import BadFiles

    store = load_store(settings)
    folder = tls_home(out or settings.values["tls"], store.data) or tls_path(store.data)
    try:
        made = make_certificates(folder, store.cluster, days)
    except BadFiles as error:
        refuse(str(error))
    except OSError as error:
        refuse(f"{error.filename or folder}: {error.strerror}")
    say(printable(_told(folder, made)))
    if made:
        say("\n".join(_needs(store.cluster)))


def _told(folder: Path, made: Sequence[Path]) -> str:
    if not made:
        return f"All certificates in {folder} are good: none was made."
    return f"Made in {folder}: {', '.join(path.name for path in made)}"


def _needs(cluster: Cluster) -> list[str]:
    """What goes where."""
    hosts = list(dict.fromkeys(node.host for node in cluster.nodes))
    rows = [["HOST", "FILES"]]
    for host in hosts:
        files = [f"{node.name}.{end}" for node in cluster.nodes if node.host == host for end in ("pem", "key")]
        rows.append([printable(host), " ".join(["ca.pem", *files])])
    return [
        "What each host needs in the folder tls of its data directory (keys with mode 0600):",
        table(rows),
        "ca.key signs: it stays here, and is for nobody else.",
        "Nodes speak TLS from their next start on. Until all of a store do, they do not hear each other.",
    ]
