"""`pygmy drill`: what is promised, tried on a store of its own while one looks on."""

import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pygmy.cli.calling import Settings as CallSettings
from pygmy.cli.failures import INTERRUPTED
from pygmy.cli.options import settings_of
from pygmy.cli.seconds import Seconds
from pygmy.cli.terminal import movable, paint, printable, say, tell
from pygmy.cli.visiting import forewarn, is_named, possible, store_of, token_for

if TYPE_CHECKING:
    from pygmy.drill.run import Performance, Result
    from pygmy.drill.visit import Visit

EVERY = 0.25


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--list", "only_list", is_flag=True, help="Name the drills, and do nothing.")
@click.option("--seed", type=int, default=7, show_default=True, help="Of what is left to chance.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="The folder to make.")
@click.option("--patience", type=Seconds(min=1.0), default=60.0, show_default=True, help="When to give up.")
@click.option("--node-command", metavar="CMD", help="What to start nodes with, in place of Pygmy's own twistd.")
@settings_of("drill")
def drill(
    settings: CallSettings,
    names: tuple[str, ...],
    only_list: bool,
    seed: int,
    out: Path | None,
    patience: float,
    node_command: str | None,
) -> None:
    """Kill, freeze, cut off and restart the nodes of a private store, and see whether promises are kept.

    \b
    Each NAME (default: all) is one drill on five or six processes of its own, on free ports, in a temporary folder.
    The folder --out (default: ./pygmy-drill-TIME) has a page with each drill's timeline, results.json, and all that
    clients were told; --json prints results.json, too. Exit code 0: all promises were kept; 1: one was broken.

    \b
    With --frontend-server it goes to the store that runs there, and does what requests alone can do: retries, and
    with the admin token last-copies. It buys there.
    """
    from pygmy.drill.drills import DRILLS

    if unknown := [name for name in names if name not in DRILLS]:
        raise click.UsageError(f"There is no drill {printable(unknown[0])!r}. There are {', '.join(DRILLS)}.")
    chosen = [DRILLS[name] for name in dict.fromkeys(names)] or list(DRILLS.values())
    if only_list:
        width = max(map(len, DRILLS))
        say("\n".join(f"{one.name.ljust(width)}  {one.title}" for one in chosen))
        return
    folder = _folder(out)
    if is_named(settings):
        if node_command:
            raise click.UsageError("--node-command is for private stores: leave out --frontend-server.")
        run = _visits(settings, chosen, named=bool(names), seed=seed, patience=patience, folder=folder)
    else:
        run = _performances(chosen, node_command, seed=seed, patience=patience, folder=folder)
    run.run(settings.json)


def _performances(
    chosen: Sequence[Any], node_command: str | None, *, seed: int, patience: float, folder: Path
) -> "_Run":
    from pygmy.drill.run import Performance, Settings
    from pygmy.private.store import TWISTD

    settings = Settings(seed, patience, _command(node_command) if node_command else TWISTD)
    return _Run(chosen, settings, folder, lambda one: Performance(one, settings, folder / one.name))


def _visits(
    settings: CallSettings, chosen: Sequence[Any], *, named: bool, seed: int, patience: float, folder: Path
) -> "_Run":
    from pygmy.drill.run import Settings
    from pygmy.drill.visit import Visit

    possible(chosen, named, "")  # what nobody can do there is said before anybody is asked
    store = store_of(settings)
    token, no_token = token_for(settings, store)
    drills, skipped = possible(chosen, named, no_token)
    forewarn(store, skipped, token=token is not None)
    ours = Settings(seed, patience, store=settings.url)
    return _Run(drills, ours, folder, lambda one: Visit(one, ours, folder / one.name, store, token), skipped)


class _Run:
    def __init__(
        self,
        drills: Sequence[Any],
        settings: Any,
        folder: Path,
        make: "Callable[[Any], Performance | Visit]",
        skipped: Mapping[str, str] | None = None,
    ) -> None:
        self._drills, self._settings, self._folder, self._make = drills, settings, folder, make
        self._skipped = dict(skipped or {})
        self._left: list[int] = []
        self._begun = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        self._results: list[Result] = []

    def run(self, as_json: bool) -> None:
        """All of them, with a line each, and what they leave behind; exit code 1 if one failed, 130 on Ctrl-C."""
        from pygmy.private import interruptible

        try:
            with interruptible():
                for number, drill in enumerate(self._drills, 1):
                    self._one(number, drill)
        except KeyboardInterrupt:
            tell(f"Interrupted; {self._remains()}.", "yellow")
            self._write()
            raise click.exceptions.Exit(INTERRUPTED) from None
        report = self._write()
        failed = [result.name for result in self._results if not result.ok]
        if as_json:
            say(report.decode())
        for text in dict.fromkeys(text for result in self._results for text in result.unchecked):
            tell(f"Not checked: {printable(text)}.")
        tell(f"{len(self._results) - len(failed)} of {len(self._results)} drills passed: {self._folder}/index.html")
        if failed:
            raise click.exceptions.Exit(1)

    def _remains(self) -> str:
        if not self._settings.store:
            return "no process is left"
        left = ", ".join(map(str, self._left))
        return f"these books are left there: {left}" if left else "no book of ours is left there"

    def _one(self, number: int, drill: Any) -> None:
        performance = self._make(drill)
        try:
            with _Live(f"{number:2}/{len(self._drills)} {drill.name.ljust(16)}", performance):
                result = performance.run()
        finally:
            self._left += getattr(performance, "left", [])
        self._results.append(result)
        word = paint("pass", "green", sys.stderr) if result.ok else paint("FAIL", "red", sys.stderr)
        times = "; ".join(f"{name} {seconds:.2f} s" for name, seconds in result.times.items())
        tell(f"{number:2}/{len(self._drills)} {drill.name.ljust(16)} {word} {result.seconds:5.1f} s  {times}")
        for promise in result.promises:
            if not promise.kept:
                tell(f"      {printable(promise.text)}: {printable(promise.seen)}", "red")

    def _write(self) -> bytes:
        import msgspec

        from pygmy.drill.results import report
        from pygmy.drill.showing import page
        from pygmy.pages import render

        found = report(self._results, self._settings, self._begun, self._skipped)
        text = msgspec.json.format(msgspec.json.encode(found), indent=1)
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "results.json").write_bytes(text + b"\n")
        (self._folder / "index.html").write_text(render(page(self._results, found)), encoding="utf-8")
        return text


class _Live:
    """The line of the drill that is under way, on a terminal; elsewhere nothing."""

    def __init__(self, head: str, performance: "Performance | Visit") -> None:
        self._head, self._performance = head, performance

    def __enter__(self) -> None:
        from pygmy.private.ticker import Ticker

        self._ticker = Ticker(self._tick, EVERY) if movable(sys.stderr) else None
        if self._ticker is not None:
            self._ticker.start()

    def __exit__(self, *_: object) -> None:
        if self._ticker is not None:
            self._ticker.stop()
            click.echo("\r\x1b[K", nl=False, err=True)

    def _tick(self) -> None:
        stage = self._performance.stage
        text = "opening a store" if stage is None or not stage.events else printable(stage.events[-1].text)
        if stage is not None:
            broken = sum(not promise.kept for promise in stage.promises)
            text = f"{len(stage.diary.requests):5} requests  {text}" + (f"  {broken} BROKEN" if broken else "")
        width = shutil.get_terminal_size().columns - 1
        click.echo(f"\r\x1b[K{f'{self._head} {text}'[:width]}", nl=False, err=True)


def _folder(out: Path | None) -> Path:
    """A folder that is new, or empty."""
    folder = out or Path(f"pygmy-drill-{datetime.now(UTC).strftime('%Y%m%dT%H%M%SZ')}")
    if folder.exists() and any(folder.iterdir()):
        raise click.UsageError(f"--out {printable(str(folder))}: expected a folder that is empty or not there yet.")
    return folder


def _command(text: str) -> list[str]:
    """Its words, files among them by their whole path: nodes run in a folder of their own."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r}: {error}", param_hint="--node-command") from None
    if not words:
        raise click.BadParameter("expected a command.", param_hint="--node-command")
    return [str(Path(word).absolute()) if "/" in word and Path(word).exists() else word for word in words]
