"""Which versions of what Pygmy needs are installed here: the hosts get the same ones.

So what was tried here is what runs there, on all hosts alike, and a newer library comes to them when it has come to
this environment and the store is deployed again.
"""

import re
from importlib.metadata import PackageNotFoundError, distribution

_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[([^\]]*)\])?")
_EXTRA = re.compile(r"""extra\s*==\s*['"]([^'"]+)['"]""")


def pins(root: str = "pygmy") -> str:
    """A pip constraints file of all that `root` needs, directly or not, as far as it is installed here."""
    found: dict[str, str] = {}
    waiting: list[tuple[str, frozenset[str]]] = [(root, frozenset())]
    done = set()
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in done:
            continue
        done.add((name, extras))
        try:
            here = distribution(name)
        except PackageNotFoundError:  # for another system, or another Python
            continue
        found[name] = here.version
        waiting += [needed for line in here.requires or () if (needed := _needed(line, extras)) is not None]
    found.pop(root)
    return "".join(f"{name}=={version}\n" for name, version in sorted(found.items()))


def _needed(requirement: str, extras: frozenset[str]) -> tuple[str, frozenset[str]] | None:
    """Name and extras of a requirement, unless it is for an extra that nobody asked for."""
    what, _, marker = requirement.partition(";")
    wanted = _EXTRA.search(marker)
    match = _NAME.match(what)
    if match is None or (wanted is not None and wanted.group(1) not in extras):
        return None
    asked = frozenset(extra.strip() for extra in (match.group(2) or "").split(",") if extra.strip())
    return re.sub(r"[-_.]+", "-", match.group(1)).lower(), asked
