"""How a store is run: settings from flags, PYGMY_* variables, pygmy.toml and defaults, in that order."""

from pygmy.settings.file import BadFile
from pygmy.settings.layers import BadSetting, Flags, Layer, Value, Values, resolve
from pygmy.settings.table import TABLE, Setting, Written, for_command, for_role, setting

__all__ = [
    "TABLE",
    "BadFile",
    "BadSetting",
    "Flags",
    "Layer",
    "Setting",
    "Value",
    "Values",
    "Written",
    "for_command",
    "for_role",
    "resolve",
    "setting",
]
