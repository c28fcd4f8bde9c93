"""pygmy.toml: where it is, and what it says."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pygmy.settings.names import nearest
from pygmy.settings.table import TABLE, Setting, Written

NAME = "pygmy.toml"
MOST_BYTES = 65536


class BadFile(ValueError):
    """pygmy.toml cannot be used: one sentence, with the file and the place in it."""


def find_file(data: str) -> Path | None:
    """The file that counts when none is named; absolute."""
    candidates = (Path(data, NAME), Path(NAME))
    return next((path.absolute() for path in candidates if path.is_file()), None)


def read_file(path: Path) -> dict[str, Any]:
    """The file's settings, of known keys, as TOML has them. Raises BadFile."""
    import tomllib  # only where there is such a file

    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise BadFile(f"{path}: expected settings, not more than {MOST_BYTES} bytes.")
        found = tomllib.loads(content.decode("utf-8-sig"))
    except OSError as error:
        raise BadFile(f"{path}: cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError:
        raise BadFile(f"{path}: expected UTF-8 text.") from None
    except tomllib.TOMLDecodeError as error:
        raise BadFile(f"{path}: {error}.") from None
    _check_keys(path, found)
    return found


def _check_keys(path: Path, found: Mapping[str, Any]) -> None:
    known = [one.key for one in TABLE if one.in_file]
    for key in found:
        if key not in known:
            raise BadFile(f"{path}: {_shown(key)} is no setting of Pygmy.{nearest(key, known)}")


def _shown(key: str) -> str:
    return key if key.isprintable() and key else repr(key)


def from_toml(one: Setting, file: Path, raw: Any) -> Written:
    """What the file says of a setting, as it would stand on a command line; a path as seen from where the file is.

    Raises BadFile.
    """
    if one.many and isinstance(raw, list):
        return tuple(_text_from_toml(one, file, item) for item in raw)
    if one.switch and isinstance(raw, bool):
        return raw
    return _text_from_toml(one, file, raw)


def _text_from_toml(one: Setting, file: Path, raw: Any) -> str:
    numeric = isinstance(raw, int | float) and not isinstance(raw, bool)
    if not isinstance(raw, str) and (one.path or not numeric):
        kind = "a path in quotes" if one.path else "true or false" if one.switch else "a number, or text in quotes"
        raise BadFile(f"{file}: {one.key}: expected {kind}.")
    if one.path and raw and raw not in one.words:
        return str(file.parent / raw)
    return str(raw)
