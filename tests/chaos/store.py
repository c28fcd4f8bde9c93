"""A store of real processes that reach each other through proxies only, while clients reach each of them directly."""

import sys
from pathlib import Path
from typing import Any

from pygmy.private import ProxiedStore


class Store(ProxiedStore):
    """`bug`: start broken nodes (tests.chaos.broken_node)."""

    def __init__(self, directory: Path, *, frontends: int = 2, bug: str | None = None, **options: Any) -> None:
        if bug is not None:
            options["node_command"] = (sys.executable, "-m", "tests.chaos.broken_node", bug)
        super().__init__(directory, frontends=frontends, **options)
