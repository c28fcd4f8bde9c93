"""The front end's caches: what is served, what is dropped, and for how long."""

from collections import Counter
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pygmy.caching.cache import DRIFT, Answered, BookOf, Cache, Leases, PageOf, Stored, Thing
from pygmy.messages.internal import Session

ONE = BookOf(1)
S1: Session = (1, 1)
S2: Session = (1, 2)
OLD, NEW = Stored(b"old"), Stored(b"new")


class Counts:
    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()

    def hit(self, cache: str) -> None:
        self.seen[f"{cache} hit"] += 1

    def miss(self, cache: str) -> None:
        self.seen[f"{cache} miss"] += 1

    def evicted(self, cache: str) -> None:
        self.seen[f"{cache} evicted"] += 1


def new_cache(books: int = 10, lists: int = 10) -> Cache[str]:
    return Cache(Counts(), books=books, lists=lists)


def fill(
    cache: Cache[str],
    thing: Thing = ONE,
    stored: Stored | None = OLD,
    *,
    replica: str = "a",
    session: Session | None = S1,
    lease: float = 1.0,
    at: float = 0.0,
) -> bool:
    flight = cache.flights.begin(thing, thing.key, ["w"], at)
    cache.flights.depart(flight, at)
    return cache.land(flight, Answered(replica, session, lease, stored), at)[2]


def test_a_fill_is_served_while_its_lease_holds_less_the_drift_of_the_clocks() -> None:
    cache = new_cache()
    assert fill(cache, lease=1.0, at=10.0)
    end = 10.0 + 1.0 * (1 - DRIFT)
    assert cache.get(ONE, 10.0) is OLD
    assert cache.get(ONE, end - 0.001) is OLD
    assert cache.get(ONE, end) is None


def test_the_lease_counts_from_when_the_request_was_sent_not_from_its_answer() -> None:
    cache = new_cache()
    flight = cache.flights.begin(ONE, ONE.key, ["w"], 0.0)
    cache.flights.depart(flight, 0.0)
    cache.land(flight, Answered("a", S1, 1.0, OLD), 0.9)
    assert cache.get(ONE, 0.97) is OLD
    assert cache.get(ONE, 0.99) is None


def test_a_renewal_extends_every_entry_of_the_session() -> None:
    cache = new_cache()
    fill(cache)
    fill(cache, BookOf(2))
    cache.leases.extend("a", S1, 1.0, 0.9, 0.95)
    assert cache.get(ONE, 1.8) is OLD
    assert cache.get(BookOf(2), 1.8) is OLD


def test_a_renewal_that_was_overtaken_does_not_shorten_the_lease() -> None:
    leases = Leases()
    leases.extend("a", S1, 1.0, 5.0, 5.1)
    leases.extend("a", S1, 1.0, 4.0, 5.2)
    assert leases.until("a", S1) == 5.0 + 0.98


def test_a_new_session_voids_all_entries_of_the_older_one_at_once() -> None:
    cache = new_cache()
    fill(cache)
    cache.leases.extend("a", S2, 0.0, 0.1, 0.1)
    assert cache.get(ONE, 0.1) is None
    cache.leases.extend("a", S2, 1.0, 0.2, 0.2)
    assert cache.get(ONE, 0.2) is None


def test_a_session_renewed_with_zero_seconds_serves_nothing() -> None:
    cache = new_cache()
    assert not fill(cache, lease=0.0)
    assert cache.get(ONE, 0.0) is None


def test_a_late_answer_of_an_older_session_changes_nothing() -> None:
    cache = new_cache()
    cache.leases.extend("a", S2, 1.0, 0.5, 0.5)
    assert not fill(cache, session=S1, at=0.4)
    assert cache.leases.session("a") == S2
    assert cache.get(ONE, 0.6) is None


def test_a_replica_that_lost_its_disk_and_counts_from_one_again_is_believed() -> None:
    leases = Leases()
    leases.extend("a", (7, 3), 1.0, 0.0, 0.1)
    leases.extend("a", (1, 0), 1.0, 0.05, 0.2)  # sent before (7, 3) was heard of: may be an old answer
    assert leases.session("a") == (7, 3)
    leases.extend("a", (1, 0), 1.0, 0.3, 0.4)
    assert leases.session("a") == (1, 0)


def test_sessions_of_different_replicas_are_different_things() -> None:
    cache = new_cache()
    fill(cache, replica="a")
    cache.leases.extend("b", S2, 1.0, 0.0, 0.0)
    assert cache.get(ONE, 0.5) is OLD


def test_an_invalidation_drops_what_came_from_its_replica() -> None:
    cache = new_cache()
    fill(cache)
    cache.invalidate("b", (ONE.key,))
    assert cache.get(ONE, 0.1) is OLD  # a's own invalidation is still to come, and a waits for its ack
    cache.invalidate("a", (ONE.key,))
    assert cache.get(ONE, 0.1) is None


def test_a_fill_that_races_an_invalidation_is_answered_once_and_not_stored() -> None:
    for replica in ("a", "b"):
        cache = new_cache()
        flight = cache.flights.begin(ONE, ONE.key, ["reader"], 0.0)
        cache.flights.depart(flight, 0.0)
        cache.invalidate(replica, (ONE.key,))
        assert cache.land(flight, Answered("a", S1, 1.0, OLD), 0.1) == (["reader"], [], False)
        assert cache.get(ONE, 0.1) is None


def test_someone_who_comes_after_an_invalidation_does_not_get_a_fill_from_before_it() -> None:
    cache = new_cache()
    flight = cache.flights.begin(ONE, ONE.key, ["early"], 0.0)
    cache.flights.depart(flight, 0.0)
    assert cache.flights.join(ONE, "meanwhile", 0.1)
    cache.invalidate("a", (ONE.key,))
    assert not cache.flights.join(ONE, "late", 0.1)
    again = cache.flights.begin(ONE, ONE.key, ["late"], 0.1)
    cache.flights.depart(again, 0.1)
    assert cache.land(flight, Answered("a", S1, 1.0, OLD), 0.2) == (["early", "meanwhile"], [], False)
    assert cache.land(again, Answered("a", S1, 1.0, NEW), 0.2) == (["late"], [], True)


def test_an_answer_without_a_lease_is_not_shared_with_who_came_after_its_request() -> None:
    # The replica did not register it, so nothing tells of a write between the read and their coming.
    cache = new_cache()
    flight = cache.flights.begin(ONE, ONE.key, ["first"], 0.0)
    cache.flights.depart(flight, 0.0)
    cache.flights.join(ONE, "second", 0.0)
    assert cache.land(flight, Answered("a", None, 0.0, OLD), 0.3) == (["first"], ["second"], False)


def test_a_lease_covers_only_those_who_came_before_its_end() -> None:
    cache = new_cache()
    flight = cache.flights.begin(ONE, ONE.key, ["first"], 0.0)
    cache.flights.depart(flight, 0.0)
    cache.flights.join(ONE, "in time", 0.9)
    cache.flights.join(ONE, "too late", 0.99)
    assert cache.land(flight, Answered("a", S1, 1.0, OLD), 1.5) == (["first", "in time"], ["too late"], False)


def test_who_came_before_the_try_that_succeeded_shares_it() -> None:
    cache = new_cache()
    flight = cache.flights.begin(ONE, ONE.key, ["first"], 0.0)
    cache.flights.depart(flight, 0.0)
    cache.flights.join(ONE, "second", 0.5)
    cache.flights.depart(flight, 1.0)
    assert cache.land(flight, Answered("b", None, 0.0, OLD), 1.1) == (["first", "second"], [], False)


def test_flights_leave_nothing_behind() -> None:
    cache = new_cache()
    for marked in (False, True):
        flight = cache.flights.begin(ONE, ONE.key, ["w"], 0.0)
        if marked:
            cache.flights.mark(ONE.key)
        cache.flights.land(flight)
    assert len(cache.flights) == 0
    assert not cache.flights.join(ONE, "w", 0.0)


def test_every_page_of_a_list_goes_with_its_key() -> None:
    cache = new_cache()
    pages: list[Thing] = [PageOf("rust", 0, 10), PageOf("rust", 10, 10), PageOf(None, 0, 10), PageOf("zig", 0, 10)]
    for page in pages:
        fill(cache, page)
    cache.invalidate("a", ("topic rust",))
    assert [cache.get(page, 0.1) for page in pages] == [None, None, OLD, OLD]
    cache.invalidate("a", ("books",))
    assert [cache.get(page, 0.1) for page in pages] == [None, None, None, OLD]


def test_what_is_not_there_is_not_cached() -> None:
    cache = new_cache()
    assert not fill(cache, PageOf("rust", 0, 10), None)
    assert cache.get(PageOf("rust", 0, 10), 0.0) is None
    assert cache.size("lists") == 0


def test_the_least_recently_used_entry_makes_room_and_is_counted() -> None:
    counts = Counts()
    cache: Cache[str] = Cache(counts, books=2, lists=1)
    fill(cache, BookOf(1))
    fill(cache, BookOf(2))
    cache.get(BookOf(1), 0.0)
    fill(cache, BookOf(3))
    fill(cache, PageOf(None, 0, 1))
    assert [cache.get(BookOf(item), 0.0) is not None for item in (1, 2, 3)] == [True, False, True]
    assert cache.size("books") == 2
    assert counts.seen == {"books hit": 3, "books miss": 1, "books evicted": 1}
    cache.invalidate("a", ("item 1", "item 2", "item 3", "books"))
    assert (cache.size("books"), cache.size("lists")) == (0, 0)


def test_one_book_can_be_dropped_by_hand_also_while_it_is_being_filled() -> None:
    cache = new_cache()
    fill(cache)
    flight = cache.flights.begin(ONE, ONE.key, ["w"], 0.0)
    cache.drop(1)
    assert cache.get(ONE, 0.0) is None
    assert not cache.land(flight, Answered("a", S1, 1.0, OLD), 0.0)[2]
    cache.drop(2)


# ---- against a model of the catalog

names = st.sampled_from("ab")


class Replica:
    """The catalog's side of the rules: registers fills, waits for acks or lapsed leases, moves sessions on."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.session = 0
        self.expiry = -1.0
        self.holds = False
        self.open: int | None = None


class CacheAgainstModel(RuleBasedStateMachine):
    """One book, two replicas, one front end; messages of any delay and order, some of them doubled.

    A write commits when each replica's front end has acked or lapsed. Whoever starts reading after that must not be
    given an older value: neither from the cache nor from a fill that was shared.
    """

    def __init__(self) -> None:
        super().__init__()
        self.cache: Cache[int] = Cache(Counts(), books=2, lists=2)
        self.now = 0.0
        self.replicas = {name: Replica(name) for name in "ab"}
        self.committed = self.written = 0
        self.floor: dict[int, int] = {}  # a reader -> the least value it may be given
        self.requests: dict[Any, str] = {}  # a flight under way -> the replica it was sent to last
        self.answers: dict[Any, Answered] = {}
        self.invalidations: list[tuple[str, int]] = []
        self.renewals: list[tuple[str, Session, float, float]] = []
        self.numbers = 0

    # ---- the front end

    def _send(self, flight: Any, replica: str) -> None:
        self.cache.flights.depart(flight, self.now)
        self.answers.pop(flight, None)
        self.requests[flight] = replica

    def _begin(self, readers: list[int], replica: str) -> Any:
        flight = self.cache.flights.begin(ONE, ONE.key, readers, self.now)
        self._send(flight, replica)
        return flight

    @rule(replica=names, answered=st.booleans(), landed=st.booleans())
    def read(self, replica: str, answered: bool, landed: bool) -> None:
        """A reader comes; of a fill that it starts, as much happens at once as is drawn."""
        stored = self.cache.get(ONE, self.now)
        if stored is not None:
            assert int(stored.body) >= self.committed
            return
        reader = len(self.floor)
        self.floor[reader] = self.committed
        if self.cache.flights.join(ONE, reader, self.now):
            return
        flight = self._begin([reader], replica)
        if answered:
            self._answer(flight)
        if landed and flight in self.answers:
            self._land(flight, replica)

    @precondition(lambda self: self.requests or self.answers)
    @rule(data=st.data(), replica=names)
    def try_the_next_replica(self, data: st.DataObject, replica: str) -> None:
        self._send(data.draw(st.sampled_from([*self.requests, *self.answers])), replica)

    @precondition(lambda self: self.answers)
    @rule(data=st.data(), replica=names)
    def land(self, data: st.DataObject, replica: str) -> None:
        self._land(data.draw(st.sampled_from(list(self.answers))), replica)

    def _land(self, flight: Any, replica: str) -> None:
        answer = self.answers.pop(flight)
        assert answer.stored is not None
        served, left, _ = self.cache.land(flight, answer, self.now)
        for reader in served:
            assert int(answer.stored.body) >= self.floor[reader]
        if left:
            self._begin(left, replica)

    @precondition(lambda self: self.invalidations)
    @rule(data=st.data(), acked=st.booleans())
    def obey(self, data: st.DataObject, acked: bool) -> None:
        """An invalidation arrives, perhaps once more than it was sent; its ack may be lost."""
        name, number = data.draw(st.sampled_from(self.invalidations))
        self.cache.invalidate(name, (ONE.key,))
        replica = self.replicas[name]
        if acked and replica.open == number:
            replica.open, replica.holds = None, False
        self._commit()

    @rule(name=names, late=st.booleans())
    def renew(self, name: str, late: bool) -> None:
        held, replica = self.cache.leases.session(name), self.replicas[name]
        if held is None or replica.open is not None:
            return
        left = 1.0 if held == (1, replica.session) else 0.0
        if left:
            replica.expiry = max(replica.expiry, self.now + left)
        renewal = (name, (1, replica.session), left, self.now)
        if late:
            self.renewals.append(renewal)
        else:
            self.cache.leases.extend(*renewal, self.now)

    @precondition(lambda self: self.renewals)
    @rule(data=st.data())
    def renewed(self, data: st.DataObject) -> None:
        self.cache.leases.extend(*data.draw(st.sampled_from(self.renewals)), self.now)

    # ---- the replicas

    @precondition(lambda self: self.requests)
    @rule(data=st.data(), registered=st.booleans())
    def answer(self, data: st.DataObject, registered: bool) -> None:
        self._answer(data.draw(st.sampled_from(list(self.requests))), registered)

    def _answer(self, flight: Any, registered: bool = True) -> None:
        """`registered` False: an invalidation of another book is open."""
        if self.written > self.committed:
            return  # pending: the read waits
        name = self.requests.pop(flight)
        replica, session = self.replicas[name], None
        if replica.open is None and registered:
            replica.holds, replica.expiry = True, max(replica.expiry, self.now + 1.0)
            session = (1, replica.session)
        stored = Stored(str(self.written).encode())
        self.answers[flight] = Answered(name, session, 1.0 if session else 0.0, stored)

    @precondition(lambda self: self.written == self.committed)
    @rule()
    def write(self) -> None:
        self.written += 1
        for replica in self.replicas.values():
            if replica.holds and self.now > replica.expiry:
                self._lapse(replica)
            elif replica.holds:
                self.numbers += 1
                replica.open = self.numbers
                self.invalidations.append((replica.name, self.numbers))
        self._commit()

    @rule(seconds=st.sampled_from([0.01, 0.5, 1.1]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        for replica in self.replicas.values():
            if replica.open is not None and self.now > replica.expiry:
                self._lapse(replica)
        self._commit()

    def _lapse(self, replica: Replica) -> None:
        replica.open, replica.holds = None, False
        replica.session += 1

    def _commit(self) -> None:
        if all(replica.open is None for replica in self.replicas.values()):
            self.committed = self.written

    @invariant()
    def a_hit_is_never_older_than_what_was_committed(self) -> None:
        stored = self.cache.get(ONE, self.now)
        assert stored is None or int(stored.body) >= self.committed


TestCacheAgainstModel = CacheAgainstModel.TestCase
TestCacheAgainstModel.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
