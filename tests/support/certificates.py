"""Certificates for tests: of a CA of the tests' own, of another one, and expired ones."""

from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.ssl import Certificate as TwistedCertificate
from twisted.internet.ssl import optionsForClientTLS, trustRootFromCertificates

from pygmy.cluster import DEFAULT, parse_cluster
from pygmy.tls.certificates import make_certificates
from pygmy.tls.contexts import Credentials
from pygmy.tls.files import load_certificates, load_key

CLUSTER = parse_cluster(DEFAULT)


@cache
def credentials(node: str = "catalog-0", ca: str = "ours", expired: bool = False) -> Credentials:
    """The node's, of the CA of this name; expired ones are of the same CA."""
    folder = folder_of(ca)
    trusted = load_certificates(folder / "ca.pem")
    if expired:
        folder = Path(_expired(ca).name)
    return Credentials(node, load_certificates(folder / f"{node}.pem")[0], load_key(folder / f"{node}.key"), trusted)


def folder_of(ca: str = "ours") -> Path:
    """Where the certificates of this CA are."""
    return Path(_folder(ca).name)


@cache
def _folder(ca: str) -> "TemporaryDirectory[str]":
    folder = TemporaryDirectory()
    make_certificates(Path(folder.name), CLUSTER)
    return folder


@cache
def _expired(ca: str) -> "TemporaryDirectory[str]":
    folder = TemporaryDirectory()
    for name in ("ca.pem", "ca.key"):
        copy = Path(folder.name) / name
        copy.write_bytes((folder_of(ca) / name).read_bytes())
        copy.chmod(0o600)
    make_certificates(Path(folder.name), CLUSTER, days=1, now=lambda: datetime.now(UTC) - timedelta(days=3))
    return folder


@cache
def anybody(ca: str = "ours") -> Any:
    """The client's side of a person, who trusts the CA and shows no certificate."""
    pem = (folder_of(ca) / "ca.pem").read_bytes()
    return optionsForClientTLS("localhost", trustRootFromCertificates([TwistedCertificate.loadPEM(pem)]))
