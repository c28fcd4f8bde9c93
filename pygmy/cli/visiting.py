"""A store that others run, for `pygmy drill` and `pygmy bench`: who it is, whom to believe, what is possible."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from pygmy.cli.calling import Settings, admin_token
from pygmy.cli.failures import CommandFailed
from pygmy.cli.terminal import printable, tell

if TYPE_CHECKING:
    import ssl

    from pygmy.drill.foreign import ForeignStore

FLAG = "frontend-server"
NEEDING_TOKEN = "last-copies"


def is_named(settings: Settings) -> bool:
    """True if a front end was named on the command line (one in a file or a variable is for customers)."""
    return FLAG in settings.flags


def trust(settings: Settings) -> "ssl.SSLContext | None":
    """Whom to believe over https; None: it is http. A file of the CA that is none is a usage error."""
    from pygmy.private import trusting

    if not settings.url.startswith("https:"):
        return None
    try:
        return trusting(settings.ca)
    except OSError as error:
        reason = error.strerror or "it holds no certificate"
        raise click.UsageError(f"--ca {printable(settings.ca)}: {printable(reason)}.") from None


def store_of(settings: Settings) -> "ForeignStore":
    """The store, which answers; else a usage error."""
    from pygmy.drill.foreign import ForeignStore, NoFrontEnd

    store = ForeignStore(settings.url, trust(settings))
    try:
        store.enter()
    except NoFrontEnd as error:
        raise click.UsageError(printable(str(error))) from None
    return store


def token_for(settings: Settings, store: "ForeignStore") -> tuple[str | None, str]:
    """The admin token, or None and why there is none. A file that was named and holds none is a usage error, and

    so is a token that the store does not take.
    """
    try:
        token = admin_token(settings)
    except CommandFailed as failure:
        if "token-file" in settings.flags:
            raise click.UsageError(printable(str(failure))) from None
        return None, str(failure)
    from pygmy.drill.foreign import NoFrontEnd

    try:
        taken = store.takes(token)
    except NoFrontEnd as error:
        raise click.UsageError(printable(str(error))) from None
    if not taken:
        raise click.UsageError(
            f"The store at {printable(settings.url)} does not take this admin token: --token-file."
        )
    return token, ""


def possible(chosen: Sequence[Any], named: bool, no_token: str) -> tuple[list[Any], dict[str, str]]:
    """The drills that can be done there, and why not of the others. One that was named must be among the first."""
    skipped = {one.name: one.hands for one in chosen if one.hands}
    if no_token:
        skipped |= {one.name: no_token for one in chosen if one.name == NEEDING_TOKEN}
    if named and skipped:
        said = "; ".join(f"{name}: {why.rstrip('.')}" for name, why in skipped.items())
        raise click.UsageError(f"Not possible on a store that others run: {printable(said)}.")
    return [one for one in chosen if one.name not in skipped], skipped


def forewarn(store: "ForeignStore", skipped: dict[str, str], *, token: bool) -> None:
    """Tell what will be done to the store, and what will not, before it is."""
    for why in dict.fromkeys(skipped.values()):
        tell(f"Left out: {', '.join(name for name in skipped if skipped[name] == why)}: {printable(why)}")
    if token:
        tell(f"At {store.url}: some books of no cost are added, bought, and removed; their orders stay.", "yellow")
    else:
        tell(f"At {store.url}: without the admin token some fifty copies of book 1 are bought.", "yellow")
