"""`pygmy up --docker`: a whole store in containers on this machine, by Docker's Compose, for as long as it runs."""

import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

import click
import msgspec

import pygmy
from pygmy.cli.calling import Settings
from pygmy.cli.composing import IMAGE, composition
from pygmy.cli.nodes import Store, port_trouble
from pygmy.cli.terminal import paint, printable, refuse, say, silence, tell
from pygmy.settings import Layer, Values, Written

OPEN_SECONDS = 300.0
LOOK_SECONDS = 1.0
LAST_LINES = "20"
CARRIED = ("cache", "backup-hours", "backups", "log-format")  # settings that nodes in containers get
LEFT_OUT = ("data", "books", "tls", "insecure-network", "listen")  # what is about this machine's own files and ports


def up_in_containers(settings: Settings, store: Store) -> None:
    """Open the store in containers, until Ctrl-C. What keeps it from opening is told in one line; exit code 1."""
    _check(settings, store)
    source = checkout()
    trouble = docker_trouble() or image_trouble(source) or _ports_taken(store)
    if trouble is not None:
        refuse(trouble)
    name = project(store.cluster_file)
    content = composition(name, store.cluster, source=source, environment=carried(settings.values))
    with TemporaryDirectory(prefix="pygmy-") as folder:
        file = Path(folder) / "compose.json"
        file.write_bytes(msgspec.json.encode(content))
        Containers(name, file, store, build=source is not None).run()


def project(cluster_file: str | None) -> str:
    """What Compose calls the store: volumes, and with them its data, go by this name."""
    stem = re.sub(r"[^a-z0-9_-]+", "-", Path(cluster_file).stem.lower()) if cluster_file else ""
    return f"pygmy-{stem}".rstrip("-")


def carried(values: Values) -> dict[str, str]:
    """The settings that somebody has made for nodes, as the variables of their containers."""
    made = [values.all[key] for key in CARRIED if values.all[key].layer is not Layer.DEFAULT]
    return {one.setting.names[0]: _text(one.written) for one in made}


def _text(written: Written | None) -> str:
    return {True: "yes", False: "no"}[written] if isinstance(written, bool) else str(written)


def checkout() -> Path | None:
    """The checkout that this very package runs from; None: it was installed, and the image has to be there."""
    root = Path(pygmy.__file__).parent.parent
    return root if (root / "Dockerfile").is_file() and (root / "pyproject.toml").is_file() else None


def docker_trouble() -> str | None:
    """Why there is no Docker to run containers with."""
    if shutil.which("docker") is None:
        return "There is no docker command here. Install Docker, or leave out --docker."
    daemon = _ask("version", "--format", "{{.Server.Version}}")
    if daemon.returncode:
        return f"Docker's daemon does not answer: {_last_line(daemon.stderr)}"
    if _ask("compose", "version").returncode:
        return "This docker has no `docker compose`. Install Docker's Compose plugin, or leave out --docker."
    return None


def image_trouble(source: Path | None) -> str | None:
    """Why there is no image: it is neither here nor to be built."""
    if source is not None or _ask("image", "inspect", IMAGE).returncode == 0:
        return None
    return f"There is no image {IMAGE} here: docker load one that was saved elsewhere, or run this from a checkout."


def _ask(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["docker", *words], capture_output=True, text=True, errors="replace", check=False)


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it says nothing"])[-1].strip()


def _check(settings: Settings, store: Store) -> None:
    for key in LEFT_OUT:
        if key in settings.flags:
            raise click.UsageError(f"--{key} and --docker do not go together: containers have files of their own.")
    for node in store.cluster.nodes:
        if not node.local:
            raise click.UsageError(
                f"{node.name} runs on {node.host}: with --docker, expected localhost for every node."
            )


def _ports_taken(store: Store) -> str | None:
    return next((trouble for node in store.cluster.frontends if (trouble := port_trouble(node)) is not None), None)


class Containers:
    """One run of `pygmy up --docker`: open, follow, close. Docker's own words go to the terminal as they come."""

    def __init__(self, name: str, file: Path, store: Store, *, build: bool) -> None:
        self._compose = ["docker", "compose", "--project-name", name, "--file", str(file)]
        self._name = name
        self._store = store
        self._build = build

    def run(self) -> None:
        """Open the store and keep it open until Ctrl-C or SIGTERM. Exit code 1: it could not, or has ended."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, _interrupt)
        trouble: str | None = None
        try:
            trouble = self._open() or self._follow()
        except KeyboardInterrupt:
            pass
        finally:
            self._close()
        if trouble is not None:
            refuse(trouble)

    def _open(self) -> str | None:
        """None once every front end serves; else why that will not be."""
        tell("Building the image (the first time takes a minute) ..." if self._build else "Opening ...")
        if self._run("up", "--detach", "--remove-orphans", *(["--build"] if self._build else [])):
            return "Docker could not start the store: see above."
        deadline = time.monotonic() + OPEN_SECONDS
        for node in self._store.cluster.frontends:
            while (said := self._health(node.name)) is not None:
                if time.monotonic() > deadline:
                    self._run("logs", "--tail", LAST_LINES, "--no-color")
                    return f"Not open after {OPEN_SECONDS:g} s: {printable(said)}"
                time.sleep(LOOK_SECONDS)
        return None

    def _health(self, service: str) -> str | None:
        """None: it serves; else what it says. Asked within, where the CA and the names are known."""
        asked = _ask(*self._compose[1:], "exec", "-T", service, "pygmy", "health")
        return None if asked.returncode == 0 else _last_line(asked.stdout or asked.stderr)

    def _follow(self) -> str:
        """Tell that it is open, then show what the nodes log, until told to stop."""
        inside = f"docker compose -p {self._name}"
        url = f"https://localhost:{self._store.cluster.frontends[0].port}"
        say(paint(f"Pygmy is open at {url}", "green"))
        say(f"  {inside} exec frontend-0 pygmy buy 1")
        say(f"  {inside} cp frontend-0:/data/tls/ca.pem . && curl --cacert ca.pem {url}/books/1")
        say("Ctrl-C closes it; its data stays in volumes. Kill any node meanwhile, and start it again:")
        say(f"  {inside} kill catalog-0 && {inside} start catalog-0")
        self._run("logs", "--follow", "--tail", "0")
        return "No container is left."

    def _close(self) -> None:
        """End all containers, each within its grace time; asked a second time, at once."""
        try:
            tell("Closing ...")
        except OSError:  # who read this has gone away, and Docker would end at its first word
            silence(sys.stdout)
            silence(sys.stderr)
        try:
            self._run("down")
        except KeyboardInterrupt:
            self._run("down", "--timeout", "0")

    def _run(self, *words: str) -> int:
        """Its exit code. The terminal's Ctrl-C is for us, not for it."""
        return subprocess.run([*self._compose, *words], start_new_session=True, check=False).returncode


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
