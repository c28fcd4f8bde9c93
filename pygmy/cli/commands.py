"""The subcommands of `pygmy` by name, each imported when it is asked for: none waits for what others need."""

from collections.abc import Iterator, Mapping, MutableMapping
from pkgutil import resolve_name

import click

_PLACES = {
    "lookup": "books:lookup",
    "search": "books:search",
    "buy": "books:buy",
    "orders": "books:orders",
    "restock": "books:restock",
    "price": "books:price",
    "add": "books:add",
    "remove": "books:remove",
    "status": "status:status",
    "audit": "audit:audit",
    "up": "up:up",
    "start": "daemons:start",
    "stop": "daemons:stop",
    "deploy": "deploy:deploy",
    "open": "opening:open_store",
    "prepare": "prepare:prepare",
    "run": "running:run",
    "health": "running:health",
    "backup": "backup:backup",
    "restore": "restore:restore",
    "certs": "certs:certs",
    "force-view": "forcing:force_view",
    "bench": "bench:bench",
    "config": "config:config",
    "drill": "drill:drill",
    "trace": "trace:trace",
    "completion": "completion:completion",
}


class Commands(MutableMapping[str, click.Command]):
    """What click looks a subcommand up in."""

    def __init__(self, places: Mapping[str, str] = _PLACES) -> None:
        self._places = dict(places)
        self._loaded: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self._loaded:
            self._loaded[name] = resolve_name(f"pygmy.cli.{self._places[name]}")
        return self._loaded[name]

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._places.setdefault(name, "")
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._places[name]
        self._loaded.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self._places
