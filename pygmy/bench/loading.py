"""Making a load: wrk where it can, else processes of our own; each ends with us at the latest."""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from pygmy.bench import wrk
from pygmy.bench.loads import Load, Outcome, Taken, summed
from pygmy.private import environment, private_directory, spawn

GRACE = 60.0  # seconds for a generator to come to its end after its time


class GeneratorFailed(RuntimeError):
    """A generator ended without results; str() has its last words."""


def processes() -> int:
    """How many generator processes (or threads) there may be: half of the cores are the store's."""
    return max(1, (os.cpu_count() or 1) // 2)


def generator() -> str:
    """Who makes loads here, in words."""
    found = wrk.version()
    return f"{found}; open loops by own processes" if found else "own processes (no wrk on PATH)"


def make(load: Load, *, own: bool = False) -> Outcome:
    """Carry out a load; blocks until it is over. `own`: by our own processes in any case. Raises GeneratorFailed."""
    with private_directory("load") as directory:
        if not own and wrk.version() and wrk.can_make(load):
            return _by_wrk(load, directory)
        return summed(_by_own(load, directory))


def latencies(load: Load) -> list[float]:
    """Every latency of a load, in the order of the answers. Raises GeneratorFailed."""
    with private_directory("load") as directory:
        return [latency for part in _by_own(load, directory) for latency in part.latencies]


def divided(load: Load, parts: int) -> list[Load]:
    """The same load on up to so many processes: clients and rate in proportion, requests each from another one on."""
    parts = 1 if load.count is not None else min(parts, load.clients)
    sizes = [load.clients // parts + (number < load.clients % parts) for number in range(parts)]
    found = []
    for number, clients in enumerate(sizes):
        start = number * len(load.requests) // parts
        requests = load.requests[start:] + load.requests[:start]
        rate = None if load.rate is None else load.rate * clients / load.clients
        found.append(replace(load, clients=clients, rate=rate, requests=requests))
    return found


def _by_own(load: Load, directory: Path) -> list[Taken]:
    running = []
    for number, part in enumerate(divided(load, processes())):
        given, taken, errors = (directory / f"{what}-{number}" for what in ("load", "taken", "errors"))
        given.write_bytes(msgspec.json.encode(part))
        line = [sys.executable, "-m", "pygmy.bench.generator", str(given), str(taken)]
        running.append((spawn(line, directory, errors, environment()), taken, errors))
    try:
        for process, _, errors in running:
            _wait(process, load, errors)
        return [msgspec.json.decode(taken.read_bytes(), type=Taken) for _, taken, _ in running]
    finally:
        _end([process for process, _, _ in running])


def _by_wrk(load: Load, directory: Path) -> Outcome:
    """wrk writes to a file, through a shell that is replaced by it."""
    script, printed, errors = directory / "load.lua", directory / "printed", directory / "errors"
    script.write_text(wrk.script(load))
    line = wrk.command(load, str(script), processes())
    threads = min(processes(), load.clients)
    before, started = _computed(), time.perf_counter()
    redirected = ["sh", "-c", 'out=$1; shift; exec "$@" >"$out"', "sh", str(printed), *line]
    process = spawn(redirected, directory, errors, environment())
    try:
        _wait(process, load, errors)
    finally:
        _end([process])
    busy = (_computed() - before) / (time.perf_counter() - started) / threads
    return wrk.outcome(printed.read_text(), busy)


def _computed() -> float:
    """Processor time of all children that have ended: a generator's, if nothing else has ended meanwhile."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _wait(process: "subprocess.Popen[bytes]", load: Load, errors: Path) -> None:
    longest = load.warmup + load.seconds + GRACE
    try:
        code = process.wait(longest)
    except subprocess.TimeoutExpired:
        raise GeneratorFailed(f"the load generator has not come to its end after {longest:g} s") from None
    if code:
        said = errors.read_text("utf-8", "replace").strip().splitlines()[-1:]
        raise GeneratorFailed(f"the load generator ended with {code}: {' '.join(said) or 'it said nothing'}")


def _end(running: "Sequence[subprocess.Popen[bytes]]") -> None:
    for process in running:
        if process.poll() is None:
            process.kill()
            process.wait()
