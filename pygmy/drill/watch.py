"""What nodes say of themselves while a drill is under way: the lanes of its timeline."""

import threading

from msgspec import Struct

from pygmy.drill.history import now
from pygmy.drill.shop import Shop

EVERY = 0.2  # seconds
SAY_SECONDS = 1.0


class Stay(Struct):
    """A node was in one state for some time. `state`: what it said, with its epoch; else `down` or `silent`."""

    start: float
    end: float
    state: str
    epoch: int | None
    well: bool


class Watch:
    """Looks at every node again and again, each from a thread of its own: one that stands still answers nobody."""

    def __init__(self, store: Shop) -> None:
        self._store = store
        self._over = threading.Event()
        self.stays: dict[str, list[Stay]] = {name: [] for name in store.names}
        self._threads = [threading.Thread(target=self._run, args=(name,), daemon=True) for name in store.names]

    def start(self) -> None:
        """From now on."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """That is all."""
        self._over.set()
        for thread in self._threads:
            thread.join(2 * SAY_SECONDS)

    def _run(self, name: str) -> None:
        while not self._over.is_set():
            asked = now()
            health = self._store.health(name, SAY_SECONDS)
            self._note(name, asked, health)
            self._over.wait(EVERY)

    def _note(self, name: str, asked: float, health: dict[str, object]) -> None:
        state, epoch, well = "silent" if self._store.alive(name) else "down", None, False
        if health:
            state, number, well = str(health["state"]), health["epoch"], health["message"] == "Healthy"
            epoch = number if isinstance(number, int) else None
        stays = self.stays[name]
        if stays and (stays[-1].state, stays[-1].epoch, stays[-1].well) == (state, epoch, well):
            stays[-1].end = now()
            return
        if stays:
            stays[-1].end = asked
        stays.append(Stay(asked, now(), state, epoch, well))
