"""Whose turn it is."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pygmy.balancing.balancer import Balancer
from pygmy.errors import Problem

ABC = ("a", "b", "c")


def balancer(*running: str, of: tuple[str, ...] = ABC) -> Balancer:
    made = Balancer("catalog", of)
    for name in of:
        made.serves(name) if name in running else made.down(name, "refused")
    return made


def test_round_robin_goes_to_each_replica_in_turn() -> None:
    turns = balancer(*ABC)
    assert [turns.candidates() for _ in range(4)] == [
        ("a", "b", "c"),
        ("b", "c", "a"),
        ("c", "a", "b"),
        ("a", "b", "c"),
    ]


@given(
    st.integers(1, 9).flatmap(
        lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1), min_size=1), st.integers(0, 60))
    )
)
def test_equal_requests_are_spread_evenly_over_the_healthy(case: tuple[int, set[int], int]) -> None:
    size, healthy, requests = case
    names = tuple(map(str, range(size)))
    turns = balancer(*map(str, healthy), of=names)
    got = Counter(turns.candidates()[0] for _ in range(requests))
    counts = [got[str(name)] for name in healthy]
    assert sum(counts) == requests
    assert max(counts) - min(counts) <= 1


def test_a_neighbour_of_a_dead_replica_does_not_get_its_share_too() -> None:
    turns = balancer("a", "c")
    assert Counter(turns.candidates()[0] for _ in range(10)) == {"a": 5, "c": 5}


def test_with_all_replicas_down_it_refuses_at_once_instead_of_spinning() -> None:
    with pytest.raises(
        Problem, match=r"No catalog server can be reached \(a: refused, b: refused, c: refused\)"
    ) as caught:
        balancer().candidates()
    assert (caught.value.status, caught.value.retry_after, caught.value.outcome_unknown) == (503, 1, False)


def test_tiers_do_not_share_a_turn() -> None:
    catalog, order = Balancer("catalog", ("a", "b")), Balancer("order", ("a", "b"))
    # With one index for both, who reads an order after a book would always meet the same order server.
    first = [(catalog.candidates()[0], order.candidates()[0]) for _ in range(2)]
    catalog.candidates()
    assert first == [("a", "a"), ("b", "b")]
    assert (catalog.candidates()[0], order.candidates()[0]) == ("b", "a")


def test_a_write_goes_to_the_first_that_serves_and_takes_nobodys_turn() -> None:
    turns = balancer(*ABC)
    assert turns.candidates() == ("a", "b", "c")
    assert [turns.candidates(write=True) for _ in range(3)] == [("a", "b", "c")] * 3
    assert turns.candidates() == ("b", "c", "a")
    turns.down("a", "refused")
    assert turns.candidates(write=True) == ("b", "c")


def test_those_that_sync_or_let_a_request_go_unanswered_come_last() -> None:
    turns = balancer(*ABC)
    turns.doubtful("a", "timeout")
    turns.syncing("b", "SYNC")
    assert [turns.candidates() for _ in range(2)] == [("c", "a", "b"), ("c", "a", "b")]
    turns.serves("a")
    assert turns.candidates()[:2] in [("a", "c"), ("c", "a")]


def test_the_hopeful_are_tried_in_turn_when_none_serves() -> None:
    turns = Balancer("order", ("a", "b"))
    assert [turns.candidates() for _ in range(2)] == [("a", "b"), ("b", "a")]


def test_a_request_that_timed_out_does_not_revive_a_dead_replica() -> None:
    turns = balancer("b", of=("a", "b"))
    turns.doubtful("a", "timeout")
    assert turns.candidates() == ("b",)
