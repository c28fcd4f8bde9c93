"""Names that are no settings: which are let be, and what their writer probably meant."""

import re
from collections.abc import Iterable, Mapping

from pygmy.settings.table import TABLE

PREFIX = "PYGMY_"
# Variables that tests and scripts of this project use.
OTHERS = ("PYGMY_CHAOS_SECONDS", "PYGMY_CONTAINERS", "PYGMY_DEPLOY_TEST", "PYGMY_HISTORIES", "PYGMY_IMAGE")

# What Kubernetes and Docker's links tell every container of a service named `pygmy` or `pygmy-frontend`.
_LINK = re.compile(r"(tcp|udp|sctp)://")
_LINK_NAME = re.compile(r"PYGMY_(.+_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)")


def is_link(value: str) -> bool:
    """True of a service link's URL: PYGMY_PORT=tcp://10.0.0.1:5002 is no word of anyone who runs this store."""
    return _LINK.match(value) is not None


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """What to tell of the PYGMY_* variables that mean nothing here, one line each; never their values."""
    known = [name for one in TABLE for name in one.names]
    return [
        f"{name} is no setting of Pygmy.{nearest(name, known)}"
        for name in sorted(environ)
        if name.startswith(PREFIX)
        and name not in known
        and name not in OTHERS
        and not _LINK_NAME.fullmatch(name)
        and not is_link(environ[name])
    ]


def nearest(name: str, known: Iterable[str]) -> str:
    """` Did you mean backups?`, with a space in front, or nothing."""
    from difflib import get_close_matches  # only where somebody has mistyped

    match = get_close_matches(name, list(known), 1)
    return f" Did you mean {match[0]}?" if match else ""
