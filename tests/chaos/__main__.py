"""`python -m tests.chaos`: chaos for as long as one likes; see pygmy's docs for what is promised."""

import argparse
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from tests.chaos.broken_node import BUGS
from tests.chaos.gaps import measure
from tests.chaos.run import Settings, run
from tests.chaos.schedule import KINDS


def main(arguments: list[str]) -> int:
    """Exit code 0: sound; 1: BROKEN; 2: usage."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Faults on a store of real processes.")
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=7, help="of the schedule of faults, and of what clients do")
    parser.add_argument("--catalogs", type=int, default=2)
    parser.add_argument("--orders", type=int, default=2)
    parser.add_argument("--frontends", type=int, default=2)
    parser.add_argument("--faults", type=_kinds, default=KINDS, help=f"of {','.join(KINDS)} (default: all)")
    parser.add_argument("--every", type=float, default=3.5, help="seconds between faults, on average")
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second, about")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep all data, logs and the history here")
    parser.add_argument("--gaps", type=int, metavar="N", help="instead: measure N kills, one at a time")
    parser.add_argument("--bug", choices=sorted(BUGS), help="start broken nodes: this must not be sound")
    options = parser.parse_args(arguments)
    if min(options.catalogs, options.orders, options.frontends) < 1 or options.minutes <= 0 or options.rate <= 0:
        parser.error("expected at least one node of each kind, and more than no time and no requests")
    if options.keep is not None and options.keep.exists() and any(options.keep.iterdir()):
        parser.error(f"--keep {options.keep}: expected a directory that is empty or not there yet")
    # So that whatever has been started is ended on the way out.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    directory = (options.keep or Path(tempfile.mkdtemp(prefix="pygmy-chaos-"))).absolute()
    directory.mkdir(parents=True, exist_ok=True)
    nodes = (options.catalogs, options.orders, options.frontends)
    if options.gaps is not None:
        print(measure(directory, options.gaps, *nodes, _say))
        if options.keep is None:
            shutil.rmtree(directory)
        return 0
    settings = Settings(
        60 * options.minutes,
        options.seed,
        options.faults,
        *nodes,
        rate=options.rate,
        every=options.every,
        bug=options.bug,
    )
    report = run(directory, settings, _say)
    print(report.summary)
    if report.ok and options.keep is None:
        shutil.rmtree(directory)
    else:
        print(f"history: {report.history}\npython -m pygmy.checker --quiet {report.history}")
    return 0 if report.ok else 1


def _kinds(text: str) -> tuple[str, ...]:
    kinds = tuple(dict.fromkeys(text.split(",")))
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r}: expected some of {','.join(KINDS)}")
    return kinds


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
