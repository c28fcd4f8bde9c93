"""By what name a certificate says which node its bearer is.

`catalog-0` is the DNS name `catalog-0.pygmy.internal`: not its host's, so that a node may move to another machine and
stay who it is, and no host of that name need exist (`.internal` is kept free for private use).
"""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography import x509

DOMAIN = "pygmy.internal"
_NAME = re.compile(rf"((?:catalog|order|frontend)-[0-9]{{1,2}})\.{re.escape(DOMAIN)}")


def tls_name(node: str) -> str:
    """The DNS name that the certificate of the node named `catalog-0` bears."""
    return f"{node}.{DOMAIN}"


def names_in(certificate: "x509.Certificate") -> frozenset[str]:
    """The nodes that this certificate says its bearer is. Whether it may say so, its signature tells."""
    from cryptography import x509  # a node that speaks no TLS starts the faster without

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return frozenset()
    found = (_NAME.fullmatch(name) for name in names.get_values_for_type(x509.DNSName))
    return frozenset(match[1] for match in found if match is not None)
