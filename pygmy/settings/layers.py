"""One value for each setting, out of four layers: flag, variable, pygmy.toml, default; and where it came from."""

import os
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from msgspec import Struct

from pygmy.settings.file import find_file, from_toml, read_file
from pygmy.settings.names import is_link, unknown_variables
from pygmy.settings.table import Setting, Written, setting

Flags = Mapping[str, Written]  # by key; what was not given is not in it


class Layer(StrEnum):
    """Where a value came from; the first one that has any counts."""

    FLAG = "flag"
    VARIABLE = "variable"
    FILE = "file"
    DEFAULT = "default"


class Value(Struct, frozen=True):
    """A setting as it holds. `origin`: `--books`, `PYGMY_BOOKS`, `/path/pygmy.toml`, `found` or `default`."""

    setting: Setting
    value: Any
    layer: Layer
    origin: str
    written: Written | None

    @property
    def said(self) -> str:
        """Where it was said, and what: `--node 7`, `PYGMY_NODE=7`, `/path/pygmy.toml: node = 7`."""
        return said(self.setting, self.layer, self.origin, str(self.written))


class BadSetting(ValueError):
    """A value that is none: str() says, in one sentence, where it stands and what was expected."""


class Values(Struct, frozen=True):
    """The settings that were asked for. `file`: the pygmy.toml that was read; `warnings`: a line each."""

    all: dict[str, Value]
    file: Path | None
    warnings: tuple[str, ...]

    def __getitem__(self, key: str) -> Any:
        """The value of that setting."""
        return self.all[key].value


def resolve(
    settings: Iterable[Setting], flags: Flags | None = None, environ: Mapping[str, str] | None = None
) -> Values:
    """These settings, each from the first layer that says something. Raises BadSetting or BadFile.

    An empty variable says nothing. `environ` is the process's own unless given.
    """
    given = flags or {}
    variables = os.environ if environ is None else environ
    place = _outside(setting("config"), given, variables)
    named = Path(place.value).absolute() if place.value is not None else None
    file = named or find_file(_outside(setting("data"), given, variables).value)
    if named is None and file is not None:
        place = Value(place.setting, str(file), Layer.DEFAULT, "found", None)
    content = {} if file is None else read_file(file)
    values = {one.key: _value(one, given, variables, file, content) for one in settings}
    if "config" in values:
        values["config"] = place
    return Values(values, file, tuple(unknown_variables(variables)))


def said(one: Setting, layer: Layer, origin: str, text: str) -> str:
    """Where a setting was given this text: `PYGMY_NODE=7`."""
    shown = text if text.isprintable() else ascii(text)
    before = {Layer.FLAG: f"{origin} ", Layer.VARIABLE: f"{origin}=", Layer.FILE: f"{origin}: {one.key} = "}
    return before.get(layer, "") + shown


def _outside(one: Setting, flags: Flags, variables: Mapping[str, str]) -> Value:
    """Of the settings that find the file: what holds without it."""
    return _value(one, flags, variables, None, {})


def _value(
    one: Setting, flags: Flags, variables: Mapping[str, str], file: Path | None, content: Mapping[str, Any]
) -> Value:
    layer, origin, written = _first_word(one, flags, variables, file, content)
    try:
        return Value(one, _parsed(one, written), layer, origin, written)
    except _Unexpected as error:
        raise BadSetting(f"{said(one, layer, origin, error.text)}: {error}") from None


def _first_word(
    one: Setting, flags: Flags, variables: Mapping[str, str], file: Path | None, content: Mapping[str, Any]
) -> tuple[Layer, str, Written | None]:
    """(layer, origin, what is written there) of the first layer that says something."""
    if one.key in flags:
        return Layer.FLAG, one.flag(flags[one.key]), flags[one.key]
    for name in one.names:
        if (text := variables.get(name)) and not is_link(text):
            return Layer.VARIABLE, name, tuple(text.split()) if one.many else text
    if file is not None and one.key in content:
        return Layer.FILE, str(file), from_toml(one, file, content[one.key])
    return Layer.DEFAULT, "default", one.default


class _Unexpected(ValueError):
    """This text is none of the setting's values."""

    def __init__(self, text: str, expected: str) -> None:
        super().__init__(expected)
        self.text = text


def _parsed(one: Setting, written: Written | None) -> Any:
    if one.many:
        texts = () if written is None else (written,) if isinstance(written, str) else written
        return tuple(_parsed_text(one, text) for text in texts)  # type: ignore[union-attr]
    if isinstance(written, str):
        return _parsed_text(one, written)
    return written


def _parsed_text(one: Setting, text: str) -> Any:
    try:
        return one.parse(text)
    except ValueError as error:
        raise _Unexpected(text, str(error)) from None
