"""What proposers and voters of the replicated register say to each other (rules V0, V1 of docs/protocol.md).

The register is CASPaxos (Rystsov, "CASPaxos: Replicated State Machines without logs", 2018): one for each tier, by
the tier's name, with every node of the cluster as a voter.  Its value is the tier's view (None: there was none yet).
"""

from msgspec import Struct

from pygmy.messages.replication import View

# (n, the proposer's name, a number that it drew when it started): no two rounds ever have the same one.
Ballot = tuple[int, str, int]
NO_BALLOT: Ballot = (0, "", 0)


# ---- proposer to voter


class Look(Struct, frozen=True, tag="register_look"):
    """What do you hold? It binds nobody to anything: the ballot only names the question."""

    register: str
    cluster_id: str
    ballot: Ballot


class Prepare(Struct, frozen=True, tag="register_prepare"):
    """Phase 1: promise to vote in no round below this ballot, and tell what you hold."""

    register: str
    cluster_id: str
    ballot: Ballot


class Accept(Struct, frozen=True, tag="register_accept"):
    """Phase 2: hold this value."""

    register: str
    cluster_id: str
    ballot: Ballot
    value: View | None


# ---- voter to proposer; `ballot` is that of the question


class Seen(Struct, frozen=True, tag="register_seen"):
    """The value held, and the ballot under which it was accepted."""

    register: str
    ballot: Ballot
    accepted: Ballot
    value: View | None


class Promise(Struct, frozen=True, tag="register_promise"):
    """No round below the ballot gets this vote any more; the value held, and its ballot."""

    register: str
    ballot: Ballot
    accepted: Ballot
    value: View | None


class Accepted(Struct, frozen=True, tag="register_accepted"):
    """The value of this round is held, durably."""

    register: str
    ballot: Ballot


class Nack(Struct, frozen=True, tag="register_nack"):
    """This vote is promised to a round with a higher ballot."""

    register: str
    ballot: Ballot
    promised: Ballot


# ---- V0: the cluster's id


class Charter(Struct, frozen=True):
    """The identity of a cluster: a random id and the names of all its nodes, sorted.

    `complete` False: a draft, not yet known to be stored by every node; nobody votes under it.
    """

    cluster_id: str
    nodes: tuple[str, ...]
    complete: bool = False


# ---- what a voter keeps


class Vote(Struct, frozen=True):
    """What an acceptor must not forget about one register."""

    promised: Ballot = NO_BALLOT
    accepted: Ballot = NO_BALLOT
    value: View | None = None


class VoterState(Struct, frozen=True):
    """All that a voter must not forget. A register without a vote is one that it must abstain from."""

    charter: Charter | None = None
    votes: dict[str, Vote] = {}


# ---- finding out who is who


class Census(Struct, frozen=True, tag="register_census"):
    """Who are you? The sender's own charter (None: it is newborn)."""

    charter: Charter | None


class Standing(Struct, frozen=True, tag="register_standing"):
    """The answer: the charter held. None or a draft: *newborn*, with the number drawn at this start."""

    charter: Charter | None
    boot: int


class Draft(Struct, frozen=True, tag="register_draft"):
    """Keep this draft, if you are still the newborn of this very start."""

    charter: Charter
    boot: int


RegisterRequest = Look | Prepare | Accept
RegisterReply = Seen | Promise | Accepted | Nack
FoundingMessage = Census | Standing | Draft
RegisterMessage = RegisterRequest | RegisterReply | FoundingMessage
