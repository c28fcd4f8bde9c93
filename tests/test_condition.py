"""What a replica tells of itself and of the others."""

from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from pygmy.balancing.tiers import tier_status
from pygmy.cluster import parse_cluster
from pygmy.ledger.seam import Condition, Peer
from pygmy.messages.condition import Head
from pygmy.routes.condition import cluster_body, health_body
from pygmy.web.metrics import Metrics
from pygmy.web.status import Health, TierStatus
from tests.support.cluster import MemoryCluster

CLUSTER = parse_cluster("a, b\na\na\n")


def test_a_replica_names_every_node_of_the_cluster_and_what_it_hears_of_its_own_tier() -> None:
    peers = {"catalog-0": Peer("RUNNING", 3, 0, 0.0), "catalog-1": Peer("SYNC", 3, 7, 0.123456789)}
    body = cluster_body(CLUSTER, CLUSTER.catalogs[0], Condition("RUNNING", "", 3, 1), peers)
    seen = {node.node: (node.state, node.lag, node.heartbeat) for node in body.nodes}
    assert seen == {
        "catalog-0": ("RUNNING", 0, 0.0),
        "catalog-1": ("SYNC", 7, 0.123),
        "order-0": ("UNKNOWN", None, None),
        "frontend-0": ("UNKNOWN", None, None),
    }


def test_health_tells_how_far_the_log_is() -> None:
    """Front ends find out by it how far a replica is behind."""
    condition = Condition("SYNC", "Catching up.", 3, 1, head=(2, 41))
    assert health_body(CLUSTER.orders[0], condition).head == 41


def health(node: str, hash: str = "aa", head: int = 9, **changes: Any) -> Health:
    """What catalog-0 or catalog-1 says in view 3.1 of both."""
    body = Health(
        "Healthy", "catalog", node, "RUNNING", 3, 2, head, 3, hash, gen=1, leader="catalog-0",
        members={"catalog-0": 1, "catalog-1": 2}, sources=("catalog-0", "catalog-1"), primary="catalog-1",
    )  # fmt: skip
    return replace(body, **changes)


def merged(*told: Health) -> TierStatus:
    return tier_status("catalog", {one.node: one for one in told})


def test_replicas_that_agree_are_one_view() -> None:
    tier = merged(health("catalog-0"), health("catalog-1", head=8, hash="bb"))
    assert tier.view is not None
    assert (tier.view.epoch, tier.view.gen, tier.view.leader) == (3, 1, "catalog-0")
    assert tier.view.told_by == ("catalog-0", "catalog-1")
    assert (tier.primary, tier.redundancy, tier.head) == ("catalog-1", 2, Head(3, 9, "aa"))
    assert tier.heads == {"catalog-0": Head(3, 9, "aa"), "catalog-1": Head(3, 8, "bb")}
    assert (tier.other_views, tier.diverged) == ((), ())


def test_replicas_that_disagree_are_seen_to() -> None:
    """Also under one number: there must never be two views of it."""
    alone = health("catalog-1", members={"catalog-1": 2}, sources=("catalog-1",), leader="catalog-1")
    for odd in (replace(alone, epoch=4), replace(alone, epoch=2), alone):
        tier = merged(health("catalog-0"), odd)
        assert tier.view is not None
        assert len(tier.other_views) == 1
        assert tier.view.epoch == max(3, odd.epoch)
        assert {*tier.view.told_by, *tier.other_views[0].told_by} == {"catalog-0", "catalog-1"}


def test_equally_long_logs_that_are_not_the_same_have_diverged() -> None:
    assert merged(health("catalog-0"), health("catalog-1", "bb")).diverged == ("catalog-0", "catalog-1")
    assert merged(health("catalog-0"), health("catalog-1", "bb", head=10)).diverged == ()


def test_a_batch_that_may_never_be_chosen_is_no_divergence() -> None:
    """As in a member that is cut off: it holds one more, does not serve, and drops it when it comes back."""
    cut_off = health("catalog-1", "bb", message="The node's read lease has run out.")
    assert merged(health("catalog-0"), cut_off).diverged == ()
    assert merged(health("catalog-0"), health("catalog-1", "bb", state="SYNC")).diverged == ()


def test_an_engine_without_replicas_has_a_condition_too() -> None:
    """The defaults of the seam go all the way to the outside."""
    condition = Condition("RUNNING", "", 0, 1)
    assert health_body(CLUSTER.orders[0], condition).message == "Healthy"
    body = cluster_body(CLUSTER, CLUSTER.orders[0], condition, {})
    assert body.own is not None
    assert (body.own.view, body.own.leases, body.own.recovery) == (None, {}, None)
    metrics = Metrics("order", "order-0")
    metrics.watch_tier(lambda: condition)
    assert b"pygmy_epoch 0.0" in metrics.render()


# ---- a whole store


@pytest.fixture
def store() -> Iterator[MemoryCluster]:
    cluster = MemoryCluster()
    assert cluster.buy().status == 200
    cluster.advance(2)
    yield cluster
    cluster.close()


def test_a_replica_tells_all_of_itself_and_what_it_hears_of_its_peer(store: MemoryCluster) -> None:
    body = store.get("catalog-1", "/cluster").json
    own, peer = body["self"], body["nodes"][0]
    told = store.get("catalog-0", "/health").json
    assert own["view"] == {
        "epoch": 1,
        "gen": 0,
        "leader": "catalog-0",
        "members": {"catalog-0": 1, "catalog-1": 1},
        "sources": ["catalog-0", "catalog-1"],
    }
    assert own["head"] == peer["head"] == {"epoch": 1, "seq": 2, "hash": told["head_hash"]}
    assert 0 < own["lease"] <= 1
    assert own["leases"] == {"catalog-0": peer["lease"]}
    assert (own["incarnation"], peer["incarnation"]) == (1, 1)
    assert (own["queued"], own["pending"], own["recovery"]) == (0, None, None)
    assert own["primary"] == told["primary"]


def test_health_is_the_short_form(store: MemoryCluster) -> None:
    told = store.get("catalog-1", "/health").json
    for name in ("role", "node", "state", "epoch", "redundancy", "message"):
        assert name in told
    assert (told["leader"], told["sources"]) == ("catalog-0", ["catalog-0", "catalog-1"])
    assert (told["head"], told["head_epoch"], len(told["head_hash"])) == (2, 1, 32)
    assert 0 < told["lease"] <= 1


def test_a_front_end_puts_both_tiers_together(store: MemoryCluster) -> None:
    tiers = {tier["tier"]: tier for tier in store.get("frontend-0", "/cluster").json["tiers"]}
    assert tiers.keys() == {"catalog", "order"}
    for name, tier in tiers.items():
        assert tier["view"]["told_by"] == [f"{name}-0", f"{name}-1"]
        assert tier["redundancy"] == 2
        assert len({head["hash"] for head in tier["heads"].values()}) == 1


def test_a_replica_that_is_gone_is_missed_everywhere(store: MemoryCluster) -> None:
    store.cut("catalog-0", "catalog-1")
    store.advance(1.1)
    assert "lease" in store.get("catalog-1", "/health").json["message"]
    assert "lease" in store.get("catalog-1", "/cluster").json["self"]["why"]
    store.kill("catalog-1")
    store.mend()
    store.until(lambda: store.get("catalog-0", "/health").json["redundancy"] == 1, "catalog-0 is alone")
    store.advance(1.5)
    (catalog, _) = store.get("frontend-0", "/cluster").json["tiers"]
    assert (catalog["view"]["sources"], catalog["redundancy"]) == (["catalog-0"], 1)
    assert list(catalog["heads"]) == ["catalog-0"]
    assert any(line.startswith("does not serve: ") for line in store.log)
    assert "serves" in store.log


def test_metrics_show_the_view_the_leader_and_the_head(store: MemoryCluster) -> None:
    def shown(name: str) -> dict[str, float]:
        lines = store.get(name, "/metrics").body.decode().splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line[0] != "#"}

    first, second = shown("catalog-0"), shown("catalog-1")
    for one in (first, second):
        assert [one[f"pygmy_{name}"] for name in ("epoch", "members", "sources", "redundancy")] == [1, 2, 2, 2]
        assert (one['pygmy_state{state="RUNNING"}'], one['pygmy_state{state="INIT"}']) == (1, 0)
        assert (one["pygmy_log_head"], one["pygmy_serving"], one["pygmy_view_changes_total"]) == (2, 1, 1)
        assert 0 < one["pygmy_lease_seconds"] <= 1
    assert (first["pygmy_leader"], second["pygmy_leader"]) == (1, 0)
    assert first["pygmy_primary"] + second["pygmy_primary"] == 1
    assert (first['pygmy_lag{node="catalog-1"}'], second['pygmy_lag{node="catalog-0"}']) == (0, 0)
    before = first["pygmy_invalidations_total"]
    assert store.get("frontend-0", "/books/1").status == 200
    assert store.buy().status == 200
    after = sum(shown(name)["pygmy_invalidations_total"] for name in ("catalog-0", "catalog-1"))
    assert after > before + second["pygmy_invalidations_total"]
    moves = sum(shown(name)["pygmy_primary_moves_total"] for name in ("catalog-0", "catalog-1"))
    assert moves % 2 == 0, "whoever gives it is one, whoever gets it another"
