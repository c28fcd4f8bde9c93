"""`python -m pygmy.checker [--quiet] [--edn] FILE`: the verdict on a history; exit 1 if something is wrong."""

import argparse
import sys

from pygmy.checker.edn import events
from pygmy.checker.history import HistoryError, load
from pygmy.checker.verdict import check


def main(arguments: list[str]) -> int:
    """Print the verdict (or, with --edn, the history in Jepsen's form)."""
    parser = argparse.ArgumentParser(prog="python -m pygmy.checker", description="Check a history of a store.")
    parser.add_argument("--quiet", action="store_true", help="all is at rest: every sale must have its order")
    parser.add_argument("--edn", action="store_true", help="print the history in Jepsen's form instead")
    parser.add_argument("file", help="JSON lines; see pygmy.checker.history")
    options = parser.parse_args(arguments)
    try:
        with open(options.file, "rb") as file:
            history = list(load(file))
    except (OSError, HistoryError) as error:
        print(f"{options.file}: {error}", file=sys.stderr)
        return 2
    if options.edn:
        sys.stdout.writelines(line + "\n" for line in events(history))
        return 0
    verdict = check(history, quiet=options.quiet)
    for problem in verdict.problems:
        print(problem)
    looked = f"{verdict.writes} writes ({verdict.unknown} unanswered), {verdict.reads} reads, {verdict.logged} logged"
    print(f"{'sound' if verdict.ok else 'BROKEN'}: {looked}")
    return 0 if verdict.ok else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
