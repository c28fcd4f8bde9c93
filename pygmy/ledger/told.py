"""What is told of a replica to people: at /health and /cluster, as metrics, in its log. Nobody decides by it."""

from pygmy.ledger.seam import Condition, Peer
from pygmy.logs import Logger
from pygmy.messages.condition import Head, Recovery
from pygmy.replication.effects import Synced
from pygmy.replication.replica import Replica

log = Logger()


def condition(replica: Replica, now: float) -> Condition:
    """How its tier is, seen from there."""
    lease, view = replica.lease(now), replica.view
    return Condition(
        state=replica.mode,
        why=_why(replica),
        epoch=view.epoch if view else 0,
        redundancy=len(view.sources) if view and replica.mode == "RUNNING" else 0,
        gen=view.gen if view else 0,
        members=dict(sorted(view.members.items())) if view else {},
        sources=tuple(sorted(view.sources)) if view else (),
        leader=view.leader if view else "",
        primary=replica.owner,
        incarnation=replica.incarnation,
        lease=lease,
        head=replica.log.head,
        head_hash=replica.log.head_hash,
        queued=replica.queued,
        pending=replica.pending,
        recovery=replica.recovery,
        counts=replica.counts,
    )


def peers(replica: Replica, me: str, now: float) -> dict[str, Peer]:
    """Every node of its tier, itself (`me`) included, as last heard of there."""
    epoch = replica.view.epoch if replica.view else None
    here = Head(*replica.log.head, replica.log.head_hash)
    known = {me: Peer(replica.mode, epoch, 0, 0.0, here, replica.incarnation, why=_why(replica))}
    for name, seen in replica.heard_of(now).items():
        lag = None if seen.head is None else max(0, here.seq - seen.head.seq)
        silent = seen.mode == "DOWN" and seen.ago is not None
        why = f"not heard for {seen.ago:.1f} s" if silent else ""
        known[name] = Peer(seen.mode, seen.epoch, lag, seen.ago, seen.head, seen.incarnation, seen.lease, why)
    return known


def _why(replica: Replica) -> str:
    """Why it does not serve, and how far it is with what it has to fetch first."""
    why, recovery = replica.why(), replica.recovery
    if why and replica.mode != "RUNNING" and recovery is not None and not recovery.done:
        return f"{why} It has fetched {recovery.percent} %."
    return why


def synced(effect: Synced, url: str) -> None:
    """It has fetched what it missed from the node at `url`."""
    log.info(
        "sync from {url} ({mode}): {batches} batches, {rows} rows, {size} bytes, {ms} ms",
        url=url,
        mode=effect.mode,
        batches=effect.batches,
        rows=effect.rows,
        size=effect.size,
        ms=round(effect.seconds * 1000),
    )


def syncing(recovery: Recovery, url: str) -> None:
    """It is fetching, and so far by now."""
    log.info(
        "sync from {url} ({mode}): {percent} %, batch {upto} of {of}, {rows} rows, {size} bytes, {ms} ms",
        url=url,
        mode=recovery.state,
        percent=recovery.percent,
        upto=recovery.upto,
        of=recovery.of,
        rows=recovery.rows,
        size=recovery.size,
        ms=round(recovery.seconds * 1000),
    )
