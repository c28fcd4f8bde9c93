"""wrk as the load generator: the script that makes it ask for our requests and tell its results as JSON."""

import re
import shutil
import subprocess
from functools import cache

import msgspec
from msgspec import Struct

from pygmy.bench.loads import Load, Outcome
from pygmy.bench.statistics import PERCENTILES

NAME = "wrk"
MARK = "PYGMY "

_SCRIPT = """
local wanted = {%(wanted)s}
local prepared, n = {}, 0
function init(args)
  for i, one in ipairs(wanted) do prepared[i] = wrk.format(one[1], one[2], {%(headers)s}) end
  n = math.random(#prepared)
end
function request()
  n = n %% #prepared + 1
  return prepared[n]
end
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('%(mark)s{"requests":%%d,"microseconds":%%d,"status":%%d,"broken":%%d,"latency":{',
    summary.requests, summary.duration, e.status, e.connect + e.read + e.write + e.timeout))
  for i, p in ipairs({%(percentiles)s}) do
    io.write(string.format('%%s"%%s":%%d', i > 1 and "," or "", p, latency:percentile(p)))
  end
  io.write("}}\\n")
end
"""


class Told(Struct):
    """What the script prints at the end. `status`: answers that were no success, counted among `requests`."""

    requests: int
    microseconds: int
    status: int
    broken: int
    latency: dict[str, int]


class NoResult(RuntimeError):
    """wrk said something else than results."""


@cache
def version() -> str:
    """`wrk 4.1.0`; "": there is none on PATH."""
    program = shutil.which(NAME)
    if program is None:
        return ""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"\d+\.\d+(\.\d+)?", said)
    return f"{NAME} {found[0]}" if found else NAME


def can_make(load: Load) -> bool:
    """wrk knows closed loops by time only, and believes any certificate."""
    return load.rate is None and load.count is None and load.ca is None


def script(load: Load) -> str:
    """The Lua script of a load."""
    wanted = ", ".join(f'{{"{method}", "{_quoted(path)}"}}' for method, path in load.requests)
    headers = ", ".join(f'["{_quoted(name)}"] = "{_quoted(value)}"' for name, value in load.headers)
    percents = ", ".join(f"{p:g}" for p in PERCENTILES)
    return _SCRIPT % {"wanted": wanted, "headers": headers, "mark": MARK, "percentiles": percents}


def command(load: Load, script_file: str, threads: int) -> list[str]:
    """The command line. wrk takes whole seconds."""
    url = f"http://{load.host}:{load.port}"
    seconds = f"{max(1, round(load.seconds))}s"
    threads = min(threads, load.clients)
    return [NAME, f"-t{threads}", f"-c{load.clients}", "-d", seconds, "--timeout", "30s", "-s", script_file, url]


def outcome(printed: str, busy: float) -> Outcome:
    """What wrk printed, as an outcome. Raises NoResult."""
    lines = [line.removeprefix(MARK) for line in printed.splitlines() if line.startswith(MARK)]
    if not lines:
        raise NoResult(f"wrk: expected results, not {printed.strip()[-200:]!r}")
    told = msgspec.json.decode(lines[-1], type=Told)
    return Outcome(
        answered=told.requests - told.status,
        errors=told.status + told.broken,
        seconds=told.microseconds / 1e6,
        latency={p: told.latency[f"{p:g}"] / 1e6 for p in PERCENTILES},
        busy=busy,
        by=NAME,
    )


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
