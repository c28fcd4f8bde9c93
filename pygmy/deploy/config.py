"""The pygmy.toml of the hosts: what was said here of settings that nodes take, and that mean the same there."""

import json
from pathlib import Path

from pygmy.settings import Values, Written
from pygmy.settings.layers import Layer

# Which store it is, and where things are: that is said by where the hosts have them.
OF_THE_PLACE = frozenset(("config", "cluster", "data", "node", "port"))


def settings_file(values: Values) -> str:
    """Its text. Defaults are not in it: another version of Pygmy may have better ones."""
    lines = []
    for key, value in values.all.items():
        known = value.setting.in_file and value.setting.roles and key not in OF_THE_PLACE
        if known and value.layer is not Layer.DEFAULT and value.written is not None:
            lines.append(f"{key} = {_toml(books_name(values) if key == 'books' else value.written)}\n")
    return "".join(lines)


def books_name(values: Values) -> str:
    """What the file of books is called on the hosts, beside pygmy.toml."""
    return f"books{Path(values['books']).suffix}"


def _toml(written: Written) -> str:
    """Strings as JSON has them are strings of TOML, too."""
    if isinstance(written, bool):
        return "true" if written else "false"
    if isinstance(written, str):
        return json.dumps(written, ensure_ascii=True)
    return "[" + ", ".join(map(_toml, written)) + "]"
