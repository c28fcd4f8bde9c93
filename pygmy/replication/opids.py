"""Which op_ids a log surely does not hold beyond what is in memory: a Bloom filter (Bloom 1970)."""

from collections.abc import Iterator

_BITS = 1 << 25  # 4 MiB: of a million op_ids, one in 1,500 others is taken for known; of ten million, one in five
_PROBES = 3


class OpIds:
    """A set that forgets nothing and may take an op_id for known that is not: then the disk is searched in vain.

    Python's hash of a string is another one in each process, so nobody can choose keys that are taken for each other.
    `complete`: it has all that are on disk and not in memory; before that it says nothing about what it lacks.
    """

    def __init__(self, complete: bool) -> None:
        self.complete = complete
        self._bits = bytearray()  # until there is something to know

    def add(self, op_id: str) -> None:
        """From now on it is known."""
        if not self._bits:
            self._bits = bytearray(_BITS // 8)
        bits = self._bits
        for place in _places(op_id):
            bits[place >> 3] |= 1 << (place & 7)

    def __contains__(self, op_id: str) -> bool:
        bits = self._bits
        # Mostly the very first bit tells, so the others are not worked out before.
        return bool(bits) and all(bits[place >> 3] >> (place & 7) & 1 for place in _places(op_id))


def _places(op_id: str) -> Iterator[int]:
    """Its bits: two hashes make as many as are wanted (Kirsch and Mitzenmacher 2006)."""
    whole = hash(op_id)
    first, step = whole & 0xFFFFFFFF, whole >> 32 | 1
    for number in range(_PROBES):
        yield (first + number * step) % _BITS
