"""How a node speaks TLS: as a server to people and nodes, and as a client to the other nodes.

A server asks for a certificate, and goes on without one: people have none, and what only nodes may do is refused to
them later. One that is shown has to be of our CA. A client insists on the very node that it means to reach.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from msgspec import Struct
from OpenSSL import SSL
from OpenSSL.crypto import X509
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator
from twisted.internet.ssl import CertificateOptions, TLSVersion
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from pygmy.tls.files import CA, BadFiles, certificate_path, key_path, load_certificates, load_key
from pygmy.tls.names import names_in
from pygmy.tls.troubles import BadCertificate, unverified


class Credentials(Struct, frozen=True):
    """What a node proves itself with, and whom it believes; `repr` shows no key."""

    node: str
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    trusted: tuple[x509.Certificate, ...]

    def __repr__(self) -> str:
        return f"Credentials({self.node})"


def load_credentials(directory: Path, node: str) -> Credentials:
    """Of the node of this name, from the folder that `pygmy certs` has filled. Raises BadFiles where a node could

    not prove itself by them: a file is missing, or of another node, key or CA, or has expired.
    """
    path = certificate_path(directory, node)
    trusted = load_certificates(certificate_path(directory, CA))
    certificate = load_certificates(path)[0]
    key = load_key(key_path(directory, node))
    if certificate.public_key() != key.public_key():
        raise BadFiles(f"{path} is of another key than {key_path(directory, node).name}: run pygmy certs.")
    if node not in names_in(certificate):
        raise BadFiles(f"{path} is not a certificate of {node}: it bears {_listed(names_in(certificate))}.")
    if not any(_issued(certificate, authority) for authority in trusted):
        raise BadFiles(f"{path} is not of a CA in {certificate_path(directory, CA)}.")
    if certificate.not_valid_after_utc < datetime.now(UTC):
        raise BadFiles(f"{path} has expired ({certificate.not_valid_after_utc:%Y-%m-%d}): renew it by pygmy certs.")
    return Credentials(node, certificate, key, trusted)


def _issued(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except Exception:
        return False
    return True


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)) or "no node's name"


def _context(trusted: Iterable[x509.Certificate], own: Credentials | None = None) -> SSL.Context:
    """Twisted's own choice of versions and ciphers, from TLS 1.2 on; no sessions: each connection shows its all."""
    shown = {} if own is None else {"privateKey": own.key, "certificate": own.certificate}
    options: Any = CertificateOptions(raiseMinimumTo=TLSVersion.TLSv1_2, **cast(Any, shown))
    context: SSL.Context = options.getContext()
    context.set_options(SSL.OP_NO_RENEGOTIATION)
    store = context.get_cert_store()
    assert store is not None
    for authority in trusted:
        store.add_cert(X509.from_cryptography(authority))
    return context


@implementer(IOpenSSLServerConnectionCreator)
class ServerTLS:
    """The server's side of every connection. A certificate that is shown and not of our CA ends the handshake."""

    def __init__(self, own: Credentials) -> None:
        self._context = _context(own.trusted, own)
        for authority in own.trusted:  # so that a browser offers no other certificate
            self._context.add_client_ca(cast(Any, authority))
        self._context.set_verify(SSL.VERIFY_PEER, _verified)

    def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """One connection."""
        return SSL.Connection(self._context, None)


def _verified(connection: SSL.Connection, certificate: X509, error: int, depth: int, ok: int) -> bool:
    """What OpenSSL calls for each certificate of a chain; the exception says more than its error would."""
    if not ok:
        raise unverified(certificate.to_cryptography(), error)
    return True


@implementer(IOpenSSLClientConnectionCreator)
class ClientTLS:
    """The client's side of connections to one server, whose certificate passes `check` (or BadCertificate)."""

    def __init__(
        self,
        trusted: Iterable[x509.Certificate],
        own: Credentials | None,
        check: Callable[[x509.Certificate], None],
        server_name: str | None = None,
    ) -> None:
        self._check = check
        self._server_name = server_name
        self._context = _context(trusted, own)
        self._context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, self._verified)

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """One connection."""
        connection = SSL.Connection(self._context, None)
        if self._server_name is not None:
            connection.set_tlsext_host_name(self._server_name.encode("ascii"))
        return connection

    def _verified(self, connection: SSL.Connection, certificate: X509, error: int, depth: int, ok: int) -> bool:
        _verified(connection, certificate, error, depth, ok)
        if depth == 0:
            self._check(certificate.to_cryptography())
        return True


def _check_node(node: str, certificate: x509.Certificate) -> None:
    names = names_in(certificate)
    if node not in names:
        raise BadCertificate(f"its certificate is of {_listed(names)}, not of {node}", names)


def _check_host(host: str, certificate: x509.Certificate) -> None:
    verify = verify_certificate_ip_address if _is_ip(host) else verify_certificate_hostname
    try:
        verify(certificate, host)
    except (VerificationError, CertificateError):
        raise BadCertificate(f"its certificate is not for {host}", names_in(certificate)) from None


def _is_ip(host: str) -> bool:
    return isIPAddress(host) or isIPv6Address(host)


@implementer(IPolicyForHTTPS)
class NodesPolicy:
    """For an Agent that calls the nodes of a cluster, each by its `host:port`."""

    def __init__(self, own: Credentials, places: Mapping[tuple[str, int], str]) -> None:
        self._nodes = {
            (host.lower(), port): ClientTLS(own.trusted, own, partial(_check_node, node))
            for (host, port), node in places.items()
        }

    def creatorForNetloc(self, hostname: bytes, port: int) -> ClientTLS:
        """KeyError for a place where no node is."""
        return self._nodes[_host(hostname), port]


@implementer(IPolicyForHTTPS)
class HostsPolicy:
    """For an Agent of a person: who answers at a host has a certificate for that host, of a CA that is trusted."""

    def __init__(self, trusted: Iterable[x509.Certificate], own: Credentials | None = None) -> None:
        self._trusted = tuple(trusted)
        self._own = own

    def creatorForNetloc(self, hostname: bytes, port: int) -> ClientTLS:
        """Of any host."""
        host = _host(hostname)
        return ClientTLS(self._trusted, self._own, partial(_check_host, host), None if _is_ip(host) else host)


def _host(raw: bytes) -> str:
    return raw.decode("ascii").strip("[]").lower()
