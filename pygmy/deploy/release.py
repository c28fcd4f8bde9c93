"""What is deployed: a version of Pygmy with its cluster file and settings, under a name made of all that is in it."""

import hashlib
import io
import tarfile
from collections.abc import Mapping

from msgspec import Struct

import pygmy
from pygmy.cluster import Cluster
from pygmy.deploy.pins import pins
from pygmy.deploy.units import units
from pygmy.deploy.wheel import make_wheel

DIGITS = 10
CLUSTER, SETTINGS, CONSTRAINTS = "cluster.txt", "pygmy.toml", "constraints.txt"


class Release(Struct, frozen=True):
    """`id` is the same for the same files and units, and for no others: `0.1.0-3f2a9c41b7`.

    `environment` is that of its virtual environment: what code there is, and not what it is told.
    """

    id: str
    environment: str
    wheel: str
    files: Mapping[str, bytes]
    units: Mapping[str, str]


def make_release(cluster: Cluster, settings: str, more: Mapping[str, bytes]) -> Release:
    """This very Pygmy for that cluster, with its pygmy.toml and `more` files beside that. Raises OSError."""
    wheel, content = make_wheel()
    files = {
        wheel: content,
        CONSTRAINTS: pins().encode(),
        CLUSTER: cluster.text.encode(),
        SETTINGS: settings.encode(),
        **more,
    }
    system = units()
    parts = {**files, **{name: text.encode() for name, text in system.items()}}
    environment = digest({name: files[name] for name in (wheel, CONSTRAINTS)})
    return Release(f"{pygmy.__version__}-{digest(parts)}", environment, wheel, files, system)


def digest(parts: Mapping[str, bytes]) -> str:
    """A few digits that stand for these files, their names and what is in them."""
    total = hashlib.sha256()
    for name, content in sorted(parts.items()):
        total.update(f"{name}\0{len(content)}\0".encode() + content)
    return total.hexdigest()[:DIGITS]


def archive(files: Mapping[str, bytes]) -> bytes:
    """A tar archive of them."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return target.getvalue()
