"""Whether TLS is why a connection ended, for nodes that may never have loaded what speaks it."""

import sys
from typing import TYPE_CHECKING

from twisted.python.failure import Failure

if TYPE_CHECKING:
    from pygmy.tls.troubles import Trouble


def trouble_of(failure: Failure) -> "Trouble | None":
    """What a connection or an exchange ended with, if TLS is the reason; else None."""
    if sys.modules.get("OpenSSL.SSL") is None:
        return None
    from pygmy.tls.troubles import trouble_of as told  # a node that speaks no TLS starts the faster without

    return told(failure)
