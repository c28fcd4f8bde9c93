"""The pygmy.toml of the hosts: what was said here of settings that nodes take, and that mean the same there."""

import json
from pathlib import Path

from pygmy.settings import Values, Written
from pygmy.settings.layers import Layer, Value
from pygmy.settings.parsing import OFF

# Which store it is, and where things are: that is said by where the hosts have them.
OF_THE_PLACE = frozenset(("config", "cluster", "data", "node", "port"))


def settings_file(values: Values) -> str:
    """Its text. Defaults are not in it: another version of Pygmy may have better ones."""
    return "".join(
        f"{key} = {_toml(books_name(values) if key == 'books' else value.written)}\n"
        for key, value in values.all.items()
        if _goes_along(value) and value.written is not None
    )


def _goes_along(value: Value) -> bool:
    """The certificates' folder is another one there; that there is none is the same."""
    key, one = value.setting.key, value.setting
    if key in OF_THE_PLACE or (key == "tls" and value.value != OFF):
        return False
    return one.in_file and bool(one.roles) and value.layer is not Layer.DEFAULT


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
