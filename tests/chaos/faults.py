"""The schedule carried out on processes and proxies.

Faults overlap: what two of them hold down rises when the second is over.
"""

import heapq
import itertools
import signal
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

from pygmy.cluster import Role
from pygmy.drill.history import now
from pygmy.private.proxies import Rule
from tests.chaos.schedule import Fault
from tests.chaos.store import Store

STOP_SECONDS = 25.0  # from SIGTERM to the end of the process, at most
AGAIN = 0.1


class Faults:
    """Call `step` often, in the main thread: it starts processes, which end with the thread that started them."""

    def __init__(self, store: Store, faults: Sequence[Fault], say: Callable[[str], None]) -> None:
        self.counts: Counter[str] = Counter()
        self.kills: list[tuple[float, str]] = []  # when, and what kind of fault it was
        self.begun: list[float] = []
        self.problems: list[str] = []
        self._store, self._say = store, say
        self._number = itertools.count()
        self._actions: list[tuple[float, int, Callable[[], None]]] = []
        self._down: dict[str, set[Fault]] = defaultdict(set)
        self._still: dict[str, set[Fault]] = defaultdict(set)
        self._rules: dict[Fault, Rule] = {}
        self._stopping: dict[str, float] = {}
        self._expected: set[str] = set()  # have been killed or stopped, and not started again
        self._started = now()
        for fault in faults:
            self._at(self._started + fault.at, lambda fault=fault: self._begin(fault))  # type: ignore[misc]

    def _at(self, when: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._actions, (when, next(self._number), action))

    def step(self) -> None:
        """Whatever is due."""
        while self._actions and self._actions[0][0] <= now():
            heapq.heappop(self._actions)[2]()
        self._look_after()

    def heal(self) -> None:
        """Everything works from now on, as soon as it has started."""
        self._actions.clear()
        self._store.proxies.lift()
        self._rules.clear()
        for holders in (*self._down.values(), *self._still.values()):
            holders.clear()
        for name in self._store.names:
            self._store.signal(name, signal.SIGCONT)
            self._rise(name)

    # ---- one fault

    def _begin(self, fault: Fault) -> None:
        self._say(f"{now() - self._started:7.1f} s  {fault}")
        self.counts[fault.kind] += 1
        self.begun.append(now())
        match fault.kind:
            case "kill" | "tier" | "power":
                self._kill(fault)
            case "stop":
                for name in fault.nodes:
                    self._down[name].add(fault)
                    self._terminate(name)
            case "pause":
                for name in fault.nodes:
                    self._still[name].add(fault)
                    self._store.signal(name, signal.SIGSTOP)
            case "slow":
                self._rules[fault] = self._store.proxies.slow(fault.pairs, fault.seconds)
            case _:
                method = {"cut": "cut", "mute": "mute", "refuse": "refuse"}[fault.way]
                self._rules[fault] = getattr(self._store.proxies, method)(fault.pairs)
        self._at(max(now(), self._started + fault.end), lambda: self._end(fault))

    def _kill(self, fault: Fault) -> None:
        alive = [name for name in fault.nodes if self._store.alive(name)]
        for name in fault.nodes:
            self._down[name].add(fault)
            self._still[name].clear()
        self._expected.update(alive)
        if any(self._store.node(name).role is not Role.FRONTEND for name in alive):
            self.kills.append((now(), fault.kind))
        self._store.kill9(*alive)

    def _terminate(self, name: str) -> None:
        if self._store.alive(name) and name not in self._expected:
            self._expected.add(name)
            self._stopping[name] = now()
            self._store.signal(name, signal.SIGTERM)

    def _end(self, fault: Fault) -> None:
        if fault in self._rules:
            self._store.proxies.lift(self._rules.pop(fault))
        for name in fault.nodes:
            if fault in self._still[name]:
                self._still[name].discard(fault)
                if not self._still[name]:
                    self._store.signal(name, signal.SIGCONT)
            self._down[name].discard(fault)
            self._rise(name)

    def _rise(self, name: str) -> None:
        """Start it, if it is down and nothing holds it there; one that is still ending is waited for."""
        if self._down[name] or (self._store.alive(name) and name not in self._expected):
            return
        if self._store.alive(name):
            self._hurry(name)
            self._at(now() + AGAIN, lambda: self._rise(name))
            return
        self._note_exit(name)
        self._expected.discard(name)
        self._stopping.pop(name, None)
        self._still[name].clear()
        self._store.start(name)

    def _hurry(self, name: str) -> None:
        since = self._stopping.get(name)
        if since is not None and not self._still[name] and now() > since + STOP_SECONDS:
            self._wrong(f"{name} has not ended {STOP_SECONDS:g} s after SIGTERM")
            self._store.kill9(name)

    # ---- what happens unasked

    def _note_exit(self, name: str) -> None:
        code = self._store.exit_code(name)
        fine = {0, -signal.SIGTERM, -signal.SIGKILL} if name in self._expected else set()
        if code is not None and code not in fine:
            said = self._store.errors(name).strip().splitlines()[-1:] or self._store.log(name).splitlines()[-1:]
            self._wrong(f"{name} ended by itself, exit code {code}: {' '.join(said)}")

    def _look_after(self) -> None:
        """A node that ended by itself is a finding; it is started again all the same."""
        for name in self._store.names:
            if not self._store.alive(name) and name not in self._expected:
                self._note_exit(name)
                self._expected.add(name)
                self._at(now() + 1.0, lambda name=name: self._rise(name))  # type: ignore[misc]

    def _wrong(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)
