"""`pygmy config`: every setting as it holds here, and who said so."""

from pathlib import Path
from typing import Any

import click
import msgspec

from pygmy.cli.calling import Settings
from pygmy.cli.options import settings_of
from pygmy.cli.terminal import printable, say, table
from pygmy.settings import Value


@click.command()
@settings_of("config")
def config(settings: Settings) -> None:
    """Show all settings: what each is, and whether a flag, a variable, the settings file or nobody has said so."""
    found = settings.values.all.values()
    if settings.json:
        shown = {one.setting.key: {"value": one.value, "from": one.origin} for one in found}
        say(msgspec.json.encode(shown).decode())
    else:
        say(table([[one.setting.key, printable(_text(one)), printable(one.origin)] for one in found]))


def _text(one: Value) -> str:
    """The value as a person would write it; what holds when there is none, in brackets."""
    value: Any = one.value
    if value is None or value == ():
        return f"({one.setting.unset})"
    if one.setting.path and value not in one.setting.words:
        return str(Path(value).absolute())
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
