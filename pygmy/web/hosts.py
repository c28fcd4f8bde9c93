"""Which Host header a request must have (RFC 9112, 3.2). Nothing else depends on it: no answer differs by it."""

import re
from collections.abc import Sequence

_LITERAL = rb"\[[0-9A-Za-z:.%_~-]+\]"
_NAME = rb"[0-9A-Za-z._~!$&'()*+,;=%-]*"
_HOST = re.compile(rb"(?:%b|%b)(?::[0-9]*)?\Z" % (_LITERAL, _NAME))


def is_host(value: bytes) -> bool:
    """Whether it is a name or an address, with a port or without. (An empty name is one: RFC 3986, 3.2.2.)"""
    return _HOST.match(value) is not None


def why_not(values: Sequence[bytes], version: bytes) -> str:
    """What is wrong with a request of this version that has these Host headers; "" if nothing is."""
    if len(values) > 1:
        return f"Expected one Host header, got {len(values)}."
    if not values:
        return "" if version == b"HTTP/1.0" else "Expected a Host header."
    return "" if is_host(values[0]) else "Expected a host, or host:port, as Host header."
