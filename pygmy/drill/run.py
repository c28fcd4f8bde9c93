"""One drill from its store's opening to the verdict."""

import http.client
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from pygmy.checker import Verdict, check
from pygmy.checker.history import load
from pygmy.datadir import log_path
from pygmy.drill.drills import Drill
from pygmy.drill.harvest import compare, copies, records, without_marks
from pygmy.drill.history import Recorder, now
from pygmy.drill.shop import shelves
from pygmy.drill.stage import Event, Promise, Stage
from pygmy.drill.traffic import Diary, Request, Traffic, Try
from pygmy.drill.watch import Stay, Watch
from pygmy.drill.wire import TRY_SECONDS
from pygmy.private import NeverCame, PrivateStore, ProxiedStore, private_directory, until
from pygmy.private.store import TWISTD

PATIENCE = 60.0  # seconds; on a quiet machine nothing takes a tenth of it
OPENING = 180.0  # seconds: what is tried has not begun yet, so that there is no hurry
REST = 2.5  # the reconciler looks once a second, at sales that are older than one


class Settings(Struct, frozen=True):
    """How drills are run. `node_command` takes the place of `python -m pygmy.cli.twistd`.

    `store`: the URL of the front end of a store that others run, in place of private ones.
    """

    seed: int = 7
    patience: float = PATIENCE
    node_command: Sequence[str] = TWISTD
    store: str = ""


class Result(Struct, frozen=True):
    """What was done, promised and seen; moments are seconds since the traffic began."""

    name: str
    title: str
    seconds: float
    began: float
    events: Sequence[Event] = ()
    promises: Sequence[Promise] = ()
    times: dict[str, float] = {}
    tries: Sequence[Try] = ()
    requests: Sequence[Request] = ()
    stays: dict[str, list[Stay]] = {}
    verdict: Verdict | None = None
    unchecked: Sequence[str] = ()  # promises that could not be checked, and why

    @property
    def ok(self) -> bool:
        """True if every promise was kept."""
        return bool(self.promises) and all(promise.kept for promise in self.promises)


class Performance:
    """One drill. `folder`: where its history is kept, and the nodes' logs if it fails."""

    def __init__(self, drill: Drill, settings: Settings, folder: Path) -> None:
        self.drill, self._settings, self._folder = drill, settings, folder
        self.stage: Stage | None = None  # once it is open
        self._verdict: Verdict | None = None

    def run(self) -> Result:
        """Call it in the main thread. Whatever ends it, no process is left."""
        started = now()
        self._folder.mkdir(parents=True, exist_ok=True)
        recorder = Recorder(self._folder / "history.jsonl")
        with private_directory("drill") as directory:
            store = self._store(directory)
            watch = Watch(store)
            try:
                self._perform(store, watch, recorder)
            finally:
                store.close()
                recorder.close()
                watch.stop()
            stage = self.stage
            assert stage is not None
            result = result_of(self.drill, stage, now() - started, self._verdict)
            if not result.ok:
                self._keep_logs(store)
        return result

    def _store(self, directory: Path) -> PrivateStore:
        kind = ProxiedStore if self.drill.proxied else PrivateStore
        options: dict[str, Any] = {"books": shelves(self.drill.own), "node_command": self._settings.node_command}
        return kind(directory, **options, **self.drill.options)

    def _perform(self, store: PrivateStore, watch: Watch, recorder: Recorder) -> None:
        settings, diary = self._settings, Diary(recorder)
        seed = f"{settings.seed} {self.drill.name}"
        traffic = Traffic(store, diary, seed, settings.patience)
        if isinstance(store, ProxiedStore):
            store.proxies.start()
        store.start()
        stage = Stage(store, traffic, diary, watch, random.Random(seed), settings.patience)
        self.stage = stage
        watch.start()
        if attempted(stage, "the store opens", lambda: _open(store)):
            stage.began = now()
            attempted(stage, "the drill comes to its end", lambda: self.drill.run(stage))
        self._end(stage, recorder)

    # ---- the end

    def _end(self, stage: Stage, recorder: Recorder) -> None:
        store = stage.store
        if isinstance(store, ProxiedStore):
            store.proxies.lift()
        for name in store.names:
            store.signal(name, signal.SIGCONT)
        stage.traffic.stop(stage.patience + TRY_SECONDS)
        gone = [name for name in store.names if not store.alive(name) and name not in stage.away]
        for name in gone:
            said = (store.log(name).splitlines() or [""])[-1].partition("] ")[2]
            stage.promise("no node ends by itself", False, f"{name}, exit code {store.exit_code(name)}: {said}")
        self._rest(stage, {*gone, *stage.away})
        stage.watch.stop()
        try:
            codes = store.stop_all()
        except subprocess.TimeoutExpired as error:
            stage.promise("nodes stop when they are told to", False, str(error))
            return
        here = {name: code for name, code in codes.items() if name not in (*gone, *stage.away)}
        if wrong := {name: code for name, code in here.items() if code not in (0, -signal.SIGTERM)}:
            stage.promise("nodes stop when they are told to", False, f"exit codes {wrong}")
        self._judge(stage, recorder, stage.away)

    def _rest(self, stage: Stage, gone: set[str]) -> None:
        """Wait until the copies of each tier that are left end with the same batch, and every sale has its order."""
        store = stage.store
        both = (store.cluster.catalogs, store.cluster.orders)
        tiers = [[node.name for node in tier if node.name not in gone] for tier in both]
        need = REST if any(not one.answered for one in stage.diary.requests) else 0.0
        seen: list[object] = [None, now()]

        def look() -> bool:
            heads = [{store.health(name, 2.0).get("head") for name in tier} for tier in tiers]
            if heads != seen[0]:
                seen[:] = [heads, now()]
            alike = all(len(head) == 1 and None not in head for head in heads if head)
            return alike and now() - float(str(seen[1])) >= need

        try:
            until(look, "equal heads", longest=stage.patience)
        except NeverCame as never:
            stage.promise("all copies of a tier come to be equal", False, str(never).splitlines()[0])

    def _judge(self, stage: Stage, recorder: Recorder, without: set[str]) -> None:
        found = copies(stage.store, without)
        recorder.add(*records(found))
        recorder.close()
        with recorder.path.open("rb") as file:
            verdict = self._verdict = check(load(file), quiet=True)
        judged(stage, recorder, verdict, "every answer was true, by the logs (the checker)")
        different = list(compare(list(map(without_marks, found))))
        stage.promise("all copies are the same", not different, "; ".join(different[:2]) or f"{len(found)} copies")

    def _keep_logs(self, store: PrivateStore) -> None:
        for name in store.names:
            for path in (log_path(store.data, name), store.directory / f"{name}.stderr"):
                if path.exists() and path.stat().st_size:
                    shutil.copy(path, self._folder / f"{name}{path.suffix}")


def judged(stage: Stage, recorder: Recorder, verdict: Verdict, text: str) -> bool:
    """Promise what the checker says."""
    looked = f"{verdict.writes} writes, {verdict.unknown} unanswered, {verdict.reads} reads"
    looked += f", {verdict.logged} in logs" if verdict.logged else ""
    problems = (*recorder.problems, *verdict.problems)
    seen = "; ".join(problems[:3]) or f"sound: {looked}"
    more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
    return stage.promise(text, not problems, seen + more)


def result_of(drill: Drill, stage: Stage, seconds: float, verdict: Verdict | None) -> Result:
    """What was seen on the stage."""
    return Result(
        drill.name,
        drill.title,
        seconds,
        stage.began,
        stage.events,
        stage.promises,
        stage.times,
        stage.diary.tries.copy(),
        stage.diary.requests.copy(),
        stage.watch.stays,
        verdict,
        stage.unchecked,
    )


def _open(store: PrivateStore) -> None:
    """Wait until the store is whole. Raises NeverCame, at once if a node has ended."""

    def look() -> bool:
        if gone := [name for name in store.names if not store.alive(name)]:
            raise NeverCame(f"{', '.join(gone)} ended at once")
        return store.is_whole()

    until(look, "a whole store", longest=OPENING)


def attempted(stage: Stage, text: str, act: Callable[[], object]) -> bool:
    """Carry it out. What ends it before its time is a promise that was not kept, and False."""
    try:
        act()
    except (NeverCame, OSError, http.client.HTTPException, subprocess.SubprocessError, ValueError) as error:
        return stage.promise(text, False, f"{type(error).__name__}: {str(error).splitlines()[0]}")
    return True
