"""Whose turn it is among the replicas of one tier. Pure; every tier has a balancer, and a turn, of its own."""

from enum import Enum

from pygmy.errors import Problem, unavailable


class Standing(Enum):
    """What is known of a replica: it serves, it may come to serve, nobody knows, or it cannot be reached."""

    RUNNING = "running"
    SYNCING = "syncing"
    UNKNOWN = "unknown"
    DOWN = "down"


class Balancer:
    """Round robin over the replicas that serve. Before anything is heard of a replica it is unknown."""

    def __init__(self, tier: str, replicas: tuple[str, ...]) -> None:
        self.tier = tier
        self.requests = 0  # that have been dealt out so far
        self._replicas = replicas
        self._turn = 0
        self._standing = dict.fromkeys(replicas, Standing.UNKNOWN)
        self._why = dict.fromkeys(replicas, "not asked yet")
        self._rankings: dict[int, tuple[str, ...]] = {}

    def is_running(self, replica: str) -> bool:
        """It serves."""
        return self._standing[replica] is Standing.RUNNING

    def is_down(self, replica: str) -> bool:
        """It cannot be reached."""
        return self._standing[replica] is Standing.DOWN

    def why(self, replica: str) -> str:
        """What is wrong with it ("": nothing)."""
        return self._why[replica]

    def all_down(self) -> bool:
        """None of the replicas can be reached."""
        return all(standing is Standing.DOWN for standing in self._standing.values())

    def running(self) -> tuple[str, ...]:
        """The replicas that serve."""
        return tuple(name for name in self._replicas if self._standing[name] is Standing.RUNNING)

    def serves(self, replica: str) -> None:
        """It answered: it is RUNNING."""
        self._mark(replica, Standing.RUNNING, "")

    def syncing(self, replica: str, why: str) -> None:
        """It is up, does not serve, and may come to: INIT or SYNC."""
        self._mark(replica, Standing.SYNCING, why)

    def doubtful(self, replica: str, why: str) -> None:
        """It let a request go unanswered. Others go first until it is heard of again."""
        if self._standing[replica] is not Standing.DOWN:
            self._mark(replica, Standing.UNKNOWN, why)

    def down(self, replica: str, why: str) -> None:
        """It cannot be reached; it is left out until it is heard of again."""
        self._mark(replica, Standing.DOWN, why)

    def candidates(self, routine: bool = False, write: bool = False) -> tuple[str, ...]:
        """Where to try one request: the replicas that serve, once each from this turn on, then the hopeful ones.

        Nobody waits for a `routine` request. Writes do not take turns: they go to the first that serves. There they
        find the primary copy, which would else have to follow them, and each other, to go to the disk together.
        Raises a 503 Problem at once when none of them can be reached.
        """
        self.requests += not routine
        ranked = self._ranked(0 if write else self._turn)
        if not ranked:
            raise self.unreachable()
        if not write:
            self._turn = (self._replicas.index(ranked[0]) + 1) % len(self._replicas)
        return ranked

    def _ranked(self, turn: int) -> tuple[str, ...]:
        """Worked out once for each turn, until something else is heard of a replica."""
        ranked = self._rankings.get(turn)
        if ranked is None:
            ring = self._replicas[turn:] + self._replicas[:turn]
            running = [name for name in ring if self._standing[name] is Standing.RUNNING]
            hopeful = [name for name in ring if self._standing[name] in (Standing.SYNCING, Standing.UNKNOWN)]
            ranked = self._rankings[turn] = (*running, *hopeful)
        return ranked

    def unreachable(self) -> Problem:
        """The 503 that names every replica and what is wrong with it."""
        reasons = ", ".join(f"{name}: {self._why[name] or 'running'}" for name in self._replicas)
        return unavailable(f"No {self.tier} server can be reached ({reasons}).")

    def _mark(self, replica: str, standing: Standing, why: str) -> None:
        if self._standing[replica] is not standing:
            self._rankings.clear()
        self._standing[replica] = standing
        self._why[replica] = why
