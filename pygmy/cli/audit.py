"""`pygmy audit`: what a store's data proves, from its files or from its nodes."""

import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import click
import msgspec

from pygmy.cli.calling import Settings, call
from pygmy.cli.options import settings_of
from pygmy.cli.terminal import printable, say
from pygmy.datadir import data_directory

BROKEN, UNREADABLE = 1, 2
PATIENCE = 1.0  # seconds before progress is shown, and between two lines of it


@click.command()
@click.argument("sources", nargs=-1, metavar="[DIR|FILE|URL]...")
@settings_of("audit")
def audit(settings: Settings, sources: tuple[str, ...]) -> None:
    """Prove that a store's logs, rows and copies are sound. Changes nothing.

    \b
    DIR    a node's directory, or a data directory (default: the data directory)
    FILE   one database, such as a backup
    URL    a catalog or order server as it runs, or a front end: then all of its servers

    A URL needs the cluster secret, found in the data directory. With the admin token alone, rows are not looked at.

    Exit codes: 0 sound, 1 BROKEN, 2 usage, or something could not be read.
    """
    from pygmy.audit import StoreAudit
    from pygmy.cli.auditing import audit_files, audit_urls, secret_of
    from pygmy.cli.verdicts import show_verdict

    urls, paths = split(sources or (str(data_directory(settings.data)),))
    progress = Progress()
    with closing(StoreAudit()) as work:
        audit_files(work, paths, progress)
        if urls:
            secret, rows = secret_of(settings, data_directory(settings.data))
            settings.member = rows
            call(settings, lambda store: audit_urls(store.bearing(secret), work, urls, rows, progress))
        progress.end()
        verdict = work.verdict()
    if settings.json:
        say(msgspec.json.encode(verdict).decode())
    else:
        show_verdict(verdict)
    if not verdict.sound or verdict.unaudited:
        raise click.exceptions.Exit(UNREADABLE if verdict.sound else BROKEN)


def split(sources: Sequence[str]) -> tuple[list[str], list[Path]]:
    """(URLs, paths), each once."""
    urls, paths = [], []
    for source in dict.fromkeys(sources):
        if source.startswith(("http://", "https://")):
            urls.append(source.rstrip("/"))
        elif "://" in source:
            raise click.UsageError(f"{source!r}: expected a URL such as http://localhost:5000.")
        else:
            paths.append(Path(source))
    return urls, paths


class Progress:
    """Where a long audit is, on stderr, if a person looks at it there."""

    def __init__(self) -> None:
        self._next = time.monotonic() + PATIENCE if sys.stderr.isatty() else float("inf")
        self._shown = False

    def __call__(self, name: str, seq: int, newest: int) -> None:
        """A batch is done."""
        if seq % 256 == 0 and time.monotonic() >= self._next:
            self._next = time.monotonic() + PATIENCE
            self._shown = True
            click.echo(f"\r\x1b[K{printable(name)}: {seq:,} of {newest:,} batches", nl=False, err=True)

    def end(self) -> None:
        """Take the line away."""
        if self._shown:
            self._shown = False
            click.echo("\r\x1b[K", nl=False, err=True)
