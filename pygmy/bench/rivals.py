"""Stores of other makes, from bench/peers of a clone: which there are, and one of them started."""

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pygmy
from pygmy.bench.stores import books
from pygmy.private import NeverCame, environment, free_ports, private_directory, spawn, until

PROGRAM = Path(pygmy.__file__).parents[1] / "bench" / "peers" / "start.py"
FIRST_START = 900.0  # seconds: its environment may have to be made
END = 20.0


class CannotRun(RuntimeError):
    """A peer does not run here; str() says why in one line."""


def names(program: Path = PROGRAM) -> tuple[str, ...]:
    """What they are called. Raises CannotRun where there are none."""
    if not program.exists():
        raise CannotRun(f"the peers come with a clone of the project, not with the package: there is no {program}")
    said = subprocess.run([sys.executable, str(program), "--list"], capture_output=True, text=True, check=False)
    if said.returncode:
        raise CannotRun(f"{program}: {(said.stderr.strip() or 'no list').splitlines()[-1]}")
    return tuple(one["name"] for one in json.loads(said.stdout))


@contextmanager
def running(name: str, stock: int, program: Path = PROGRAM) -> Iterator[tuple[str, int]]:
    """Where the peer answers, with so many books; ended afterwards. Raises CannotRun."""
    with private_directory("peer") as directory:
        directory.chmod(0o711)  # a database's own user passes through
        data, errors, shelf = directory / "data", directory / "errors", directory / "books.json"
        data.mkdir()
        shelf.write_text(json.dumps(books(stock)))
        (port,) = free_ports(1)
        line = [sys.executable, str(program), name, "--port", str(port), "--data", str(data), "--books", str(shelf)]
        process = spawn(line, directory, errors, environment())
        try:
            until(lambda: process.poll() is not None or _answers(port), f"an answer of {name}", longest=FIRST_START)
            if process.poll() is not None:
                raise CannotRun(_last_line(errors).removeprefix(f"{name} cannot run: "))
            yield "127.0.0.1", port
        except NeverCame as never:
            raise CannotRun(str(never).splitlines()[0]) from None
        finally:
            _end(process)


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/books/1")
        return connection.getresponse().status == 200
    finally:
        connection.close()


def _last_line(errors: Path) -> str:
    lines = errors.read_text("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "it ended and said nothing"


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
