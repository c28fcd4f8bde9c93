"""What went wrong in a handshake, in words, and whether anything can have been delivered before."""

from typing import NamedTuple

from cryptography import x509
from OpenSSL import SSL
from service_identity import VerificationError
from twisted.python.failure import Failure

from pygmy.tls.names import names_in

# OpenSSL's numbers of the verification errors that nodes meet (X509_V_ERR_...).
_WORDS = {
    9: "is not valid yet",
    10: "has expired",
    18: "is its own issuer, not of our CA",
    19: "is not of our CA",
    20: "is not of our CA",
    21: "is not of our CA",
    7: "has a wrong signature",
}
# Alerts by which the other side says that it does not take our certificate, before it reads a byte of what we send.
_REFUSALS = ("certificate", "unknown ca", "handshake failure")
_NOT_TLS = ("wrong version number", "packet length too long", "http request", "record layer failure")


class BadCertificate(SSL.Error):
    """The other side's certificate is not taken. `claimed`: the nodes that it says its bearer is."""

    def __init__(self, why: str, claimed: frozenset[str] = frozenset()) -> None:
        super().__init__([("pygmy", "", why)])
        self.why = why
        self.claimed = claimed

    def __str__(self) -> str:
        return self.why


class Trouble(NamedTuple):
    """`why` ends a sentence that begins with who it is about; `sent` False: nothing was accepted there."""

    why: str
    sent: bool
    claimed: frozenset[str] = frozenset()


def unverified(certificate: x509.Certificate, error: int) -> BadCertificate:
    """What OpenSSL's verification error says of this certificate."""
    why = f"its certificate {_WORDS.get(error, f'cannot be verified (OpenSSL error {error})')}"
    return BadCertificate(why, names_in(certificate))


def trouble_of(failure: Failure) -> Trouble | None:
    """What a connection or an exchange ended with, if TLS is the reason; else None."""
    for reason in (failure, *(getattr(failure.value, "reasons", None) or ())):
        if reason.check(SSL.Error):
            return _in_words(reason.value)
        if reason.check(VerificationError):  # Twisted's own check of a host's name
            return Trouble("its certificate is for another host", False)
    return None


def _in_words(error: SSL.Error) -> Trouble:
    if isinstance(error, BadCertificate):
        return Trouble(error.why, False, error.claimed)
    queue = error.args[0] if error.args and isinstance(error.args[0], list) else []
    said = " ".join(str(queue[-1][-1]).split()) if queue else type(error).__name__
    if " alert " in said:
        what = said.partition(" alert ")[2]
        return Trouble(
            f"it does not take our certificate ({what})",
            not what.startswith(_REFUSALS[1:]) and "certificate" not in what,
        )
    return Trouble(f"it does not speak TLS ({said})" if said in _NOT_TLS else said, said not in _NOT_TLS)
