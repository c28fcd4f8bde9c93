"""Where things are in a data directory: each node's own folder, the secrets, the certificates."""

from pathlib import Path

DEFAULT = "pygmy-data"
STDOUT = "-"
NODE = "{node}"
LOG_NAMES = {"catalog": "catalog.log", "order": "orders.log", "frontend": "frontend.log"}


def data_directory(given: str = DEFAULT) -> Path:
    """The directory that the setting `data` names; absolute."""
    return Path(given).absolute()


def pid_path(data: Path, node: str) -> Path:
    """The pid file of the node named `catalog-0`."""
    return data / node / "twistd.pid"


def log_path(data: Path, node: str, named: str | None = None) -> Path:
    """The log of the node named `catalog-0`; `named`: as the setting `log-file` has it, with {node} for its name."""
    if named is not None and named != STDOUT:
        return Path(named.replace(NODE, node)).absolute()
    return data / node / LOG_NAMES[node.rpartition("-")[0]]


def database_path(data: Path, node: str) -> Path:
    """The database of the replica named `catalog-0`."""
    return data / node / f"{node.rpartition('-')[0]}.sqlite"


def voter_path(data: Path, node: str) -> Path:
    """What the node has promised and accepted as a voter."""
    return data / node / "voter.db"


def opened_path(data: Path, node: str) -> Path:
    """Where the node remembers which file of books its catalog was opened with."""
    return data / node / "books.opened"


def backups_path(data: Path, node: str) -> Path:
    """Where the replica named `catalog-0` keeps its backups."""
    return data / node / "backups"


def token_path(data: Path) -> Path:
    """The admin token."""
    return data / "admin.token"


def tls_path(data: Path) -> Path:
    """The folder with the certificates of a store that speaks TLS."""
    return data / "tls"


def tls_directory(given: str | None, data: Path) -> Path | None:
    """The folder that the setting `tls` names (absolute), else that of the data directory if it is there; None: none.

    One that is there and lacks something makes TLS impossible, and not unneeded.
    """
    if given is not None:
        return None if given == "off" else Path(given).absolute()
    return tls_path(data) if tls_path(data).exists() else None


def tls_home(given: str | None, data: Path) -> Path | None:
    """Where certificates are made for a store that is to speak TLS; None: the setting `tls` says that it is not."""
    return tls_path(data) if given is None else tls_directory(given, data)
