"""`python -m tests.simulation`: many histories, each a pure function of its seed."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from tests.simulation.cluster import Simulation
from tests.simulation.hooks import simulated


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--histories", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="of the first history")
    parser.add_argument("--trace", action="store_true", help="tell everything that happens")
    parser.add_argument("--stop", action="store_true", help="stop at the first broken history")
    options = parser.parse_args(arguments)
    broken, sometimes, started, steps = 0, Counter[str](), time.process_time(), 0
    with simulated():
        for seed in range(options.seed, options.seed + options.histories):
            simulation = Simulation(seed, trace=print if options.trace else None)
            problem = simulation.run()
            sometimes += simulation.world.sometimes
            steps += simulation.world.steps
            if problem:
                broken += 1
                print(f"seed {seed}: {problem}", flush=True)
                if options.stop:
                    break
            if seed % 100 == 99:
                told = f"{seed - options.seed + 1} histories, {broken} broken, {time.process_time() - started:.0f} s"
                print(told, file=sys.stderr, flush=True)
    spent = time.process_time() - started
    done = seed - options.seed + 1
    print(f"{done} histories, {broken} broken, {1000 * spent / done:.0f} ms each, {steps // done} steps each")
    print(dict(sometimes))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
