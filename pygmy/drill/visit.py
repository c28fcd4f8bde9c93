"""One drill at a store that others run, with requests alone: judged by what customers are told."""

import random
from pathlib import Path

from pygmy.checker import Verdict
from pygmy.checker.history import Orders, load
from pygmy.checker.outside import check_from_outside
from pygmy.drill.answers import order_of
from pygmy.drill.drills import Drill
from pygmy.drill.foreign import ForeignStore
from pygmy.drill.history import Recorder, now
from pygmy.drill.run import Result, Settings, attempted, judged, result_of
from pygmy.drill.shop import Wares
from pygmy.drill.stage import Stage
from pygmy.drill.stall import BOOK, TITLES, Stall, new_prefix
from pygmy.drill.traffic import Diary, Traffic
from pygmy.drill.watch import Watch
from pygmy.drill.wire import TRY_SECONDS

LOGS = "that takes the logs of all replicas (pygmy audit)"
UNCHECKED = (
    f"all copies are the same: {LOGS}",
    f"what was never answered took effect once or not at all: {LOGS}",
    "no node ends by itself: that takes the nodes' own machines",
)
WITHOUT_TOKEN = (
    f"what is left of a book is what was there, less what was sold: others may be buying book {BOOK}, too",
    "every order that was answered is in the list of orders, and no other: that takes the admin token",
)
MOST_PAGES = 50


class Visit:
    """One drill. `token`: the shopkeeper's; without it book 1 is bought. `left`: books that we could not remove."""

    def __init__(
        self, drill: Drill, settings: Settings, folder: Path, store: ForeignStore, token: str | None = None
    ) -> None:
        self.drill, self._settings, self._folder = drill, settings, folder
        self.stage: Stage | None = None  # once it is open
        self.left: list[int] = []
        self._store = store
        prefix = new_prefix()
        self._stall = Stall(store, token, prefix, settings.patience) if token is not None else None
        self._prefix = prefix
        self._verdict: Verdict | None = None

    def run(self) -> Result:
        """Whatever ends it, no customer and no book of ours is left there, if that can be."""
        started, settings = now(), self._settings
        self._folder.mkdir(parents=True, exist_ok=True)
        recorder = Recorder(self._folder / "history.jsonl")
        seed = f"{settings.seed} {self.drill.name}"
        diary, watch = Diary(recorder), Watch(self._store)
        traffic = Traffic(self._store, diary, seed, settings.patience, prefix=self._prefix)
        stage = Stage(self._store, traffic, diary, watch, random.Random(seed), settings.patience)
        self.stage = stage
        try:
            self._perform(stage, recorder)
        finally:
            traffic.stop(TRY_SECONDS)
            watch.stop()
            self.left = [] if self._stall is None else self._stall.close()
            recorder.close()
        if self._stall is not None:
            seen = ", ".join(f"pygmy remove {item}" for item in self.left)
            stage.promise("its own books are gone afterwards", not self.left, f"left: {seen}" if seen else "removed")
        return result_of(self.drill, stage, now() - started, self._verdict)

    def _perform(self, stage: Stage, recorder: Recorder) -> None:
        stage.unchecked += [*UNCHECKED, *(WITHOUT_TOKEN if self._stall is None else ())]
        stage.watch.start()
        if attempted(stage, "there is something to buy", lambda: self._lay_out(stage)):
            stage.began = now()
            attempted(stage, "the drill comes to its end", lambda: self.drill.run(stage))
        stage.traffic.stop(stage.patience + TRY_SECONDS)
        attempted(stage, "what it bought can be looked at afterwards", lambda: self._look(stage))
        stage.watch.stop()
        recorder.close()
        own = [] if self._stall is None else self._stall.books
        with recorder.path.open("rb") as file:
            self._verdict = check_from_outside(load(file), own)
        judged(stage, recorder, self._verdict, "every answer was true, as far as customers can tell (the checker)")

    def _lay_out(self, stage: Stage) -> None:
        if self._stall is not None:
            stage.traffic.wares = self._stall.open()
            return
        found = stage.until(lambda: self._store.get("", f"/books/{BOOK}"), f"book {BOOK}")
        if found.status != 200:
            raise ValueError(f"book {BOOK}: {found.status}")
        stage.traffic.wares = Wares([BOOK], [found.json["topic"]], [BOOK] * TITLES, (), sole=False)

    def _look(self, stage: Stage) -> None:
        """What is left of each book, and the orders from the first of ours on."""
        if self._stall is None:
            return
        client = stage.client()
        for book in self._stall.books:
            client.lookup(book.item)
        client.close()
        self._orders(stage)

    def _orders(self, stage: Stage) -> None:
        assert self._stall is not None
        first = stage.diary.first_order
        after, more = (first or 1) - 1, first is not None
        for _ in range(MOST_PAGES):
            if not more:
                return
            asked = now()
            told, more = self._stall.orders(after)
            orders = tuple(map(order_of, told))
            stage.diary.recorder.add(Orders("shopkeeper", after, orders, more, asked, now(), public=True))
            after += len(orders)
