"""Cut links and frozen processes: the store goes on where it can, shows nobody what was true before, heals by itself.

Where links are cut, each node is on a host of its own. What is sent into a cut vanishes, and nobody is told: no
connection is refused or closed.
"""

import itertools
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from uuid import uuid4

import pytest

from pygmy.cluster import Node, Role
from tests.support.customers import PLENTY, Prices, assert_fresh, buy, customer, ledger_agrees
from tests.support.namespaces import Hosts, ScatteredStore, Unavailable
from tests.support.processes import (
    LONGEST,
    Crowd,
    Processes,
    Reply,
    address,
    burst,
    processes,
    read_reply,
    request_bytes,
    until,
)

Cut = Callable[[ScatteredStore, Sequence[str], Sequence[str]], None]
NO_LEASE = "The node's read lease has run out: it does not hear its peers."
NO_MAJORITY = "No majority of the nodes answers (only 3 of 6)"

_ids = itertools.count(1)
BOOKS: list[dict[str, object]] = []


def book() -> int:
    """One more book on the shelves; its id."""
    item = next(_ids)
    BOOKS.append({"id": item, "title": f"Book {item}", "topic": "graduate school", "cost": 10, "count": PLENTY})
    return item


WATCHED = [book() for _ in range(4)]  # their prices are
ALSO_WATCHED = [book() for _ in range(4)]
SOLD = [book() for _ in range(4)]  # each in one test


@pytest.fixture(scope="module")
def scattered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScatteredStore]:
    """The store whose links are cut, for all tests."""
    with ExitStack() as stack:
        try:
            store = ScatteredStore(tmp_path_factory.mktemp("scattered"), frontends=2, books=BOOKS)
        except Unavailable as missing:
            pytest.skip(str(missing))
        stack.callback(store.close)
        store.start()
        yield store


@pytest.fixture
def store(scattered: ScatteredStore) -> ScatteredStore:
    """Its six nodes are well and reach each other, whatever the test before has done to them."""
    scattered.heal()
    scattered.whole()
    return scattered


@pytest.fixture(scope="module")
def near(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Another one, on localhost, for what needs no hosts."""
    with processes(tmp_path_factory.mktemp("near"), frontends=2, books=BOOKS) as store:
        yield store


def both_ways(store: ScatteredStore, these: Sequence[str], those: Sequence[str]) -> None:
    """Nothing arrives."""
    store.cut(these, those)
    store.cut(those, these)


def deaf(store: ScatteredStore, these: Sequence[str], those: Sequence[str]) -> None:
    """These do not hear those, who do hear these."""
    store.cut(those, these)


def mute(store: ScatteredStore, these: Sequence[str], those: Sequence[str]) -> None:
    """These hear those, who do not hear these."""
    store.cut(these, those)


def warm(store: Processes, prices: Prices, door: str) -> None:
    """Have a front end keep all these books, each with a price of just now."""
    since = store.mark(door)
    prices.raise_all(door, patient=True)
    for item in prices.items:

        def kept(item: int = item) -> re.Match[str] | None:
            prices.look(door, item)
            return re.search(rf" cached item {item}$", store.log(door, since), re.MULTILINE)

        until(kept, f"book {item} in the cache of {door}", store.hints)


def assert_copies_agree(store: Processes) -> None:
    for role in (Role.CATALOG, Role.ORDER):
        store.tables_agree(role)


# ---- hosts


def test_a_cut_loses_in_silence_what_is_sent_one_way_and_nothing_else() -> None:
    try:
        hosts = Hosts(2)
    except Unavailable as missing:
        pytest.skip(str(missing))
    with ExitStack() as stack:
        stack.callback(hosts.close)
        ends = []
        for host in (0, 1):
            with hosts.on(host):
                ends.append(stack.enter_context(socket.socket(type=socket.SOCK_DGRAM)))
            ends[host].bind((hosts.address(host), 999))
            ends[host].settimeout(LONGEST)

        def send(host: int, what: bytes) -> None:
            ends[host].sendto(what, (hosts.address(1 - host), 999))

        hosts.cut({(0, 1)})
        send(0, b"lost")
        send(1, b"against the cut")
        assert ends[0].recv(99) == b"against the cut"
        hosts.heal()
        send(0, b"after it")
        assert ends[1].recv(99) == b"after it"


# ---- a replica of each tier is cut off


@pytest.mark.parametrize(
    ("cut", "off"),
    [
        (both_ways, ("catalog-1", "order-1")),
        (deaf, ("catalog-0", "order-0")),
        (mute, ("catalog-0", "order-0")),
    ],
)
def test_the_store_goes_on_without_replicas_that_are_cut_off_and_show_nothing_old(
    store: ScatteredStore, cut: Cut, off: Sequence[str]
) -> None:
    """Buyers insist, and readers ask every server, throughout. In the end the links are mended, and nothing else."""
    item = SOLD.pop()
    prices = Prices(store, WATCHED)
    doors = [node.name for node in (*store.cluster.frontends, *store.cluster.catalogs)]
    buyers = Crowd([customer(store, item)] * 4)
    with buyers, Crowd([prices.reader(door, patient=True) for door in doors]) as readers:
        prices.raise_all("frontend-0")
        buyers.reaches(8)
        cut(store, off, store.others(off))
        prices.raise_all("frontend-0", patient=True)
        for name in off:
            reply = look(store, name)
            assert reply.status == 503, "it cannot know what has changed since"
            assert NO_LEASE in reply.json["detail"]
        buyers.reaches(16)
        readers.reaches(16)
        store.heal()
        store.await_whole()
        buyers.reaches(16)
        readers.stop()
        bought = buyers.stop()
    ledger_agrees(store, item, bought)
    assert_copies_agree(store)


# ---- a front end is cut off from all catalogs


@pytest.mark.parametrize("cut", [both_ways, deaf, mute])
def test_writes_go_on_without_a_front_end_that_is_cut_off_with_a_full_cache_and_shows_nothing_old(
    store: ScatteredStore, cut: Cut
) -> None:
    """It keeps the very books that are changed."""
    prices = Prices(store, WATCHED)
    warm(store, prices, "frontend-1")
    cut(store, ["frontend-1"], [node.name for node in store.cluster.catalogs])
    prices.raise_all("frontend-0", patient=True)
    door = store.node("frontend-1")
    with store.inside("frontend-1"):
        replies = burst([(door, request_bytes("GET", f"/books/{item}")) for item in WATCHED * 5])
    for reply in replies:
        assert reply.status == 503, "there is nobody whom it could ask anew"
        assert "catalog" in reply.json["detail"]
    store.heal()
    for item in WATCHED:
        until(lambda item=item: prices.look("frontend-1", item).status == 200, "an answer", store.hints)  # type: ignore[misc]
    store.await_whole()


# ---- nobody has a majority


def test_halves_of_a_store_say_that_they_lack_a_majority_and_are_one_store_again_when_they_meet(
    store: ScatteredStore,
) -> None:
    """Neither half sells, or shows anything. Who wants to buy meanwhile, and insists, has one order in the end."""
    item = SOLD.pop()
    doors = [node.name for node in store.cluster.frontends]
    halves = [[node.name for node in store.cluster.nodes if node.index == half] for half in (0, 1)]
    both_ways(store, *halves)
    for node in (*store.cluster.catalogs, *store.cluster.orders):
        until_without_majority(store, node.name)
    wishes = {door: f"k-{uuid4()}" for door in doors}
    with ThreadPoolExecutor() as pool:
        buying = [pool.submit(buy, store, item, key, door) for door, key in wishes.items()]
        reading = [pool.submit(until_without_majority, store, door) for door in doors]
        assert [one.result().status for one in buying] == [503, 503]
        for read in reading:
            read.result()
    store.heal()
    store.await_whole()
    bought = [(key, buy(store, item, key, door).json["OrderId"]) for door, key in wishes.items()]
    ledger_agrees(store, item, bought)
    assert_copies_agree(store)


def look(store: Processes, name: str) -> Reply:
    """Look up what this node is there for."""
    return store.get(name, "/orders/1" if name.startswith("order") else f"/books/{WATCHED[0]}", store.admin)


def until_without_majority(store: Processes, name: str) -> None:
    """Wait until whoever asks this node is told so."""

    def told() -> bool:
        reply = look(store, name)
        return reply.status == 503 and NO_MAJORITY in reply.json["detail"]

    until(told, f"{name} without a majority", store.hints)


# ---- frozen


class Questions:
    """Books are looked up at a node that may freeze before they are asked for, and thaw before it answers.

    Every other request is one that a front end answers by its very bytes, if it can.
    """

    def __init__(self, node: Node, items: Sequence[int]) -> None:
        with ExitStack() as stack:
            self._lines = [
                (item, stack.enter_context(socket.create_connection(address(node), LONGEST))) for item in items
            ]
            self._stack = stack.pop_all()

    def ask(self) -> None:
        for number, (item, line) in enumerate(self._lines):
            plain = f"GET /books/{item} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
            line.sendall(request_bytes("GET", f"/books/{item}") if number % 2 else plain)

    def answers(self) -> Iterator[tuple[int, Reply]]:
        """In the order of the questions."""
        for item, line in self._lines:
            yield item, read_reply(line)

    def __enter__(self) -> "Questions":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def test_a_front_end_that_thaws_with_a_full_cache_shows_nothing_that_has_changed_since(near: Processes) -> None:
    """The questions are in its sockets when it wakes up; they were asked after the change had been acknowledged.

    The first changes wait for its lease to run out. From then on the catalogs count on its showing nothing that it
    keeps, and do not tell it of the changes that follow. It is asked for some of that later, under its new leases.
    """
    near.whole()
    told, untold = Prices(near, WATCHED), Prices(near, ALSO_WATCHED)
    warm(near, told, "frontend-1")
    warm(near, untold, "frontend-1")
    with Questions(near.node("frontend-1"), [*ALSO_WATCHED[:2], *WATCHED] * 10) as questions:
        near.freeze("frontend-1")
        told.raise_all("frontend-0")
        untold.raise_all("frontend-0")
        questions.ask()
        near.thaw("frontend-1")
        for item, reply in questions.answers():
            known = (told if item in told.items else untold).known(item)
            assert_fresh(reply, known, f"the thawed front end, of book {item},")
    near.await_whole()
    for item in ALSO_WATCHED:
        assert untold.look("frontend-1", item).status == 200


@pytest.mark.parametrize("victim", ["catalog-0", "catalog-1"])
def test_a_catalog_that_thaws_believing_in_its_lease_shows_nothing_that_has_changed_since(
    near: Processes, victim: str
) -> None:
    """Likewise. The front ends may keep what they had from it."""
    near.whole()
    prices = Prices(near, WATCHED)
    warm(near, prices, "frontend-0")
    warm(near, prices, "frontend-1")
    with Questions(near.node(victim), WATCHED * 16) as questions:
        near.freeze(victim)
        prices.raise_all("frontend-0")
        questions.ask()
        near.thaw(victim)
        for item, reply in questions.answers():
            assert_fresh(reply, prices.known(item), f"the thawed catalog, of book {item},")
        for door in ("frontend-0", "frontend-1"):
            for item in WATCHED:
                prices.look(door, item)
    near.await_whole()
