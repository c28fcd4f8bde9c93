"""Something done again and again beside what is under way."""

import threading
from collections.abc import Callable


class Ticker:
    """Calls `tick` every so many seconds, from a thread of its own."""

    def __init__(self, tick: Callable[[], None], every: float) -> None:
        self._tick, self._every = tick, every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._over.wait(self._every):
            self._tick()

    def start(self) -> None:
        """From now on."""
        self._thread.start()

    def stop(self) -> None:
        """Never again, once this returns."""
        self._over.set()
        self._thread.join()
