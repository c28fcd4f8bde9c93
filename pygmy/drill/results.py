"""Results in numbers, for programs: what results.json says."""

import os
import platform
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pygmy
from pygmy.checker import Verdict
from pygmy.drill.run import Result, Settings
from pygmy.drill.traffic import GLANCE, Request
from pygmy.drill.watch import Stay


def machine() -> dict[str, object]:
    """On what it ran."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.machine()


def report(
    results: Sequence[Result], settings: Settings, begun: str, skipped: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """All drills of one run. `skipped`: those that were not possible, by name, and why."""
    return {
        "pygmy": pygmy.__version__,
        "begun": begun,
        "seed": settings.seed,
        "store": settings.store or None,
        "machine": machine(),
        "command": sys.argv[1:],
        "ok": all(result.ok for result in results),
        "drills": [drill_report(result) for result in results],
        "skipped": [{"name": name, "why": why} for name, why in (skipped or {}).items()],
    }


def drill_report(result: Result) -> dict[str, Any]:
    """One drill. Seconds, from the beginning of its traffic where they are moments."""
    return {
        "name": result.name,
        "title": result.title,
        "ok": result.ok,
        "seconds": round(result.seconds, 3),
        "done": [{"at": round(event.at - result.began, 3), "what": event.text} for event in result.events],
        "promises": [{"promise": one.text, "kept": one.kept, "seen": one.seen} for one in result.promises],
        "unchecked": list(result.unchecked),
        "times": {name: round(seconds, 3) for name, seconds in result.times.items()},
        "requests": {kind: _figures(result, kind) for kind in ("lookup", "search", "buy", GLANCE)},
        "nodes": {name: [_stay(stay, result.began) for stay in stays] for name, stays in result.stays.items()},
        "checker": None if result.verdict is None else _verdict(result.verdict),
    }


def _stay(stay: Stay, began: float) -> dict[str, object]:
    return {"from": round(stay.start - began, 3), "state": stay.state, "epoch": stay.epoch, "well": stay.well}


def _verdict(verdict: Verdict) -> dict[str, object]:
    return {
        "sound": verdict.ok,
        "problems": list(verdict.problems),
        "writes": verdict.writes,
        "unanswered": verdict.unknown,
        "reads": verdict.reads,
        "logged": verdict.logged,
    }


def _figures(result: Result, kind: str) -> dict[str, object]:
    requests = [one for one in result.requests if one.kind == kind]
    tries = Counter(one.outcome for one in result.tries if one.kind == kind)
    return {"requests": len(requests), "tries": dict(tries), "milliseconds": _spread(requests)}


def _spread(requests: Sequence[Request]) -> dict[str, float]:
    waits = sorted(1000 * one.seconds for one in requests if one.answered)
    if not waits:
        return {}
    return {name: round(percentile(waits, part), 2) for name, part in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))}


def percentile(ordered: Sequence[float], part: float) -> float:
    """Nearest rank, of values in order."""
    return ordered[max(0, -int(-part * len(ordered) // 1) - 1)]
