"""What a log surely does not hold: never wrong about what it holds, seldom in vain about what it does not."""

from hypothesis import given
from hypothesis import strategies as st

from pygmy.replication.opids import OpIds


@given(st.sets(st.text(max_size=40), max_size=200))
def test_whatever_was_added_is_known(op_ids: set[str]) -> None:
    known = OpIds(complete=True)
    for op_id in op_ids:
        known.add(op_id)
    assert all(op_id in known for op_id in op_ids)


def test_of_what_was_not_added_next_to_nothing_is_taken_for_known() -> None:
    known = OpIds(complete=True)
    assert "c:0" not in known
    for number in range(100_000):
        known.add(f"c:{number}")
    assert sum(f"d:{number}" in known for number in range(10_000)) < 3
