"""Which op_ids a log surely does not hold beyond what is in memory: a Bloom filter (Bloom 1970)."""

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
        place, step = _first_and_step(op_id)
        for _ in range(_PROBES):
            bits[place >> 3] |= 1 << (place & 7)
            place = (place + step) % _BITS

    def __contains__(self, op_id: str) -> bool:
        bits = self._bits
        if not bits:
            return False
        place, step = _first_and_step(op_id)
        for _ in range(_PROBES):
            if not bits[place >> 3] >> (place & 7) & 1:
                return False  # mostly the very first bit tells
            place = (place + step) % _BITS
        return True


def _first_and_step(op_id: str) -> tuple[int, int]:
    """Where its bits are: two hashes make as many as are wanted (Kirsch and Mitzenmacher 2006)."""
    whole = hash(op_id)
    return whole % _BITS, whole >> 32 | 1
