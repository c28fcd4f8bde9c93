"""Which faults come when: a pure function of the seed."""

import random
from typing import NamedTuple

from pygmy.cluster import Cluster
from pygmy.private.proxies import NOBODY, Pair

KINDS = ("kill", "stop", "pause", "tier", "power", "cut", "oneway", "slow")
# So many of each in every round, in any order: none is left out for long.
ROUND = {"kill": 4, "stop": 2, "pause": 4, "tier": 1, "power": 1, "cut": 3, "oneway": 3, "slow": 1}
FIRST = 3.0  # seconds; the store and its clients have to get going
LONGEST_PAUSE = 4.0


class Fault(NamedTuple):
    """What goes wrong from `at` until `end` (seconds from the start). `way` says how, where there are several ways.

    kill, tier, power: these nodes are killed, and started again at the end.  stop: likewise by SIGTERM.  pause: this
    node stands still.  cut, oneway, slow: of these pairs; the ways of a cut are the proxies' methods: what is said
    is kept back (cut), or answers are (mute), or connections are refused.
    """

    at: float
    end: float
    kind: str
    nodes: tuple[str, ...] = ()
    pairs: tuple[Pair, ...] = ()
    way: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        what = ", ".join(self.nodes)
        if self.pairs:
            caller, callee = self.pairs[0]
            these, those = (
                [a for a, b in self.pairs if a and b == callee],
                [b for a, b in self.pairs if a == caller],
            )
            what = f"{', '.join(these)} {'->' if self.kind == 'oneway' else '|'} {', '.join(those)}"
            what += " and health" if any(a == NOBODY for a, _ in self.pairs) else ""
        return f"{self.kind}{f' ({self.way})' if self.way else ''} {what} for {self.end - self.at:.1f} s"


def schedule(seed: int, seconds: float, kinds: tuple[str, ...], cluster: Cluster, every: float = 3.5) -> list[Fault]:
    """Faults for so many seconds, one each `every` seconds or so, overlapping, with a calm now and then."""
    rng = random.Random(seed)
    faults: list[Fault] = []
    left: list[str] = []
    at = FIRST
    while at < seconds:
        if not left:
            left = [kind for kind in KINDS if kind in kinds for _ in range(ROUND[kind])]
            rng.shuffle(left)
        faults.append(_fault(rng, at, left.pop(), cluster))
        calm = rng.random() < 0.12
        at += rng.uniform(8.0, 12.0) if calm else rng.uniform(0.1, 2 * every - 0.1)
    return faults


def _fault(rng: random.Random, at: float, kind: str, cluster: Cluster) -> Fault:
    names = tuple(node.name for node in cluster.nodes)
    one = rng.choice(names)
    short = at + rng.uniform(0.3, LONGEST_PAUSE)
    match kind:
        case "kill" | "stop":
            return Fault(at, at + rng.choice([0.05, 0.5, 2.0, 6.0]), kind, (one,))
        case "tier":
            tier = rng.choice([cluster.catalogs, cluster.orders, cluster.frontends])
            return Fault(at, at + rng.choice([0.05, 1.0, 3.0]), kind, tuple(node.name for node in tier))
        case "power":
            return Fault(at, at + rng.choice([0.05, 1.0, 4.0]), kind, names)
        case "pause":
            return Fault(at, short, kind, (one,))
        case "slow":
            pairs = _across(rng, names)
            both = (*pairs, *((b, a) for a, b in pairs))
            return Fault(at, short, kind, pairs=both, seconds=rng.choice([0.01, 0.05, 0.3]))
        case _:
            return _cut(rng, at, short, kind, names)


def _cut(rng: random.Random, at: float, end: float, kind: str, names: tuple[str, ...]) -> Fault:
    pairs = _across(rng, names)
    if kind == "oneway":
        return Fault(at, end, kind, pairs=pairs, way=rng.choice(["cut", "cut", "mute", "refuse"]))
    both = (*pairs, *((b, a) for a, b in pairs))
    # Those who only ask for each other's health cannot be told apart: cut them from one whole side, or from none.
    healths = tuple((NOBODY, b) for b in sorted({b for _, b in pairs})) if rng.random() < 0.5 else ()
    return Fault(at, end, kind, pairs=both + healths, way=rng.choice(["cut", "cut", "refuse"]))


def _across(rng: random.Random, names: tuple[str, ...]) -> tuple[Pair, ...]:
    """From one side to the other, of two that take in all nodes."""
    side = set(rng.sample(names, rng.randint(1, len(names) - 1)))
    return tuple((a, b) for a in names for b in names if a in side and b not in side)
