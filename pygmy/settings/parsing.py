"""From what people write to what a setting means. Each ValueError says what was expected."""

import math
import os
from collections.abc import Callable

YES = ("yes", "true", "on", "1")
OFF = "off"
NO = ("no", "false", "off", "0")
FRONT_END_PORT = 5002
MOST_SECONDS = 3600
LEAST_MEGABYTES, MOST_MEGABYTES = 0.1, 1_000_000
MOST_LOGS = 1000


def text_from(text: str) -> str:
    """Any text but an empty one."""
    if not text:
        raise ValueError("expected something.")
    return text


def path_from(text: str) -> str:
    """A path, as it was written; whether it is there is found out by those who open it."""
    if not text or "\0" in text:
        raise ValueError("expected a path.")
    return text


def directory_from(text: str) -> str:
    """The path of a directory, or of none yet."""
    path = path_from(text)
    if os.path.exists(path) and not os.path.isdir(path):
        raise ValueError("expected a directory.")
    return path


def folder_from(text: str) -> str:
    """The path of a directory, or that there is none."""
    return OFF if text in ("", OFF) else directory_from(text)


def endpoint_from(text: str) -> str:
    """A Twisted endpoint string."""
    from pygmy.tls.places import endpoint_from as read  # which takes longer to import than most commands to run

    return read(text)


def switch_from(text: str) -> bool:
    """`yes` or `no`, and other words for them."""
    word = text.lower()
    if word not in YES + NO:
        raise ValueError("expected yes or no (true or false, on or off, 1 or 0).")
    return word in YES


def seconds_from(text: str) -> float:
    """A time to wait for an answer."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= MOST_SECONDS:
        raise ValueError(f"expected seconds, more than 0, at most {MOST_SECONDS}.")
    return seconds


def one_of(*words: str) -> Callable[[str], str]:
    """Parses one of these words."""

    def word_from(text: str) -> str:
        if text not in words:
            raise ValueError(f"expected {' or '.join(words)}.")
        return text

    return word_from


def megabytes_from(text: str) -> float:
    """A size to keep below, or 0 for none."""
    try:
        size = float(text)
    except ValueError:
        size = math.nan
    if size != 0 and not LEAST_MEGABYTES <= size <= MOST_MEGABYTES:
        raise ValueError(f"expected megabytes, {LEAST_MEGABYTES} to {MOST_MEGABYTES}, or 0 for no limit.")
    return size


def logs_kept_from(text: str) -> int:
    """How many old logs stay."""
    kept = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    if not 1 <= kept <= MOST_LOGS:
        raise ValueError(f"expected how many old logs are kept, 1 to {MOST_LOGS}.")
    return kept


def server_from(text: str) -> str:
    """The URL of HOST, HOST:PORT, [IPv6] or [IPv6]:PORT, with or without http:// or https:// in front."""
    scheme = "https" if text.startswith("https://") else "http"
    bare = text.removeprefix(f"{scheme}://").rstrip("/")
    host, bracket, rest = bare.partition("]") if bare.startswith("[") else (bare, "", "")
    if not bracket:
        host, colon, rest = bare.partition(":")
        rest = colon + rest
    port = rest.removeprefix(":") if rest else str(FRONT_END_PORT)
    proper = host and not set(host) & set("/@?# ") and rest[:1] in ("", ":")
    if not (proper and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"expected HOST or HOST:PORT, such as localhost:{FRONT_END_PORT}.")
    return f"{scheme}://{host}{bracket}:{port}"
