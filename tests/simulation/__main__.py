"""`python -m tests.simulation`: many histories, each a pure function of its seed."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable

from tests.simulation import cluster
from tests.simulation.bugs import BUGS, OF_REGISTER, UNREACHABLE, planted
from tests.simulation.cluster import Shape, Simulation
from tests.simulation.directed import SCHEDULES, caught, play
from tests.simulation.hooks import simulated


def run_many(
    first: int, count: int, bug: str | None, *, trace: bool, stop: bool, durations: tuple[float, ...] = ()
) -> tuple[int, str]:
    """(how many histories were broken, what to say of them all)."""
    broken, sometimes, started, steps, done, example = 0, Counter[str](), time.process_time(), 0, 0, ""
    with planted(bug), simulated():
        for seed in range(first, first + count):
            shape = Shape.of(seed)
            if durations:
                shape.duration = durations[seed % len(durations)]
            simulation = Simulation(seed, shape, trace=print if trace else None)
            problem = simulation.run()
            sometimes += simulation.world.sometimes
            sometimes["acknowledged operations"] += simulation.clients.acknowledged
            steps += simulation.world.steps
            done += 1
            if problem:
                broken += 1
                example = example or f"seed {seed}: {problem}"
                if not bug:
                    print(f"seed {seed}: {problem}", flush=True)
                if stop:
                    break
            if not bug and done % 100 == 0:
                spent = time.process_time() - started
                print(f"{done} histories, {broken} broken, {spent:.0f} s", file=sys.stderr, flush=True)
    if bug:
        last = example.strip().splitlines()[-1][:150] if example else "NOT CAUGHT"
        first_line = example.split(":")[0] if example else ""
        return broken, f"{bug:26} {done:3} histories  {first_line} {last}"
    spent = time.process_time() - started
    counts = ", ".join(f"{what}: {number}" for what, number in sorted(sometimes.items()))
    return (
        broken,
        f"{done} histories, {broken} broken, {1000 * spent / done:.0f} ms and {steps // done} events each\n{counts}",
    )


def run_directed(trace: Callable[[str], None] | None) -> int:
    """Each schedule as it should be, and with each of the bugs it is for."""
    failed = False
    cluster.REPLICATED = False
    for name, (_, _, _, bugs) in SCHEDULES.items():
        for bug in (None, *bugs):
            with planted(bug), simulated():
                problem = caught(name, trace) if bug else play(name, trace)
            failed |= bool(problem) != bool(bug)
            last = problem.strip().splitlines()[-1][:150] if problem else "sound"
            print(f"{name:34} {bug or '-':24} {last}", flush=True)
    return int(failed)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--histories", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="of the first history")
    parser.add_argument("--trace", action="store_true", help="tell everything that happens")
    parser.add_argument("--stop", action="store_true", help="stop at the first broken history")
    parser.add_argument("--atomic", action="store_true", help="an atomic register stands in for the replicated one")
    parser.add_argument("--replicated", action="store_true", help="with --bug: the replicated register all the same")
    parser.add_argument("--bug", help="plant a deliberate bug, or each in turn: all")
    parser.add_argument("--durations", help="seconds of faults, taken in turn: 1.2,4 (default: 4)")
    parser.add_argument("--directed", action="store_true", help="play the schedules written by hand instead")
    options = parser.parse_args(arguments)
    if options.directed:
        return run_directed(print if options.trace else None)
    failed = False
    caught_by_hand = {bug for _, _, _, bugs in SCHEDULES.values() for bug in bugs}
    bugs = [bug for bug in BUGS if bug not in caught_by_hand] if options.bug == "all" else [options.bug]
    if options.bug == "all":
        failed = bool(run_directed(None))
    durations = tuple(float(text) for text in options.durations.split(",")) if options.durations else ()
    for bug in bugs:
        if options.bug == "all" and bug in UNREACHABLE:
            print(f"{bug:26} no history can show it", flush=True)
            continue
        cluster.REPLICATED = options.replicated or bug in OF_REGISTER or not (options.atomic or bug)
        stop = options.stop or bug is not None
        broken, text = run_many(
            options.seed, options.histories, bug, trace=options.trace, stop=stop, durations=durations
        )
        failed |= bool(broken) != bool(bug)
        print(text, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
