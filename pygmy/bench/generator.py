"""A load generator of our own: `python -m pygmy.bench.generator LOAD.json TAKEN.json`, one process of it.

Plain sockets and a selector. It measures the time that it computes itself, to say when it is what limits.
"""

import itertools
import selectors
import sys
import time
from pathlib import Path

import msgspec

from pygmy.bench.loads import Load, Taken
from pygmy.bench.schedule import Schedule
from pygmy.bench.statistics import percentile
from pygmy.bench.wire import BadAnswer, Connection, request_bytes
from pygmy.private import trusting

LAST = 5.0  # seconds for what is still under way at the end
OPEN_FAILURE_PAUSE = 0.01


class Generator:
    """One run of a load on this process."""

    def __init__(self, load: Load) -> None:
        self._load = load
        prepared = [request_bytes(load.host, load.port, method, path, load.headers) for method, path in load.requests]
        self._requests = itertools.cycle(prepared)
        self._selector = selectors.DefaultSelector()
        self._under_way: set[Connection] = set()
        self._free: list[Connection] = []
        self._latencies: list[float] = []
        self._late: list[float] = []
        self._errors = 0
        self._counts_from = 0.0
        self._schedule: Schedule | None = None

    def run(self) -> Taken:
        """Open all connections, work, and close them."""
        load = self._load
        trust = None if load.ca is None else trusting(load.ca)
        self._free = [Connection(load.host, load.port, trust) for _ in range(load.clients)]
        for connection in self._free:
            self._selector.register(connection.socket, selectors.EVENT_READ, connection)
        begin = time.perf_counter()
        self._counts_from = begin + load.warmup
        end = self._counts_from + load.seconds
        if load.rate is not None:
            self._schedule = Schedule(load.rate, begin, end)
        computed = time.process_time()
        self._work(end)
        over = time.perf_counter()
        answered = len(self._latencies)
        self._wait_for_the_last(over + LAST)
        self._count_unanswered()
        busy = (time.process_time() - computed) / (time.perf_counter() - begin)
        late = percentile(sorted(self._late), 99) if self._late else 0.0
        return Taken(self._latencies, answered, self._errors, max(over - self._counts_from, 0.0), busy, late)

    # ---- the two loops

    def _work(self, end: float) -> None:
        while (now := time.perf_counter()) < end and not self._enough():
            wait = end - now
            if self._schedule is None:
                self._send_all(now)
            else:
                self._send_due(self._schedule, now)
                if (due := self._schedule.upcoming) is not None:
                    wait = max(0.0, min(wait, due - now))
            self._answers(wait)

    def _enough(self) -> bool:
        return self._load.count is not None and len(self._latencies) >= self._load.count

    def _send_all(self, now: float) -> None:
        while self._free:
            self._send(self._free.pop(), now)

    def _send_due(self, schedule: Schedule, now: float) -> None:
        schedule.pass_to(now)
        waited = len(schedule.waiting) > len(self._free)
        while self._free and (due := schedule.take()) is not None:
            if not waited and due >= self._counts_from:
                self._late.append(now - due)
            self._send(self._free.pop(), due)

    def _send(self, connection: Connection, since: float) -> None:
        self._under_way.add(connection)
        try:
            connection.send(next(self._requests), since)
        except OSError:
            self._failed(connection)

    # ---- answers

    def _answers(self, wait: float) -> None:
        for key, _ in self._selector.select(wait):
            connection: Connection = key.data
            try:
                answer = connection.receive()
            except (OSError, BadAnswer):
                self._failed(connection)
                continue
            if answer is not None and connection in self._under_way:
                self._answered(connection, *answer)

    def _answered(self, connection: Connection, status: int, closed: bool) -> None:
        if connection.since >= self._counts_from:
            if 200 <= status < 400:
                self._latencies.append(time.perf_counter() - connection.since)
            else:
                self._errors += 1
        self._under_way.discard(connection)
        if closed:
            self._reconnect(connection)
        else:
            self._free.append(connection)

    def _failed(self, connection: Connection) -> None:
        if connection in self._under_way and connection.since >= self._counts_from:
            self._errors += 1
        self._under_way.discard(connection)
        self._reconnect(connection)

    def _reconnect(self, connection: Connection) -> None:
        """A client without a server that it can reach drops out: it would only count failures."""
        self._selector.unregister(connection.socket)
        for _ in range(3):
            try:
                connection.again()
            except OSError:
                time.sleep(OPEN_FAILURE_PAUSE)
            else:
                self._selector.register(connection.socket, selectors.EVENT_READ, connection)
                self._free.append(connection)
                return

    # ---- the end

    def _wait_for_the_last(self, deadline: float) -> None:
        """An open loop also sends what is still waiting: those are the slowest."""
        while (now := time.perf_counter()) < deadline:
            if self._schedule is not None:
                self._send_due(self._schedule, now)
            if not self._under_way:
                break
            self._answers(deadline - now)

    def _count_unanswered(self) -> None:
        waiting = () if self._schedule is None else self._schedule.waiting
        self._errors += sum(due >= self._counts_from for due in waiting)
        self._errors += sum(one.since >= self._counts_from for one in self._under_way)
        for key in list(self._selector.get_map().values()):
            key.data.socket.close()
        self._selector.close()


def main(arguments: list[str]) -> None:
    """Read the load, run it, write down what it saw."""
    load, taken = (Path(argument) for argument in arguments)
    seen = Generator(msgspec.json.decode(load.read_bytes(), type=Load)).run()
    taken.write_bytes(msgspec.json.encode(seen))


if __name__ == "__main__":
    main(sys.argv[1:])
