"""Keys and certificates as files: read strictly, written whole and durably or not at all."""

import os
import stat
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from pygmy.durable import write_whole

CA = "ca"
CERTIFICATE_MODE, FOLDER_MODE = 0o644, 0o700


class BadFiles(ValueError):
    """Certificates or keys that cannot be used; one sentence says which and why, never what is in a key."""


def certificate_path(directory: Path, name: str) -> Path:
    """Where the certificate of `catalog-0` (or `ca`) is."""
    return directory / f"{name}.pem"


def key_path(directory: Path, name: str) -> Path:
    """Where its private key is."""
    return directory / f"{name}.key"


def load_certificates(path: Path) -> tuple[x509.Certificate, ...]:
    """All certificates of a PEM file, one at least. Raises BadFiles."""
    try:
        return tuple(x509.load_pem_x509_certificates(path.read_bytes()))
    except OSError as error:
        raise BadFiles(f"{path}: {error.strerror}.") from None
    except ValueError:
        raise BadFiles(f"{path}: expected a certificate in PEM.") from None


def load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """A private key that its owner alone may read. Raises BadFiles."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read()
    except OSError as error:
        raise BadFiles(f"{path}: {error.strerror}.") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise BadFiles(f"{path} can be used by others than its owner (mode {mode:04o}): chmod 600 it.")
    try:
        key = load_pem_private_key(text, password=None)
    except (ValueError, TypeError):
        raise BadFiles(f"{path}: expected a private key in PEM, without a password.") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise BadFiles(f"{path}: expected a key on an elliptic curve.")
    return key


def save_certificates(path: Path, certificates: tuple[x509.Certificate, ...]) -> None:
    """Raises OSError."""
    write_whole(path, b"".join(one.public_bytes(Encoding.PEM) for one in certificates), CERTIFICATE_MODE)


def save_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    """Raises OSError."""
    write_whole(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
