"""The stage of a drill: a store under traffic, what is done to it, and what of its promises is seen.

A drill is a function of a stage. What it does to the store becomes a mark of its timeline; what it expects becomes a
promise, kept or not. Times are told as they were seen and never judged: only that something came at all is.
"""

import http.client
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TypeVar

from msgspec import Struct

from pygmy.drill.history import now
from pygmy.drill.shop import Shop, Wares
from pygmy.drill.traffic import BUYING, READING, Client, Diary, Request, Traffic
from pygmy.drill.watch import Watch
from pygmy.private import NOBODY, NeverCame, Pair, PrivateStore, ProxiedStore, until
from pygmy.private.proxies import Rule

T = TypeVar("T")

CALM = 1.5  # seconds of undisturbed traffic, to see by what it changes
ENOUGH = 12  # requests that show that something goes on
STEP = 0.02


class Event(Struct, frozen=True):
    """Something that was done. `colour` as of a page's mark: bad for a fault, good for its end."""

    at: float
    text: str
    colour: str = "bad"


class Promise(Struct, frozen=True):
    """What was promised, whether it was kept, and what was seen."""

    text: str
    kept: bool
    seen: str


class Stage:
    """See above. `patience`: seconds after which what has not come counts as not coming."""

    def __init__(
        self, shop: Shop, traffic: Traffic, diary: Diary, watch: Watch, rng: random.Random, patience: float
    ) -> None:
        self.shop, self.traffic, self.diary, self.watch = shop, traffic, diary, watch
        self.rng, self.patience = rng, patience
        self.began = now()
        self.events: list[Event] = []
        self.promises: list[Promise] = []
        self.unchecked: list[str] = []  # what could not be checked here, and why
        self.times: dict[str, float] = {}  # seconds, by what took them
        self.away: set[str] = set()  # nodes that do not run because we ended them
        self._fault = self.began

    @property
    def store(self) -> PrivateStore:
        """The store in our hands; a drill that needs no more than its customers keeps to `shop`."""
        assert isinstance(self.shop, PrivateStore)
        return self.shop

    @property
    def wares(self) -> Wares:
        """What there is to buy."""
        return self.traffic.wares

    # ---- what is done

    def say(self, text: str, colour: str = "bad") -> None:
        """A mark on the timeline."""
        self.events.append(Event(now(), text, colour))

    def calm(self, seconds: float = CALM) -> None:
        """Let the traffic flow."""
        end = now() + seconds
        while now() < end:
            time.sleep(STEP)

    def open_doors(self, *, doors: Sequence[str] = ()) -> None:
        """Begin the steady traffic, through these nodes (default: all front ends)."""
        through = doors or self.shop.doors
        self.traffic.add(READING, 4, 8.0, through)
        self.traffic.add(BUYING, 3, 5.0, through)
        self.calm()

    def kill(self, *names: str) -> None:
        """kill -9."""
        self._fault = now()
        self.say(f"kill -9 {', '.join(names)}")
        self.away.update(names)
        self.store.kill9(*names)

    def stop(self, name: str) -> None:
        """SIGTERM, and wait for its end."""
        self._fault = now()
        self.say(f"stop {name}", "warn")
        self.away.add(name)
        code = self.store.stop(name)
        if code not in (0, -15):
            self.promise(f"{name} stops in good order", False, f"exit code {code}")

    def start(self, *names: str) -> None:
        """Start nodes that do not run."""
        self._fault = now()
        self.say(f"start {', '.join(names)}", "good")
        self.store.start(*names)
        self.away.difference_update(names)

    def freeze(self, name: str) -> None:
        """SIGSTOP."""
        self._fault = now()
        self.say(f"freeze {name}")
        self.store.freeze(name)

    def thaw(self, name: str) -> None:
        """SIGCONT."""
        self._fault = now()
        self.say(f"thaw {name}", "good")
        self.store.thaw(name)

    def cut(self, *pairs: Pair, text: str) -> Rule:
        """What the first of each pair says to the second does not arrive."""
        assert isinstance(self.store, ProxiedStore)
        self._fault = now()
        self.say(text)
        return self.store.proxies.cut(pairs)

    def mend(self, *rules: Rule) -> None:
        """All links work again."""
        assert isinstance(self.store, ProxiedStore)
        self._fault = now()
        self.say("mend the link", "good")
        self.store.proxies.lift(*rules)

    def client(self, *doors: str, insist: bool = True) -> Client:
        """A client of the drill's own (default: through all front ends)."""
        through = doors or self.shop.doors
        return self.traffic.client(f"drill-{len(self.events)}-{self.rng.randrange(1 << 30)}", through, insist=insist)

    # ---- what is promised

    def promise(self, text: str, kept: bool, seen: str) -> bool:
        """Note a promise, and whether it was kept."""
        self.promises.append(Promise(text, kept, seen))
        return kept

    def until(self, look: Callable[[], T | None], what: str) -> T:
        """As `pygmy.private.until`, within our patience."""
        return until(look, what, longest=self.patience)

    def comes(self, text: str, look: Callable[[], object], what: str, time: str = "") -> bool:
        """Promise that something comes to be, after the last thing that was done; `time` names how long it took."""
        since = self._fault
        try:
            found = self.until(look, what)
        except NeverCame as never:
            return self.promise(text, False, f"not within {self.patience:g} s: {str(never).splitlines()[0]}")
        took = now() - since
        if time:
            self.times[time] = took
        return self.promise(text, True, f"after {took:.2f} s" + (f": {found}" if isinstance(found, str) else ""))

    def goes_on(self, *kinds: str, text: str = "", again: str = "", wait: str = "") -> bool:
        """Promise that requests of these kinds which begin after the last thing that was done are answered.

        `again` names the time until one of each kind was, `wait` the longest that anybody waited for any since.
        """
        since = self._fault
        text = text or f"{_and([_many(kind) for kind in kinds])} go on"

        def enough() -> bool:
            return all(len(self.diary.answered(since, kind)) >= ENOUGH for kind in kinds)

        with suppress(NeverCame):
            self.until(enough, f"{ENOUGH} of each answered")
        kept = enough()
        found = {kind: self.diary.since(since, kind) for kind in kinds}
        if kept and again:
            first = [min(one.ended for one in self.diary.answered(since, kind)) for kind in kinds]
            self.times[again] = max(first) - since
        if kept and wait:
            self.times[wait] = max(one.seconds for ones in found.values() for one in ones)
        lost = any(not one.answered for ones in found.values() for one in ones)
        return self.promise(text, kept and not lost, "; ".join(_told(kind, found[kind], since) for kind in kinds))

    def running(self, *names: str, time: str = "") -> bool:
        """Promise that these nodes come to serve, and their tiers to be complete."""
        who = "all nodes" if len(names) > 2 else _and(names)
        return self.comes(
            f"{who} {'serves' if len(names) == 1 else 'serve'} again, and every tier has all its copies",
            lambda: all(self.store.alive(name) for name in self.store.names) and self.store.is_whole(),
            "a whole store",
            time,
        )

    def noticed(self, name: str, time: str = "") -> bool:
        """Promise that a front end comes to call the node down."""
        frontend = self.store.cluster.frontends[0].name

        def look() -> str | None:
            seen = {one["node"]: one for one in self.store.get(frontend, "/cluster", timeout=2.0).json["nodes"]}
            state = str(seen[name]["state"])
            return None if state == "RUNNING" else f"{frontend} calls it {state} ({seen[name]['why'] or 'silent'})"

        return self.comes(f"the front end notices that {name} does not answer", look, f"{name} being missed", time)

    def removed(self, name: str, by: str, time: str = "") -> bool:
        """Promise that the tier of `by` comes to go on without the node."""

        def look() -> str | None:
            health = self.store.health(by, 2.0)
            out = health.get("state") == "RUNNING" and name not in health.get("members", {name})
            return f"{by} is RUNNING in epoch {health['epoch']}, without {name}" if out else None

        return self.comes(f"{by} goes on without {name}, in a new view", look, f"a view without {name}", time)


@contextmanager
def expecting(stage: Stage, text: str) -> Iterator[list[str]]:
    """A promise that holds if nothing is added to the list meanwhile, nor anything raised that says it is broken."""
    wrong: list[str] = []
    try:
        yield wrong
    except (NeverCame, OSError, http.client.HTTPException) as error:
        wrong.append(f"{type(error).__name__}: {str(error).splitlines()[0]}")
    stage.promise(text, not wrong, "; ".join(wrong[:3]) or "so it was")


def both_ways(these: Iterable[str], those: Iterable[str], *, health: bool = False) -> list[Pair]:
    """All links between the two sides. `health`: those of people and health checks to `those`, too."""
    pairs = [pair for one in these for other in list(those) for pair in ((one, other), (other, one))]
    return pairs + [(NOBODY, other) for other in those if health]


def _told(kind: str, requests: Sequence[Request], since: float) -> str:
    answered = [one for one in requests if one.answered]
    if not answered:
        return f"no {kind} was answered"
    first = min((one.ended for one in answered if one.begun >= since), default=since) - since
    longest = max(one.seconds for one in answered)
    again = sum(one.tries > 1 for one in answered)
    lost = len(requests) - len(answered)
    return (
        f"{len(answered)} {_many(kind)} answered, the first after {first:.2f} s; the longest waited {longest:.2f} s"
        + (f", {again} asked again" if again else "")
        + (f", {lost} GAVE UP" if lost else "")
    )


def _many(kind: str) -> str:
    return f"{kind}es" if kind.endswith("h") else f"{kind}s"


def _and(names: Sequence[str]) -> str:
    return " and ".join(names) if len(names) < 3 else f"{', '.join(names[:-1])} and {names[-1]}"
