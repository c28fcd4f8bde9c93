"""What a measurement works with: stores, loads, how much of everything, and somebody to tell how far it is."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, TypeVar

from pygmy.bench import loading, rivals
from pygmy.bench.customer import Customer
from pygmy.bench.loads import Load, Outcome, crowd
from pygmy.bench.stores import QUICK, STANDARD, BenchStore, Requests, Shape, opened
from pygmy.bench.wire import Headers
from pygmy.private import trusting

T = TypeVar("T")
WARMUP = 0.3


class Desk:
    """One for a whole run.

    `running`: the front end of a store that is measured as it is, in place of private ones. `peers`: other stores to
    be measured beside it; `missing`: which of them could not run, and why. `ca`: as of a Load, of `running`.
    """

    def __init__(
        self,
        *,
        quick: bool = False,
        running: tuple[str, int] | None = None,
        ca: str | None = None,
        peers: Sequence[str] = (),
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.quick = quick
        self.running, self._ca = running, ca
        self.tell = tell
        self.peers = tuple(peers)
        self.missing: dict[str, str] = {}
        self._warnings: list[str] = []
        self._kept: tuple[Shape, BenchStore] | None = None
        self._keeping = ExitStack()

    # ---- how much

    def either(self, quick: T, full: T) -> T:
        """The first in a quick run, else the second."""
        return quick if self.quick else full

    # ---- stores

    @contextmanager
    def store(self, shape: Shape) -> Iterator[BenchStore]:
        """A private store. A quick run keeps it for the next measurement that wants one of the same shape."""
        if not self.quick:
            self.tell("a store opens")
            with opened(shape) as store:
                yield store
            return
        if self._kept is None or self._kept[0] != shape:
            self.close()
            self.tell("a store opens")
            self._kept = (shape, self._keeping.enter_context(opened(shape)))
        yield self._kept[1]

    def close(self) -> None:
        """End a store that was kept."""
        self._kept = None
        self._keeping.close()

    def standard(self) -> AbstractContextManager[BenchStore]:
        """The store on which most is measured."""
        return self.store(self.either(QUICK, STANDARD))

    def plain(self, replicas: int) -> AbstractContextManager[BenchStore]:
        """One with so many catalogs and order servers; of its front ends `uncached` is the one to ask."""
        if self.quick and replicas == QUICK.catalogs:
            return self.standard()
        return self.store(Shape(catalogs=replicas, orders=replicas, caches=(False,)))

    @contextmanager
    def customer(self, server: tuple[str, int]) -> Iterator[Customer]:
        """Somebody who asks that server."""
        ca = self._ca_of(server)
        customer = Customer(server, None if ca is None else trusting(ca))
        try:
            yield customer
        finally:
            customer.close()

    @contextmanager
    def peer(self, name: str, stock: int) -> Iterator[tuple[str, int] | None]:
        """Where a peer with so many books answers; None if it cannot run, which is remembered."""
        self.tell(f"{name} opens")
        with ExitStack() as stack:
            server = None
            try:
                server = stack.enter_context(rivals.running(name, stock))
            except rivals.CannotRun as why:
                self.missing[name] = str(why)
            yield server

    # ---- loads

    def closed(
        self,
        what: str,
        server: tuple[str, int],
        requests: Requests,
        clients: int,
        seconds: float,
        headers: Headers = (),
    ) -> Outcome:
        """A closed loop, after a short one to warm up (not in a quick run); `what` names it to the person."""
        name = crowd(what, clients)
        self.tell(name)
        if not self.quick:
            loading.make(self._load(server, requests, clients=clients, seconds=WARMUP, headers=headers), own=True)
        load = self._load(server, requests, clients=clients, seconds=seconds, headers=headers)
        return self._noted(name, loading.make(load))

    def warm(self, server: tuple[str, int], requests: Requests) -> None:
        """Have each request made once or so, for what is to be in a cache."""
        loading.make(self._load(server, requests, clients=8, seconds=30.0, count=len(requests)), own=True)

    def open(
        self, what: str, server: tuple[str, int], requests: Requests, rate: float, clients: int, seconds: float
    ) -> Outcome:
        """An open loop of `rate` requests a second."""
        self.tell(f"{what}, {rate:.0f} requests/s")
        warmup = self.either(0.1, WARMUP)
        load = self._load(server, requests, clients=clients, seconds=seconds, rate=rate, warmup=warmup)
        return self._noted(f"{what}, {rate:.0f} requests/s", loading.make(load))

    def _load(self, server: tuple[str, int], requests: Requests, **more: Any) -> Load:
        return Load(*server, requests, ca=self._ca_of(server), **more)

    def _ca_of(self, server: tuple[str, int]) -> str | None:
        return self._ca if server == self.running else None

    def _noted(self, what: str, outcome: Outcome) -> Outcome:
        if outcome.doubt:
            self.warn(f"{what}: {outcome.doubt}")
        return outcome

    # ---- what is to be known of the numbers

    def warn(self, text: str) -> None:
        """Something that whoever reads the numbers must know."""
        if text not in self._warnings:
            self._warnings.append(text)

    def warnings(self) -> tuple[str, ...]:
        """All warnings since this was asked last."""
        found, self._warnings = tuple(self._warnings), []
        return found
