"""One run: open a store, let faults and clients loose, heal, look at what is left, judge."""

import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from pygmy.checker import check
from pygmy.checker.history import load
from pygmy.drill.harvest import compare, copies, records
from pygmy.drill.history import Recorder, now
from tests.chaos.clients import BOOKS, Crowd
from tests.chaos.faults import Faults
from tests.chaos.gaps import gaps_after, told
from tests.chaos.schedule import KINDS, Fault, schedule
from tests.chaos.store import Store

STEP = 0.05
PROGRESS = 5.0
QUIET = 3.0  # the reconciler looks once a second, at sales that are older than one


class Settings(Struct, frozen=True):
    """What is to be done. `patience`: seconds, for all to be well again; `bug` is to prove that this can fail."""

    seconds: float = 120.0
    seed: int = 7
    kinds: tuple[str, ...] = KINDS
    catalogs: int = 2
    orders: int = 2
    frontends: int = 2
    rate: float = 100.0
    every: float = 3.5
    patience: float = 30.0
    bug: str | None = None


class Report(Struct, frozen=True):
    """`problems` (none: the run is sound), and the summary for people. `history`: the file."""

    problems: tuple[str, ...]
    summary: str
    history: Path
    acknowledged: int
    faults: dict[str, int]

    @property
    def ok(self) -> bool:
        """True if nothing is wrong."""
        return not self.problems


Say = Callable[[str], None]


def run(directory: Path, settings: Settings, say: Say, plan: Sequence[Fault] | None = None) -> Report:
    """A whole run, by this plan or by that of the seed. Call it in the main thread. It leaves no process behind."""
    return _Run(directory, settings, say).run(plan)


class _Run:
    def __init__(self, directory: Path, settings: Settings, say: Say) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._settings, self._say = settings, say
        self._store = Store(
            directory,
            catalogs=settings.catalogs,
            orders=settings.orders,
            frontends=settings.frontends,
            books=BOOKS,
            bug=settings.bug,
        )
        self._recorder = Recorder(directory / "history.jsonl")
        self._problems: list[str] = []
        self._settled: float | None = None

    def run(self, plan: Sequence[Fault] | None) -> Report:
        settings, store = self._settings, self._store
        if plan is None:
            plan = schedule(settings.seed, settings.seconds, settings.kinds, store.cluster, settings.every)
        try:
            store.open()
            faults = Faults(store, plan, self._say)
            crowd = Crowd(store, self._recorder, settings.seed, settings.rate, settings.patience)
            with self._progress(faults):
                self._let_loose(faults, crowd)
            self._stop()
        finally:
            store.close()
        self._problems += faults.problems
        return self._judged(faults)

    # ---- the course of a run

    def _let_loose(self, faults: Faults, crowd: Crowd) -> None:
        crowd.start()
        end = now() + self._settings.seconds
        while now() < end:
            faults.step()
            time.sleep(STEP)
        self._say("everything is healed")
        healed = now()
        faults.heal()
        crowd.shop.healed = now()
        if self._wait(self._store.is_whole, faults):
            self._settled = now() - healed
        else:
            self._problems.append(f"the store is not whole {self._settings.patience:g} s after everything was healed")
        crowd.finish()
        self._problems += crowd.probe()
        if not self._wait(_Rest(self._store), faults):
            self._problems.append(f"the replicas have not come to rest within {self._settings.patience:g} s")
        crowd.finish()

    def _wait(self, condition: Callable[[], bool], faults: Faults) -> bool:
        end = now() + self._settings.patience
        while now() < end:
            faults.step()
            if condition():
                return True
            time.sleep(STEP)
        return False

    def _stop(self) -> None:
        try:
            codes = self._store.stop_all()
        except subprocess.TimeoutExpired as error:
            self._problems.append(f"a node does not stop: {error}")
            return
        self._problems += [
            f"{name} was stopped and ended with exit code {code}"
            for name, code in codes.items()
            if code not in (0, -15)
        ]

    # ---- the verdict

    def _judged(self, faults: Faults) -> Report:
        recorder, settings = self._recorder, self._settings
        found = copies(self._store)
        recorder.add(*records(found))
        recorder.close()
        with recorder.path.open("rb") as file:
            verdict = check(load(file), quiet=True)
        problems = (*self._problems, *recorder.problems, *compare(found), *verdict.problems)
        moments = sorted(recorder.acknowledged)
        gaps = gaps_after(moments, [at for at, _ in faults.kills], faults.begun)
        whole = "never" if self._settled is None else f"{self._settled:.1f} s after that"
        looked = (
            f"{verdict.writes} writes ({verdict.unknown} unanswered), {verdict.reads} reads, {verdict.logged} logged"
        )
        lines = [
            f"seed {settings.seed}, {settings.seconds:g} s of {', '.join(settings.kinds)}",
            f"healed then, and whole {whole}",
            f"faults:   {_counts(faults.counts)}",
            f"requests: {_counts(recorder.outcomes)}",
            f"acknowledged writes: {len(moments)}; longest gap after each kill of a replica: {told(gaps)}",
            *problems[:20],
            *([f"... and {len(problems) - 20} problems more"] if len(problems) > 20 else []),
            f"{'BROKEN' if problems else 'sound'}: {looked}",
        ]
        return Report(problems, "\n".join(lines), recorder.path, len(moments), dict(faults.counts))

    # ---- while it runs

    @contextmanager
    def _progress(self, faults: Faults) -> Iterator[None]:
        """A line every few seconds, from a thread of its own: a node that stands still answers nobody."""
        over = threading.Event()
        started = now()

        def tell() -> None:
            while not over.wait(PROGRESS):
                states = " ".join(_state(name, self._store.health(name)) for name in self._store.names)
                done = f"{len(self._recorder.acknowledged)} acknowledged; {_counts(self._recorder.outcomes)}"
                wrong = len(self._recorder.problems) + len(faults.problems)
                trouble = f"; {wrong} PROBLEMS" if wrong else ""
                self._say(f"{now() - started:7.1f} s  {_counts(faults.counts)} | {done} | {states}{trouble}")

        teller = threading.Thread(target=tell, daemon=True)
        teller.start()
        try:
            yield
        finally:
            over.set()
            teller.join()


class _Rest:
    """Call it again and again: true once the replicas of each tier have had one and the same head for a while."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen: list[set[object]] = []
        self._since = now()

    def __call__(self) -> bool:
        tiers = (self._store.cluster.catalogs, self._store.cluster.orders)
        heads = [{self._store.health(node.name).get("head") for node in tier} for tier in tiers]
        if heads != self._seen or any(len(head) != 1 or None in head for head in heads):
            self._seen, self._since = heads, now()
        return now() - self._since > QUIET


def _state(name: str, health: dict[str, object]) -> str:
    return f"{name} {health.get('state', '-')}/{health.get('epoch', '-')}"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{what} {number}" for what, number in sorted(counts.copy().items())) or "none"
