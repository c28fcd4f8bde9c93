"""The way of one order: which node did what when, with the letters of the protocol's figure (W1 to W8).

It begins with the line by which an order server tells of the order, which names the request and the two batches that
the order is in. All lines of that request, and all that are told of those batches, make up the rest.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from pygmy.tracing.reading import Line

_ORDER = re.compile(r"order ([0-9]+): sold in batch ([0-9]+-[0-9]+), written in batch ([0-9]+-[0-9]+)$")
_OWN = re.compile(
    r"batch ([0-9]+-[0-9]+): ([0-9]+ entr\w+), asked for ([0-9.]+) ms before; on disk ([0-9.]+) ms,"
    r" (.*)chosen ([0-9.]+) ms$"
)
_OTHERS = re.compile(r"batch ([0-9]+-[0-9]+) from ([a-z]+-[0-9]+): on disk ([0-9.]+) ms, acknowledged ([0-9.]+) ms$")
_NAME = re.compile(r"([a-z]+-[0-9]+) [0-9.]+ ms")
_FORWARD = re.compile(r"forward (\S+.*) -> (\S+)$")
_DOWN = re.compile(r"down (\S+) \((.*)\)")

_Matches = list[tuple[Line, re.Match[str]]]


class Untold(Exception):
    """There is nothing to tell of this order; str() says why."""

    whole = False


class Step(Struct, frozen=True):
    """One step, `at` seconds since 1970. `to`: the node to which something is sent; `letter`: W1 to W8, or ""."""

    at: float
    node: str
    text: str
    letter: str = ""
    to: str = ""


class Story(Struct, frozen=True):
    """All steps, in order of what follows from what. `nodes`: those that took part, from the front to the back.

    `whole`: every node that is known to have taken part has told of it.
    """

    order: int
    rid: str
    steps: Sequence[Step]
    nodes: Sequence[str]
    whole: bool = True

    @property
    def began(self) -> float:
        """When the first step was."""
        return min(step.at for step in self.steps)

    @property
    def seconds(self) -> float:
        """From the first step to the last one."""
        return max(step.at for step in self.steps) - self.began


class _Told(Struct):
    """What of all lines may matter, gathered in one pass."""

    orders: list[Line]
    batches: list[Line]
    others: dict[str, list[Line]]


def story_of(order: int, lines: Iterable[Line], urls: dict[str, str]) -> Story:
    """The way of the order, out of all lines of all nodes; `urls` names each node's. Raises Untold."""
    told = _gathered(lines)
    line, sold, written = _told_by(order, told.orders)
    names = {url: name for name, url in urls.items()}
    own = told.others.get(line.rid, [])
    asker = _asker(own, line, names)
    steps = [
        *sorted(_forwards(own, names), key=lambda step: step.at),
        *_batch(told.batches, "catalog", sold, line.node),
        *_batch(told.batches, "order", written, line.node),
        Step(line.at, line.node, f"answers: order {order}", to=asker),
    ]
    taking_part = {step.node for step in steps} | {step.to for step in steps if step.to}
    nodes = sorted(taking_part, key=lambda name: (-_depth(name), name))
    batches = (("catalog", sold), ("order", written))
    whole = bool(asker) and all(_all_told(told.batches, tier, version) for tier, version in batches)
    return Story(order, line.rid, steps, nodes, whole)


def _gathered(lines: Iterable[Line]) -> _Told:
    told = _Told([], [], {})
    for line in lines:
        if line.message.startswith("batch "):
            told.batches.append(line)
        elif line.message.startswith("order "):
            told.orders.append(line)
        elif line.rid:
            told.others.setdefault(line.rid, []).append(line)
    return told


def _told_by(order: int, lines: Iterable[Line]) -> tuple[Line, str, str]:
    for line in lines:
        found = _ORDER.match(line.message)
        if found and int(found[1]) == order:
            return line, found[2], found[3]
    raise Untold(
        f"No log here tells how order {order} was written. Either there is no such order, or that log is gone, or its"
        " order server died before it could tell, and another one wrote the order: look for `reconciled`."
    )


def _depth(name: str) -> int:
    return {"frontend": 3, "order": 2, "catalog": 1}.get(name.rpartition("-")[0], 0)


def _forwards(lines: Sequence[Line], names: dict[str, str]) -> Iterator[Step]:
    """What was passed on, by the request's own lines."""
    for line in lines:
        if found := _FORWARD.match(line.message):
            to = names.get(found[2], "")
            yield Step(line.at, line.node, f"passes on {found[1]} to {to or found[2]}", to=to)
        elif found := _DOWN.match(line.message):
            down = names.get(found[1], found[1])
            yield Step(line.at, line.node, f"gets no answer of {down} ({found[2]}), and tries the next")


def _asker(lines: Sequence[Line], line: Line, names: dict[str, str]) -> str:
    """The front end that the order server answers: the last that passed the request on to it."""
    asked = [
        one.node
        for one in lines
        if (found := _FORWARD.match(one.message)) and names.get(found[2]) == line.node and one.node != line.node
    ]
    return asked[-1] if asked else ""


def _batch(lines: Sequence[Line], tier: str, version: str, asker: str) -> Iterator[Step]:
    """W1 to W8 in one tier, of the batch with this version."""
    told, others = _of_batch(lines, tier, version)
    steps = [
        step for one, found in told for step in _by_owner(one, found, tier, asker, [who.node for who, _ in others])
    ]
    steps += [step for one, found in others for step in _by_member(one, found)]
    yield from sorted(steps, key=_when)


def _of_batch(lines: Sequence[Line], tier: str, version: str) -> tuple[_Matches, _Matches]:
    """What its owner has told of the batch, and what the other members have."""
    here = [line for line in lines if line.node.startswith(f"{tier}-")]
    told = [(line, found) for line in here if (found := _OWN.match(line.message)) and found[1] == version]
    others = [(line, found) for line in here if (found := _OTHERS.match(line.message)) and found[1] == version]
    return told, others


def _all_told(lines: Sequence[Line], tier: str, version: str) -> bool:
    """True if the owner of the batch has told of it, and all those who have acknowledged it."""
    told, others = _of_batch(lines, tier, version)
    acknowledged = {name for _, found in told for name in _NAME.findall(found[5])}
    return bool(told) and acknowledged <= {line.node for line, _ in others}


def _when(step: Step) -> tuple[int, float]:
    """What follows from what, then by time: two nodes' times are whole milliseconds, of two clocks perhaps."""
    first, last = ("W1", "W2", "W4"), "W8"
    if step.letter in first:
        return first.index(step.letter), 0.0
    return (9 if step.letter == last else 5), step.at


def _by_owner(line: Line, found: re.Match[str], tier: str, asker: str, others: Sequence[str]) -> Iterator[Step]:
    version, entries, before, stored, chosen = found[1], found[2], *(float(found[n]) / 1000 for n in (3, 4, 6))
    decided = line.at - chosen
    what = "sell" if tier == "catalog" else "write the order"
    yield Step(decided - before, line.node, f"is asked to {what}", "W1")
    yield Step(decided, line.node, f"decides batch {version} ({entries}), and begins to write it to its disk", "W2")
    yield Step(decided + stored, line.node, f"has batch {version} on its disk", "W3")
    for other in others:
        yield Step(decided, line.node, f"sends batch {version} to {other}", "W4", other)
    yield Step(line.at, line.node, f"knows that all have batch {version}, and answers", "W8", _else(asker, line.node))


def _by_member(line: Line, found: re.Match[str]) -> Iterator[Step]:
    version, owner, stored, acked = found[1], found[2], float(found[3]) / 1000, float(found[4]) / 1000
    arrived = line.at - acked
    yield Step(arrived, line.node, f"gets batch {version}, and begins to write it to its disk", "W5")
    yield Step(arrived + stored, line.node, f"has batch {version} on its disk", "W6")
    dropped = ": its front ends have dropped the book" if owner.startswith("catalog-") else ""
    yield Step(line.at, line.node, f"acknowledges batch {version}{dropped}", "W7", owner)


def _else(name: str, than: str) -> str:
    return "" if name == than else name
