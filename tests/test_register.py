"""The replicated register: one value per (epoch, gen) and real-time order, whatever is lost, restarted or emptied."""

from collections import deque
from random import Random

import pytest

from pygmy.messages.register import (
    Accept,
    Census,
    Charter,
    Draft,
    Nack,
    Prepare,
    RegisterMessage,
    RegisterReply,
    RegisterRequest,
    Seen,
    Standing,
    Vote,
    VoterState,
)
from pygmy.messages.replication import View
from pygmy.replication.effects import Send
from pygmy.replication.founding import Founding, WrongCluster, check_charter
from pygmy.replication.proposer import Outcome, Proposer
from pygmy.replication.readmission import Readmission
from pygmy.replication.timing import DEFAULT
from pygmy.replication.voter import Keep, Voter, answer
from tests.support.register_cluster import BUGS, LARGE, Cluster, Violation

FIRST = View(1, 0, {"a": 1}, frozenset("a"), "a")
LEFT = View(2, 0, {"a": 1}, frozenset("a"), "a")
RIGHT = View(2, 0, {"b": 1}, frozenset("b"), "b")


# ---- random schedules


def history(seed: int, bug: str | None = None) -> Cluster:
    """Faults for 8 s, then calm: no promise is broken, and the register goes on."""
    cluster = Cluster(seed, bug)
    cluster.at(cluster.random.uniform(0, 1), cluster.fault_of_kind)
    cluster.run(8)
    cluster.heal()
    cluster.run(4)
    before = max(cluster.chosen, default=(0, 0))
    cluster.run(6)
    cluster.check()
    assert not cluster.emptied(), "an emptied voter never came back"
    assert max(cluster.chosen, default=(0, 0)) > before, "nothing is chosen any more"
    return cluster


@pytest.mark.parametrize("first", range(0, 300, 50))
def test_no_schedule_breaks_a_promise_and_calm_brings_progress(first: int) -> None:
    chosen = sum(len(history(seed).chosen) for seed in range(first, first + 50))
    assert chosen > 500  # the schedules are not so hard that nothing happens


@pytest.mark.parametrize("bug", ["volatile promise", "reply before store", "rejoin by reading"])
def test_a_deliberate_bug_is_caught(bug: str) -> None:
    assert bug in BUGS
    with pytest.raises(Violation):
        deque((history(seed, bug) for seed in range(300)), maxlen=0)


@pytest.mark.parametrize("bug", [None, "birth by majority"])
def test_a_cluster_is_born_only_when_every_node_is_newborn(bug: str | None) -> None:
    """A majority without a memory next to a minority with one is a disaster, but not a birth."""
    cluster = Cluster(1, None, LARGE, quiet=True)
    cluster.run(3)
    assert cluster.chosen
    cluster.bug = bug
    survivors = ("catalog-2", "frontend-1")
    emptied = [node for name, node in cluster.nodes.items() if name not in survivors]
    for node in emptied:
        cluster.empty(node)
    cluster.cut = {frozenset((a, b)) for a in survivors for b in LARGE if b not in survivors}
    for node in emptied:
        node.boot()
    if bug is None:
        cluster.run(5)
        assert not any(node.voter.cluster_id for node in emptied)
    else:
        with pytest.raises(Violation):
            cluster.run(5)


# ---- directed schedules, on voters that are only their votes


class Net:
    """Voters a, b, c of one register, and what proposers have sent to them last."""

    def __init__(self) -> None:
        self.votes = {name: Vote((1, "", 0), (1, "", 0), FIRST) for name in "abc"}
        self.sent: list[RegisterRequest] = []

    def send(self, to: tuple[str, ...], request: RegisterRequest) -> None:
        self.sent.append(request)

    def proposer(self, me: str, n: int, boot: int = 1, life: float = 9.0) -> Proposer:
        proposer = Proposer("catalog", me, ("a", "b", "c"), self.send, Random(boot), life)
        proposer._n = n - 1
        return proposer

    def ask(self, voter: str, request: RegisterRequest) -> RegisterReply:
        self.votes[voter], reply = answer(self.votes[voter], request)
        return reply

    def round(self, proposer: Proposer, voters: str, now: float) -> Outcome | None:
        """Both phases of the round under way, at these voters."""
        outcome = None
        for _ in range(2):
            request = self.sent[-1]
            for voter in voters:
                outcome = outcome or proposer.receive(voter, self.ask(voter, request), now)
        return outcome


@pytest.mark.parametrize(("boot", "values"), [(1, 2), (2, 1)])
def test_a_ballot_is_never_used_again_after_a_restart(boot: int, values: int) -> None:
    """With the same ballot after a restart (boot 1 again), one ballot has two values: which one counts?"""
    net = Net()
    before = net.proposer("p", 5)
    before.start("id", lambda _: LEFT, 0.0)
    for voter in "ab":
        before.receive(voter, net.ask(voter, net.sent[-1]), 0.0)
    late = net.sent[-1]
    after = net.proposer("p", 5, boot)
    after.start("id", lambda _: RIGHT, 1.0)
    outcome = net.round(after, "ac", 1.0)
    if outcome is not None and outcome.kind == "conflict":
        after.start("id", lambda _: RIGHT, 1.0)
        outcome = net.round(after, "ac", 1.0)
    assert outcome is not None
    assert outcome.value == RIGHT
    net.ask("b", late)
    newest = max(vote.accepted for vote in net.votes.values())
    assert len({vote.value.leader for vote in net.votes.values() if vote.value and vote.accepted == newest}) == values


@pytest.mark.parametrize(("life", "waits", "violated"), [(0.5, True, False), (9.0, True, True), (0.5, False, True)])
def test_a_forgotten_promise_does_no_harm(life: float, waits: bool, violated: bool) -> None:
    """A promise that was counted before its voter was emptied is worth nothing after the voter's return.

    Rounds must end by the clock, and the voter must wait for that: without either, two values follow the first.
    """
    net = Net()
    slow = net.proposer("b", 9, life=life)
    slow.start("id", lambda found: LEFT if found == FIRST else found, 0.0)
    prepare = net.sent[-1]
    slow.receive("a", net.ask("a", prepare), 0.0)

    back = Readmission("catalog", "a", ("a", "b", "c"), net.send, Random(1), 0.1, DEFAULT)
    at = 1.2 if waits else 0.2
    back._not_before = back._not_before if waits else 0.0
    back.tick("id", at)
    back._proposer._n = 1  # it knows of no ballot above the first
    back._proposer.start("id", lambda value: value, at)
    for _ in range(2):
        request = net.sent[-1]
        found = [back.receive(voter, net.ask(voter, request), "id", at) for voter in "bc"]
    assert found[-1] is not None
    ballot, value = found[-1]
    net.votes["a"] = Vote(ballot, ballot, value)

    quick = net.proposer("c", 5)
    quick.start("id", lambda found: RIGHT if found == FIRST else found, at)
    assert net.round(quick, "ac", at) == Outcome("ok", RIGHT, net.votes["c"].accepted)
    slow.receive("b", net.ask("b", prepare), at)
    accept = net.sent[-1]
    chosen = accept.value if isinstance(accept, Accept) and accept.ballot == prepare.ballot else None
    assert (chosen == LEFT) == violated


def test_an_emptied_voter_waits_for_older_rounds_to_end() -> None:
    net = Net()
    back = Readmission("catalog", "a", ("a", "b", "c"), net.send, Random(1), 10.0, DEFAULT)
    back.tick("id", 10.0 + DEFAULT.round_life)
    assert not net.sent
    back.tick("id", 10.0 + 2 * DEFAULT.round_life)
    assert isinstance(net.sent[-1], Prepare)


def test_a_read_that_finds_the_voters_agreed_writes_nothing() -> None:
    net = Net()
    proposer = net.proposer("p", 1)
    proposer.look("id", 0.0)
    assert proposer.receive("a", net.ask("a", net.sent[-1]), 0.0) is None
    assert proposer.receive("c", net.ask("c", net.sent[-1]), 0.0) == Outcome("ok", FIRST, (1, "", 0))
    assert len(net.sent) == 1


def test_a_read_that_finds_them_at_odds_goes_on_as_a_round() -> None:
    """The newest value seen need not be chosen: to tell, it has to be written again."""
    net = Net()
    net.votes["c"] = Vote((7, "q", 0), (7, "q", 0), RIGHT)
    net.votes["b"] = Vote((6, "q", 0), (6, "q", 0), LEFT)
    proposer = net.proposer("p", 8)
    proposer.look("id", 0.0)
    for voter in "abc":
        reply = net.ask(voter, net.sent[0])
        assert isinstance(reply, Seen)
        assert proposer.receive(voter, reply, 0.0) is None
    outcome = net.round(proposer, "bc", 0.0)
    assert outcome is not None
    assert outcome.value == RIGHT
    assert net.votes["b"].value == RIGHT


def test_a_refused_round_is_a_conflict_before_anything_was_sent_and_unknown_after() -> None:
    net = Net()
    proposer = net.proposer("p", 2)
    proposer.start("id", lambda _: LEFT, 0.0)
    nack = Nack("catalog", net.sent[-1].ballot, (9, "q", 0))
    assert proposer.receive("a", nack, 0.0) == Outcome("conflict")
    proposer.start("id", lambda _: LEFT, 0.0)
    assert net.sent[-1].ballot[0] == 10  # it has learned how high the ballots are
    for voter in "ab":
        proposer.receive(voter, net.ask(voter, net.sent[-1]), 0.0)
    assert isinstance(net.sent[-1], Accept)
    nack = Nack("catalog", net.sent[-1].ballot, (11, "q", 0))
    assert proposer.receive("a", nack, 0.0) == Outcome("unknown")


# ---- V0


def newborn(me: str, seed: int) -> Founding:
    return Founding(me, ("a", "b", "c"), None, Random(seed))


def deliver(nodes: dict[str, Founding], sender: str, sends: list[object], log: list[RegisterMessage]) -> None:
    for send in sends:
        if isinstance(send, Send):
            for to in send.to:
                message = send.message
                assert isinstance(message, Census | Standing | Draft)
                log.append(message)
                deliver(nodes, to, list(nodes[to].receive(sender, message)), log)


def test_a_late_draft_does_not_make_an_emptied_node_newborn() -> None:
    """Else it would vote at once, having forgotten what it voted for before."""
    nodes = {name: newborn(name, seed) for seed, name in enumerate("abc")}
    log: list[RegisterMessage] = []
    for name in "cba":
        deliver(nodes, name, list(nodes[name].tick()), log)
    assert {node.complete for node in nodes.values()} == {True}
    assert len({node.charter for node in nodes.values()}) == 1
    drafts = [message for message in log if isinstance(message, Draft)]
    late = next(message for message in drafts if message.boot == nodes["c"]._boot)
    again = Voter("c", ("a", "b", "c"), ("catalog",), VoterState(), 0.0, Random(99))
    again.receive("a", late, 0.0)
    again.receive("a", Census(nodes["a"].charter), 0.0)
    assert again.cluster_id == nodes["a"].charter.cluster_id  # type: ignore[union-attr]
    assert not again.votes_for("catalog")


def test_a_voter_says_nothing_before_it_is_durable() -> None:
    charter = Charter("id", ("a", "b", "c"), True)
    state = VoterState(charter, {"catalog": Vote()})
    voter = Voter("a", ("a", "b", "c"), ("catalog",), state, 0.0, Random(1))
    ballot = (1, "b", 7)
    kept = voter.receive("b", Prepare("catalog", "id", ballot), 0.0)
    assert isinstance(kept, Keep)
    assert kept.state is not None
    assert kept.state.votes["catalog"].promised == ballot
    assert [send.to for send in kept.then if isinstance(send, Send)] == [("b",)]
    assert voter.receive("b", Prepare("catalog", "another id", (9, "b", 7)), 0.0) == Keep(None, ())


def test_a_node_with_another_clusters_data_refuses_to_start() -> None:
    kept = Charter("one", ("a", "b"), True)
    assert check_charter(kept, "one", ("b", "a")) == kept
    assert check_charter(None, None, ("a", "b")) is None
    assert check_charter(None, "one", ("b", "a")) == kept  # emptied, not newborn
    with pytest.raises(WrongCluster, match="of cluster two"):
        check_charter(kept, "two", ("a", "b"))
    with pytest.raises(WrongCluster, match="founded with the nodes a, b; the cluster file lists a, b, c"):
        check_charter(kept, "one", ("a", "b", "c"))
