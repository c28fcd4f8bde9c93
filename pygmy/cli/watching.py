"""Showing something again and again: in place on a terminal, one after another elsewhere."""

import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater

from pygmy.cli.client import StoreClient
from pygmy.cli.failures import CommandFailed
from pygmy.cli.terminal import movable, paint, printable, say, tell

CLEAR = "\x1b[2J\x1b[H"
HOME, END_OF_LINE, END_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"


async def watch(
    store: StoreClient, look: Callable[[], Awaitable[tuple[str, bool]]], every: float, *, as_json: bool
) -> None:
    """Show what `look()` finds, every so many seconds, until cancelled (Ctrl-C), which is a proper end of it.

    A front end that is away for a while is said to be, and asked again.
    """
    screen = Screen(f"{store.url}  every {every:g} s")
    try:
        while True:
            try:
                text, _ = await look()
            except CommandFailed as failure:
                trouble = f"{printable(str(failure))} Asking again every {every:g} s."
                tell(trouble, "red") if as_json else screen.show(paint(trouble, "red"))
            else:
                say(text) if as_json else screen.show(text)
            sys.stdout.flush()
            await deferLater(store.clock, every)
    except CancelledError:
        return


class Screen:
    """Where one picture follows another: drawn over it on a terminal, line by line, so that nothing flickers."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._in_place = movable(sys.stdout)
        self._shown = False

    def show(self, text: str) -> None:
        """The next picture."""
        lines = [f"{_now()}  {self._title}", *text.splitlines()]
        if self._in_place:
            body = "".join(f"{line}{END_OF_LINE}\n" for line in [*lines, "Ctrl-C ends it."])
            sys.stdout.write((HOME if self._shown else CLEAR) + body + END_OF_SCREEN)
        else:
            say("\n".join(["", *lines] if self._shown else lines))
        self._shown = True


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
