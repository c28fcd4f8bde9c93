"""What msgspec says of a value that does not fit its type, in words of JSON instead of Python's."""

import re
from functools import cache
from typing import Any

from msgspec import inspect

_PLACE = re.compile(r" - at `\$\.?([\w.\[\]]*)`\Z", re.ASCII)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`")
_PATTERN = re.compile(r"matching regex '.*'")
_PART = re.compile(r"\w+|\[")
_LONGEST_NAME = 64
_WORDS = {
    "`int | object`": '`integer` or `{"increment": integer}`',  # the one choice that bodies have
    "`int`": "`integer`",
    "`str`": "`string`",
    "`float`": "a number with a point or an exponent",  # bodies want none such but money, which tells by itself
    "`bool`": "`boolean`",
    "Integer value out": "Number out",
}


def explained(error: Exception, type: Any) -> str:
    """What was expected of a `type` and where, without a full stop: "Expected `integer` >= 1 at `quantity`"."""
    said = str(error)
    found = _PLACE.search(said)
    place = found[1] if found else ""
    said = said[: found.start()] if found else said
    at = f" at `{place}`" if place else ""
    if unknown := _UNKNOWN.fullmatch(said):
        return f"Unknown field `{shortened(unknown[1])}`{at} (expected: {', '.join(_fields(type, place))})"
    if missing := _MISSING.fullmatch(said):
        return f"Missing field `{missing[1]}`{at}"
    for word, better in _WORDS.items():
        said = said.replace(word, better)
    return _PATTERN.sub("without control characters", said) + at


def shortened(name: str) -> str:
    """A name that a client made up, not longer than an answer should repeat it."""
    return name if len(name) <= _LONGEST_NAME else name[:_LONGEST_NAME] + "..."


def _fields(type: Any, place: str) -> list[str]:
    """The fields of the object at this place (`items[0]`) of a `type`."""
    shape = _struct(_shape(type))
    for part in _PART.findall(place):
        inner: Any = next((field.type for field in shape.fields if field.encode_name == part), shape)
        shape = _struct(inner)
    return [field.encode_name for field in shape.fields]


@cache
def _shape(type: Any) -> Any:
    return inspect.type_info(type)


def _struct(shape: Any) -> Any:
    """The one Struct in a type: itself, the items of an array, or a part of a choice; None without one."""
    if isinstance(shape, inspect.StructType):
        return shape
    parts = shape.types if isinstance(shape, inspect.UnionType) else (getattr(shape, "item_type", None),)
    return next((found for part in parts if part is not None and (found := _struct(part)) is not None), None)
