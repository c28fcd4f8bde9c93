"""Putting a version on a host, and taking it away: environment, secrets, units."""

import contextlib
import os
import platform
import pwd
import shutil
import stat
import sys
import tarfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pygmy.deploy.onhost.nodes import look_at, stop_node
from pygmy.deploy.onhost.place import (
    UNITS,
    USER,
    Json,
    Place,
    StepFailed,
    command,
    has_systemd,
    is_root,
    owner,
    point,
    said,
    target,
    unit,
)

JOURNAL = {"log-file": "-", "log-format": "json"}


# ---- looking


def look(place: Place, request: Json, payload: IO[bytes]) -> Json:
    """What kind of host this is, and what of the store is here."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "libc": list(platform.libc_ver()),
        "missing": [name for name in ("venv", "ensurepip") if not _importable(name)],
        "private": sys.executable if is_root() and not _open_to_all(Path(sys.executable)) else None,
        "root": is_root(),
        "systemd": has_systemd(),
        "free": shutil.disk_usage(_existing(place.prefix)).free,
        "versions": place.complete(),
        "environments": place.ready(),
        "nodes": {node: look_at(place, node) for node in request["nodes"]},
    }


def _importable(name: str) -> bool:
    try:
        __import__(name)
    except ImportError:
        return False
    return True


def _open_to_all(program: Path) -> bool:
    """True if every user gets to it: no directory on the way is somebody's own."""
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in program.resolve().parents)


def _existing(path: Path) -> Path:
    """The path, or its first parent that is there."""
    return next(place for place in (path, *path.parents) if place.exists())


# ---- installing


def prepare(place: Place, request: Json, payload: IO[bytes]) -> Json:
    """Unpack a version, and make its environment unless that is here already. It takes effect on nothing yet."""
    home = place.versions / request["version"]
    if home.name in place.complete():
        return {}
    gently()
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    for name, content in unpacked(payload):
        path = home / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    if has_systemd():
        _log_to_journal(home / "pygmy.toml")
    if is_root():
        _make_user(place)
    environment = place.environments / request["environment"]
    if environment.name not in place.ready():
        shutil.rmtree(environment, ignore_errors=True)
        _make_environment(home, environment)
        (environment / "complete").touch()
    (home / "venv").symlink_to(environment)
    shutil.rmtree(home / "wheels", ignore_errors=True)
    (home / "complete").touch()
    return {}


def gently() -> None:
    """Let nodes that run here go first: they have leases to keep."""
    os.nice(10)


def _log_to_journal(settings: Path) -> None:
    """Under systemd nodes log to its journal, and as JSON, unless their owner says otherwise."""
    said = tomllib.loads(settings.read_text())
    more = [f'{key} = "{value}"\n' for key, value in JOURNAL.items() if key not in said]
    settings.write_text("".join([settings.read_text(), *more]))


def _make_environment(home: Path, environment: Path) -> None:
    said("making the virtual environment")
    environment.parent.mkdir(exist_ok=True)
    command([sys.executable, "-m", "venv", str(environment)])
    python = str(environment / "bin/python")
    said("installing Pygmy and what it needs")
    wheels = home / "wheels"
    apart = ["--isolated", "--no-index", "--find-links", str(wheels)] if wheels.is_dir() else []
    quietly = ["--quiet", "--no-input", "--disable-pip-version-check", "--compile"]
    install = [python, "-m", "pip", "install", *quietly, *apart]
    (wheel,) = home.glob("*.whl")
    command([*install, "--constraint", str(home / "constraints.txt"), str(wheel)])
    # Twisted lists its plugins in a file beside them, which the nodes must not be able to write.
    command([python, "-c", "from twisted.plugin import IPlugin, getPlugins; list(getPlugins(IPlugin))"])
    command([python, "-m", "pygmy", "--version"], user=owner())  # who must be able to enter where Python is


def secrets(place: Place, request: Json, payload: IO[bytes]) -> Json:
    """Put secrets and certificates into the data directory, readable by the nodes alone."""
    if is_root():
        _make_user(place)
    place.data.mkdir(parents=True, exist_ok=True)
    place.data.chmod(0o700)
    _give(place.data)
    for name, content in unpacked(payload):
        _put(place, name, content)
    return {}


def unpacked(payload: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    """The files of a tar archive, by their relative names."""
    with tarfile.open(fileobj=payload, mode="r|") as archive:
        for member in archive:
            content = archive.extractfile(member)
            if content is None or member.name.startswith("/") or ".." in member.name.split("/"):
                raise StepFailed(f"expected plain files in the archive, and not {member.name}")
            yield member.name, content.read()


def _put(place: Place, name: str, content: bytes) -> None:
    """One file, whole or not at all, of mode 0600. Another store's secret is never overwritten."""
    path = place.data / name
    if name == "cluster.secret" and path.exists() and path.read_bytes().strip() != content.strip():
        raise StepFailed(
            f"{path} is another secret than the one here: this host has the data of another store, or --data is not"
            " the directory that the store was deployed from"
        )
    for parent in [parent for parent in reversed(path.parents) if parent.is_relative_to(place.data)]:
        if not parent.exists():
            parent.mkdir(mode=0o700)
            _give(parent)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    _give(draft)
    draft.replace(path)


def _make_user(place: Place) -> None:
    """The user that nodes run as; made only if there is none of that name."""
    try:
        pwd.getpwnam(USER)
    except KeyError:
        where = ["--home-dir", str(place.data), "--no-create-home", "--shell", "/usr/sbin/nologin"]
        command(["useradd", "--system", "--user-group", *where, USER])


def _give(path: Path) -> None:
    if is_root():
        shutil.chown(path, USER, USER)


def units(place: Place, request: Json, payload: IO[bytes]) -> Json:
    """Install systemd's units, where it runs."""
    changed = False
    for name, text in request["units"].items():
        path = UNITS / name
        text = text.replace("@PREFIX@", str(place.prefix))
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            changed = True
    if changed:
        command(["systemctl", "daemon-reload"])
    return {}


def finish(place: Place, request: Json, payload: IO[bytes]) -> Json:
    """Have `current` name the version, and remove the versions that no node runs."""
    gently()
    point(place.current, place.versions / request["version"])
    links = place.nodes.glob("*/version") if place.nodes.is_dir() else ()
    _keep(place.versions, {target(link) for link in links} | {request["version"]})
    _keep(place.environments, {target(link) for link in place.versions.glob("*/venv")})
    return {}


def _keep(home: Path, names: set[str | None]) -> None:
    for path in [path for path in home.iterdir() if path.name not in names]:
        shutil.rmtree(path, ignore_errors=True)


def remove(place: Place, request: Json, payload: IO[bytes]) -> Json:
    """Undo all: nodes are stopped, units and versions deleted. The data stays, unless told otherwise."""
    for node in request["nodes"]:
        stop_node(place, node)
    if has_systemd():
        for node in request["nodes"]:
            with contextlib.suppress(StepFailed):  # it has never been started
                command(["systemctl", "disable", "--quiet", unit(node)])
        gone = [UNITS / name for name in request["units"] if (UNITS / name).exists()]
        for path in gone:
            path.unlink()
        if gone:
            command(["systemctl", "daemon-reload"])
    for tree in (place.versions, place.environments, place.nodes, *([place.data] if request["data_too"] else [])):
        if tree.exists():
            shutil.rmtree(tree)
    place.current.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # something is left in it, as the data
        place.prefix.rmdir()
    return {"data": str(place.data) if place.data.exists() else None}
