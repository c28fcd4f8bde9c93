"""What a host's nodes prove themselves with: the store's two secrets, and their certificates."""

from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from pygmy.cluster import Cluster
from pygmy.deploy.release import digest
from pygmy.tls.certificates import make_certificates
from pygmy.web.auth import ADMIN_FILE, CLUSTER_FILE, Secrets


class Keys(Struct, frozen=True):
    """The files of the data directory in which they are made; `tls` is the certificates' (None: there are none)."""

    data: Path
    tls: Path | None

    def files(self, nodes: Iterable[str]) -> dict[str, bytes]:
        """What goes into the data directory of these nodes: nobody else's private key. Raises OSError."""
        files = {name: (self.data / name).read_bytes() for name in (CLUSTER_FILE, ADMIN_FILE)}
        if self.tls is not None:
            names = ["ca.pem", *(f"{node}.{kind}" for node in nodes for kind in ("pem", "key"))]
            files |= {f"tls/{name}": (self.tls / name).read_bytes() for name in names}
        return files

    def stamp(self, node: str) -> str:
        """What stands for the certificate that a node was started with: another one wants it started again."""
        if self.tls is None:
            return ""
        return digest({name: (self.tls / name).read_bytes() for name in ("ca.pem", f"{node}.pem")})


def make_keys(data: Path, tls: Path | None, cluster: Cluster) -> Keys:
    """Make what is missing, or about to expire, of secrets and of the certificates in `tls`.

    Raises SecretsError, BadFiles or OSError.
    """
    Secrets.load(str(data))
    if tls is not None:
        make_certificates(tls, cluster)
    return Keys(data, tls)
