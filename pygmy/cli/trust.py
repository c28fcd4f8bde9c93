"""Whom commands believe over TLS, and what they show."""

from pathlib import Path

from twisted.web.client import BrowserLikePolicyForHTTPS
from twisted.web.iweb import IPolicyForHTTPS

from pygmy.cli.calling import Settings
from pygmy.cli.failures import USAGE, CommandFailed
from pygmy.datadir import data_directory, tls_directory
from pygmy.tls.contexts import Credentials, HostsPolicy, load_credentials
from pygmy.tls.files import BadFiles, load_certificates


class NoTrust(CommandFailed):
    """The certificates of the CA cannot be read."""

    code = USAGE


def policy_of(settings: Settings) -> IPolicyForHTTPS:
    """Who is believed: the CA that the settings name, else those that this machine's browsers believe.

    Raises NoTrust.
    """
    if not settings.ca:
        policy: IPolicyForHTTPS = BrowserLikePolicyForHTTPS()
        return policy
    try:
        trusted = load_certificates(Path(settings.ca))
    except BadFiles as error:
        raise NoTrust(f"The CA's certificate is needed (--ca). {error}") from None
    return HostsPolicy(trusted, _a_nodes(settings) if settings.member else None)


def _a_nodes(settings: Settings) -> Credentials | None:
    """The first certificate of a node that is here with its key, for who knows the cluster secret is a node."""
    tls = settings.values["tls"] if settings.values is not None else None
    folder = tls_directory(tls, data_directory(settings.data))
    for key in sorted(folder.glob("*-*.key")) if folder is not None else ():
        try:
            return load_credentials(key.parent, key.stem)
        except BadFiles:
            continue
    return None
