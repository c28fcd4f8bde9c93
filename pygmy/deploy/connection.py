"""One host at the other end of the system's ssh, or of a shell where it is this machine.

It is the `ssh` program and no library, so that people's ~/.ssh/config, agents, keys and known hosts count.
Whatever a step needs goes through its standard input: nothing but constant text is ever on a command line.
"""

import json
import shlex
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pygmy.deploy.child import Say, run
from pygmy.deploy.hosts import Host, Way
from pygmy.deploy.onhost.place import LAST_LINES, Json

CONNECT_SECONDS = 10
IDLE_SECONDS = 300  # after which a connection ends that nobody has closed, as when we are killed
MODULES = ("place", "nodes", "installing", "main")  # of onhost, each after those that it imports
PYTHONS = ("python3", "python3.13", "python3.12", "python3.11", "python3.14")
BOOT = (
    "import json,sys,types;r=sys.stdin.buffer;p=json.loads(r.read(int(r.readline())));"
    "[exec(compile(s,n,'exec'),sys.modules.setdefault(n,types.ModuleType(n)).__dict__) for n,s in p];"
    "sys.modules[p[-1][0]].main(r)"
)


class HostFailed(Exception):
    """A step that a host could not do: why in one sentence, and the last lines of whatever said so."""

    def __init__(self, step: str, why: str, lines: Sequence[str] = ()) -> None:
        super().__init__(why)
        self.step = step
        self.lines = list(lines)[-LAST_LINES:]


class Connection:
    """The way to one host. `control` names the socket over which its ssh processes share a connection."""

    def __init__(self, reactor: Any, host: Host, way: Way, control: Path) -> None:
        self.host = host
        self._reactor = reactor
        self._way = way
        self._control = control

    async def open(self) -> None:
        """Connect once for all steps that follow. Raises HostFailed."""
        if self.host.here:
            return
        words = [*self._ssh("-f", "-N", "-M", "-o", f"ControlPersist={IDLE_SECONDS}"), "--", self.host.name]
        errors = self._control.with_suffix(".errors")  # a pipe would be held open by the process that stays
        child = await run(self._reactor, words, b"", CONNECT_SECONDS * 3, errors=errors)
        if child.code:
            why = "ssh does not get there" if child.code > 0 else "ssh did not get there in time"
            raise HostFailed("connect", why, errors.read_text("utf-8", "replace").strip().splitlines())

    async def close(self) -> None:
        """End what `open` began."""
        if not self.host.here:
            errors = self._control.with_suffix(".errors")
            words = [*self._ssh("-O", "exit"), "--", self.host.name]
            await run(self._reactor, words, b"", CONNECT_SECONDS, errors=errors)

    async def step(self, name: str, seconds: float, say: Say, payload: bytes = b"", **request: Any) -> Json:
        """Have the host do one step of `onhost`: its answer. Raises HostFailed, also after so many seconds."""
        asked = json.dumps({"step": name, "prefix": self._way.prefix, **request}).encode()
        stdin = b"".join([_framed(_program()), _framed(asked), payload])
        child = await run(self._reactor, self._command(), stdin, seconds, say)
        if child.failed is not None:
            raise HostFailed(name, child.failed["failed"], child.failed["lines"])
        if child.done is None:
            raise HostFailed(name, child.trouble(seconds), child.last_lines())
        return child.done

    def _command(self) -> list[str]:
        script = shlex.join(["sh", "-c", start_python(self._way.python)])
        if self._way.sudo:
            script = f"sudo -n {script}"
        if self.host.here:
            return ["/bin/sh", "-c", f"exec {script}"]
        return [*self._ssh("-T"), "--", self.host.name, f"exec {script}"]

    def _ssh(self, *words: str) -> list[str]:
        """What the user says about ssh goes first: of two options, ssh obeys the first."""
        way = self._way
        line = ["ssh", *(word for option in way.options for word in ("-o", option))]
        line += ["-l", way.user] if way.user else []
        line += ["-p", str(way.port)] if way.port else []
        line += ["-i", way.key] if way.key else []
        line += ["-a", "-x", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_SECONDS}"]
        line += ["-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"]
        return [*line, "-S", str(self._control), *words]


def start_python(python: str | None) -> str:
    """The shell script that has the first proper Python run what comes on standard input."""
    names = shlex.join([python] if python else PYTHONS)
    check = shlex.quote("import sys; sys.exit(sys.version_info < (3, 11))")
    return (
        f'for p in {names}; do if "$p" -c {check} </dev/null >/dev/null 2>&1;'
        f' then exec "$p" -I -c {shlex.quote(BOOT)}; fi; done; '
        f'echo "There is no Python 3.11 or newer: tried" {names} >&2; exit 97'
    )


def _program() -> bytes:
    """The modules of `onhost`, as BOOT takes them."""
    package = "pygmy.deploy.onhost"
    files = resources.files(package)
    return json.dumps([(f"{package}.{name}", (files / f"{name}.py").read_text()) for name in MODULES]).encode()


def _framed(data: bytes) -> bytes:
    return b"%d\n%b" % (len(data), data)
