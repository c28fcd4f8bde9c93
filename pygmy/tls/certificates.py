"""A private CA, and one certificate for each node of a cluster: made, kept and renewed in one folder.

The CA's key signs, and stays at home: a node needs `ca.pem`, and its own `<node>.pem` and `<node>.key`.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pygmy.cluster import Cluster, Node
from pygmy.tls.files import (
    CA,
    FOLDER_MODE,
    BadFiles,
    certificate_path,
    key_path,
    load_certificates,
    load_key,
    save_certificates,
    save_key,
)
from pygmy.tls.lifetimes import CA_DAYS, DAYS, EXPIRING_DAYS
from pygmy.tls.names import DOMAIN, tls_name

# A certificate is good a little before it is made: the clocks of the other hosts may be late.
_EARLIER = timedelta(hours=1)

Now = Callable[[], datetime]


class Authority(NamedTuple):
    """The CA that signs: its certificate and key; `trusted`: all that `ca.pem` has, this one among them."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    trusted: tuple[x509.Certificate, ...]


def utc_now() -> datetime:
    """The time that certificates are made by."""
    return datetime.now(UTC)


def make_certificates(
    directory: Path, cluster: Cluster, days: int = DAYS, now: Now = utc_now, ca_days: int = CA_DAYS
) -> list[Path]:
    """Make what is missing, is about to expire or says something else than the cluster; the rest stays.

    The files made, in order. Raises BadFiles or OSError; every file that is there then is whole.
    """
    made = make_ca(directory, now, ca_days)
    for node in cluster.nodes:
        made += make_certificate(directory, node, days, now)
    return made


def make_ca(directory: Path, now: Now = utc_now, days: int = CA_DAYS) -> list[Path]:
    """Make a CA where there is none, or its certificate anew, of the same key, when it is about to expire.

    The files made. Half a CA is refused: whoever lacks the key is to sign elsewhere, and who lost the
    certificate has nodes that trust something else.
    """
    directory.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    certificate, key = certificate_path(directory, CA), key_path(directory, CA)
    if not certificate.exists() and not key.exists():
        signer = ec.generate_private_key(ec.SECP256R1())
        save_key(key, signer)
        save_certificates(certificate, (_ca_certificate(signer, _ca_name(), now(), days),))
        return [certificate, key]
    authority = load_authority(directory)
    old = authority.certificate
    if not _expires_soon(old, now()):
        return []
    renewed = _ca_certificate(authority.key, old.subject, now(), days)
    save_certificates(certificate, tuple(renewed if one == old else one for one in authority.trusted))
    return [certificate]


def load_authority(directory: Path) -> Authority:
    """The CA of this folder. Raises BadFiles, in one line, where it cannot sign."""
    certificate, key = certificate_path(directory, CA), key_path(directory, CA)
    if not key.exists():
        raise BadFiles(
            f"{certificate} is there and {key.name} is not: make certificates where the CA's key is, or another CA "
            "in another folder (--out)."
        )
    if not certificate.exists():
        raise BadFiles(f"{key} is there and {certificate.name} is not: put it back, or remove the key to begin anew.")
    trusted, signer = load_certificates(certificate), load_key(key)
    for one in trusted:
        if one.public_key() == signer.public_key():
            return Authority(one, signer, trusted)
    raise BadFiles(f"{key} is not the key of {certificate.name}: expected the two of one CA.")


def make_certificate(directory: Path, node: Node, days: int = DAYS, now: Now = utc_now) -> list[Path]:
    """Make or renew the node's certificate, if need be, for a key that stays; the files made."""
    authority = load_authority(directory)
    certificate, key = certificate_path(directory, node.name), key_path(directory, node.name)
    made = []
    if not key.exists():
        save_key(key, ec.generate_private_key(ec.SECP256R1()))
        made.append(key)
    own = load_key(key)
    if made or not certificate.exists() or not _still_good(certificate, own, node, authority, now()):
        save_certificates(certificate, (_node_certificate(own.public_key(), node, authority, now(), days),))
        made.insert(0, certificate)
    return made


def _still_good(path: Path, key: ec.EllipticCurvePrivateKey, node: Node, authority: Authority, now: datetime) -> bool:
    try:
        certificate = load_certificates(path)[0]
        certificate.verify_directly_issued_by(authority.certificate)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except Exception:  # another CA's, or not even a certificate: then a new one is due
        return False
    same = certificate.public_key() == key.public_key() and names == _names(node)
    return same and not _expires_soon(certificate, now)


def _expires_soon(certificate: x509.Certificate, now: datetime) -> bool:
    """Within 30 days, or within the last third of a shorter life."""
    end = certificate.not_valid_after_utc
    return end - now < min(timedelta(days=EXPIRING_DAYS), (end - certificate.not_valid_before_utc) / 3)


# ---- what is in them


def _ca_name() -> x509.Name:
    """Another one for each CA, so that a file with two of them says which one signed."""
    return _name(f"Pygmy CA {x509.random_serial_number():x}"[:24])


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _ca_certificate(key: ec.EllipticCurvePrivateKey, name: x509.Name, now: datetime, days: int) -> x509.Certificate:
    use = {"key_cert_sign": True, "crl_sign": True}
    return (
        _begun(name, key.public_key(), name, now, now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(**use), critical=True)
        .sign(key, hashes.SHA256())
    )


def _node_certificate(
    key: ec.EllipticCurvePublicKey, node: Node, authority: Authority, now: datetime, days: int
) -> x509.Certificate:
    """It does not outlive the CA: a chain is as good as its shorter end."""
    ca = authority.certificate
    end = min(now + timedelta(days=days), ca.not_valid_after_utc)
    signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    return (
        _begun(_name(node.name), key, ca.subject, now, end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(_names(node), critical=False)
        .add_extension(signer, critical=False)
        .sign(authority.key, hashes.SHA256())
    )


def _begun(
    subject: x509.Name, key: ec.EllipticCurvePublicKey, issuer: x509.Name, now: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _names(node: Node) -> x509.SubjectAlternativeName:
    """Who the node is, and where people find it: at its host, and at localhost when they are there themselves."""
    dns, ips = [tls_name(node.name), "localhost"], [ip_address("127.0.0.1"), ip_address("::1")]
    try:
        ips.append(ip_address(node.host))
    except ValueError:
        if node.host.lower().endswith(DOMAIN):  # it would be another node's name
            raise BadFiles(f"{node.host}: expected a host outside of {DOMAIN}, which names nodes.") from None
        dns.append(node.host.lower())
    return x509.SubjectAlternativeName(
        [*map(x509.DNSName, dict.fromkeys(dns)), *map(x509.IPAddress, dict.fromkeys(ips))]
    )


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )
