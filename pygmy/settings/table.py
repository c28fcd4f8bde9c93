"""All settings. Who adds one adds it here, to docs/settings.md, and where it is used.

Its key is the flag (`--backup-hours`), the variable (`PYGMY_BACKUP_HOURS`) and the name in pygmy.toml.
None of them is a secret: those are files of their own, in the data directory.
"""

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from pygmy.cluster import Role
from pygmy.datadir import DEFAULT, STDOUT
from pygmy.schedule import Schedule, hours_from, kept_from
from pygmy.settings.parsing import (
    OFF,
    directory_from,
    endpoint_from,
    folder_from,
    logs_kept_from,
    megabytes_from,
    one_of,
    path_from,
    seconds_from,
    server_from,
    switch_from,
    text_from,
)

PYGMY = "pygmy"  # the options that stand before the command
FORMATS = ("text", "json")  # what pygmy.logs knows
CONFIG = "config"  # the command that shows every setting, and so takes every one

Written = str | bool | tuple[str, ...]  # a setting as it is given: its text, whether it is on, or every text of it


class Setting(Struct, frozen=True):
    """One setting: who takes it, how it is written, and what it is when nobody says anything.

    `default` is written as people write it (None: none, which `unset` puts into words).
    """

    key: str
    parse: Callable[[str], Any]
    default: str | None
    help: str
    metavar: str
    commands: frozenset[str] = frozenset()
    roles: frozenset[Role] = frozenset()
    unset: str = ""
    switch: bool = False  # --key and --no-key, without a value
    many: bool = False  # may be given several times; in a variable, with spaces between
    path: bool = False  # in pygmy.toml relative to its directory
    words: tuple[str, ...] = ()  # what is no path, although `path`
    aliases: tuple[str, ...] = ()  # further flags, without the dashes
    variables: tuple[str, ...] = ()  # further variables
    in_file: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """Its variables, the one that counts first."""
        return (f"PYGMY_{self.key.replace('-', '_').upper()}", *self.variables)

    @property
    def identifier(self) -> str:
        """Its key as Python has it."""
        return self.key.replace("-", "_")

    @property
    def shown_default(self) -> str:
        """What holds when nobody says anything, in words."""
        return self.unset if self.default is None else self.default

    def flag(self, value: object = True) -> str:
        """Its option, as it is written to say `value`."""
        return f"--no-{self.key}" if value is False else f"--{self.key}"


CATALOGS = frozenset((Role.CATALOG,))
FRONTENDS = frozenset((Role.FRONTEND,))
REPLICAS = frozenset((Role.CATALOG, Role.ORDER))
NODES = frozenset(Role)
OPENING = frozenset(("up", "start", "run", "deploy"))  # commands that start nodes
CHOOSING = frozenset(("start", "run", "stop", "backup", "restore", "force-view"))  # that name nodes
WHOLE = frozenset(("up", "deploy", "certs", "prepare", "health", "trace"))  # that are about all of them
PLACED = OPENING | CHOOSING | WHOLE | {"audit"}  # that look into the data directory
SHOPKEEPING = frozenset(("orders", "restock", "price", "add", "remove", "audit", "backup", "force-view", "drill"))

# fmt: off
TABLE: tuple[Setting, ...] = (
    Setting(
        "config", path_from, None, "The settings file.", "FILE",
        commands=PLACED | {PYGMY},
        roles=NODES,
        unset="DATA/pygmy.toml, else ./pygmy.toml",
        path=True,
        in_file=False,
    ),
    Setting(
        "cluster", path_from, None, "The cluster file.", "FILE",
        commands=CHOOSING | WHOLE,
        roles=NODES,
        unset="five nodes on localhost",
        path=True,
    ),
    Setting(
        "data", directory_from, DEFAULT, "The data directory.", "DIR",
        commands=PLACED,
        roles=NODES,
        path=True,
    ),
    Setting(
        "node", text_from, "0", "Which node of its tier this is: 0, 1, ... or its full name.", "NODE",
        roles=NODES,
    ),
    Setting(
        "port", text_from, None, "A Twisted endpoint to listen on.", "ENDPOINT",
        roles=NODES,
        unset="the cluster file's port",
    ),
    Setting(
        "books", path_from, None, "The stock that an empty catalog opens with (JSON or CSV).", "FILE",
        commands=OPENING,
        roles=CATALOGS,
        unset="seven books",
        path=True,
    ),
    Setting(
        "cache", switch_from, "yes", "Whether front ends keep caches.", "",
        commands=OPENING,
        roles=FRONTENDS,
        switch=True,
    ),
    Setting(
        "backup-hours", hours_from, f"{Schedule().hours:g}", "Hours between two backups; 0: none.", "HOURS",
        commands=OPENING,
        roles=REPLICAS,
    ),
    Setting(
        "backups", kept_from, str(Schedule().kept), "How many backups each replica keeps.", "N",
        commands=OPENING,
        roles=REPLICAS,
    ),
    Setting(
        "tls", folder_from, None, "The folder with this store's certificates; off: no TLS.", "DIR",
        commands=OPENING | CHOOSING | WHOLE,
        roles=NODES,
        unset="DATA/tls, if it is there",
        path=True,
        words=(OFF,),
    ),
    Setting(
        "insecure-network", switch_from, "no", "Let nodes without TLS be reached by other machines.", "",
        commands=OPENING,
        roles=NODES,
        switch=True,
    ),
    Setting(
        "listen", endpoint_from, None, "A further endpoint for people, such as tcp:8080.", "ENDPOINT",
        commands=OPENING,
        roles=FRONTENDS,
        unset="none",
        many=True,
    ),
    Setting(
        "log-format", one_of(*FORMATS), "text", "How nodes log: lines for people (text), or JSON.", "FORMAT",
        commands=OPENING,
        roles=NODES,
    ),
    Setting(
        "log-file", path_from, None, "Where a node logs; {node} stands for its name; -: stdout.", "FILE",
        commands=OPENING | {"trace"},
        roles=NODES,
        unset="DATA/<node>/*.log",
        path=True,
        words=(STDOUT,),
    ),
    Setting(
        "log-max-mb", megabytes_from, "100", "Megabytes at which a log is turned over; 0: never.", "MB",
        commands=OPENING,
        roles=NODES,
    ),
    Setting(
        "log-keep", logs_kept_from, "5", "How many logs that were turned over are kept.", "N",
        commands=OPENING,
        roles=NODES,
    ),
    Setting(
        "frontend-server", server_from, "localhost:5002", "The front end to talk to.", "HOST[:PORT]",
        commands=frozenset((PYGMY, "bench", "drill")),
        aliases=("frontend_server",),
        variables=("PYGMY_FRONTEND",),
    ),
    Setting(
        "ca", path_from, None, "The certificate of the CA that is believed.", "FILE",
        commands=frozenset((PYGMY,)),
        unset="DATA/tls/ca.pem, if it is there",
        path=True,
    ),
    Setting(
        "timeout", seconds_from, "10", "Seconds to wait for an answer.", "SECONDS",
        commands=frozenset((PYGMY,)),
    ),
    Setting(
        "token-file", path_from, None, "Where the admin token is.", "FILE",
        commands=SHOPKEEPING,
        unset="DATA/admin.token",
        path=True,
    ),
)
# fmt: on


def setting(key: str) -> Setting:
    """The setting of that key; KeyError if there is none."""
    for one in TABLE:
        if one.key == key:
            return one
    raise KeyError(key)


def for_command(command: str) -> tuple[Setting, ...]:
    """What this command takes as options; `pygmy`: what stands before any command."""
    if command == CONFIG:
        return tuple(one for one in TABLE if one.commands != {PYGMY})
    return tuple(one for one in TABLE if command in one.commands)


def for_role(role: Role) -> tuple[Setting, ...]:
    """What a node of this role takes."""
    return tuple(one for one in TABLE if role in one.roles)
