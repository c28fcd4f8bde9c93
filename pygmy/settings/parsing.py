"""From what people write to what a setting means. Each ValueError says what was expected."""

import math
import os

YES = ("yes", "true", "on", "1")
OFF = "off"
NO = ("no", "false", "off", "0")
FRONT_END_PORT = 5002
MOST_SECONDS = 3600


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
