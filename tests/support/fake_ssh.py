"""An `ssh` whose hosts are directories below FAKE_HOSTS: what is sent there is carried out, but for programs.

Files in a host's directory make it fail: `unreachable`; `no-venv`; `no-pip`, `no-start`, whose content is what is
said about it; `sick`: its nodes do not serve. `running/<node>` is a process, `ssh.log` says how ssh was called, and
`events` in FAKE_HOSTS what was started and stopped, in that order.
"""

import io
import json
import os
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def main() -> int:
    words = sys.argv[1:]
    name = words[words.index("--") + 1]
    home = Path(os.environ["FAKE_HOSTS"], name)
    home.mkdir(exist_ok=True)
    with (home / "ssh.log").open("a") as log:
        log.write(json.dumps([words, dict(os.environ)]) + "\n")
    if "-O" in words:
        return 0
    if (home / "unreachable").exists():
        print(f"ssh: connect to host {name} port 22: No route to host", file=sys.stderr)
        return 255
    if "-N" in words:
        return 0
    print("Welcome to your host!", flush=True)
    serve(home, io.BytesIO(sys.stdin.buffer.read()))
    return 0


def serve(home: Path, stdin: io.BytesIO) -> None:
    os.environ["HOME"] = str(home)
    modules = json.loads(stdin.read(int(stdin.readline())))
    load(home, {name: compile(source, name, "exec") for name, source in modules}).main(stdin)


def load(home: Path, program: Mapping[str, Any], emit: Callable[..., None] | None = None) -> Any:
    """The program's last module, on that host. `emit`: where its answers go."""
    fakes = Fakes(home)
    before = dict(sys.modules)
    try:
        for name, code in program.items():
            module: Any = types.ModuleType(name)
            sys.modules[name] = module
            exec(code, module.__dict__)
            fakes.replace(module)
            if emit is not None and hasattr(module, "emit"):
                module.emit = emit
        return module
    finally:
        sys.modules.update({name: before[name] for name in program if name in before})


class Fakes:
    """What takes the place of a host's programs and processes."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.running = home / "running"
        self.running.mkdir(exist_ok=True)

    def replace(self, module: Any) -> None:
        """As soon as a module is there, before another one takes something of it."""
        name = module.__name__.rpartition(".")[2]
        if name == "place":
            self.place = module
            module.command = self.command
            module.is_root = lambda: False
            module.has_systemd = (self.home / "systemd").exists
        if name == "nodes":
            module.process, module.health, module.stop_node = self.process, self.health, self.stop_node
        if name == "installing":
            module.UNITS = self.home / "units"
            module.gently = lambda: None
            module._importable = lambda what: not (self.home / "no-venv").exists()

    def command(self, argv: list[str], **_: Any) -> str:
        if argv[1:3] == ["-m", "venv"]:
            Path(argv[3]).mkdir()
        elif "pip" in argv:
            self.unless("no-pip")
        elif "start" in argv or "--now" in argv:
            self.unless("no-start")
            name = argv[-1].removeprefix("pygmy-").removesuffix(".service").replace("@", "-")
            node = argv[argv.index("start") + 1] if "start" in argv else name
            (self.running / node).touch()
            self.event("start", node)
        return ""

    def unless(self, name: str) -> None:
        if (self.home / name).exists():
            raise self.place.StepFailed("it ended with 1", (self.home / name).read_text().splitlines())

    def event(self, what: str, node: str) -> None:
        with (self.home.parent / "events").open("a") as log:
            log.write(f"{what} {node}\n")

    def process(self, place: Any, node: str) -> int | None:
        return 4711 if (self.running / node).exists() else None

    def stop_node(self, place: Any, node: str) -> None:
        (self.running / node).unlink(missing_ok=True)
        self.event("stop", node)

    def health(self, place: Any, node: str, reach: Any) -> Any:
        if not (self.running / node).exists():
            return None
        role = node.rpartition("-")[0]
        roles = ("catalog", "order") if role == "frontend" else (role,)
        copies = min(len(list(self.home.parent.glob(f"*/running/{one}-*"))) for one in roles)
        sick = (self.home / "sick").exists()
        return {"message": "Sick." if sick else "Healthy", "state": "RUNNING", "epoch": 1, "redundancy": copies}


if __name__ == "__main__":
    sys.exit(main())
