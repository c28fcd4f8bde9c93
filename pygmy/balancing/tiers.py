"""What the replicas of one tier tell about it, put together. Pure."""

from collections.abc import Mapping

from pygmy.messages.condition import Head
from pygmy.web.status import HEALTHY, Health, TierStatus, ViewStatus


def tier_status(tier: str, told: Mapping[str, Health]) -> TierStatus:
    """The tier by the latest /health of each of its replicas that can be reached."""
    serving = {name: health for name, health in told.items() if _serves(health)}
    views = _views(told)
    heads = {name: head for name, health in told.items() if (head := head_of(health)) is not None}
    ends = [heads[name] for name in serving if name in heads]
    primary = {health.primary: health for health in sorted(serving.values(), key=_number)}
    return TierStatus(
        tier=tier,
        view=views[0] if views else None,
        other_views=tuple(views[1:]),
        primary=list(primary)[-1] if primary else "",
        redundancy=min((health.redundancy for health in serving.values()), default=0),
        head=max(ends, key=lambda head: (head.epoch, head.seq), default=None),
        heads=heads,
        diverged=_diverged({name: heads[name] for name in serving if name in heads}),
    )


def _serves(health: Health) -> bool:
    return health.state == "RUNNING" and health.message == HEALTHY


def _number(health: Health) -> tuple[int, int]:
    return (health.epoch, health.gen)


def head_of(health: Health) -> Head | None:
    """The end of the node's log (None: it keeps none)."""
    return None if health.head is None else Head(health.head_epoch, health.head, health.head_hash)


def _views(told: Mapping[str, Health]) -> list[ViewStatus]:
    """The views that replicas are in, the newest first, each with who tells of it."""
    tellers: dict[tuple[object, ...], list[str]] = {}
    views: dict[tuple[object, ...], ViewStatus] = {}
    for name, health in sorted(told.items()):
        if not health.members:
            continue
        key = (*_number(health), health.leader, tuple(sorted(health.members.items())), tuple(sorted(health.sources)))
        tellers.setdefault(key, []).append(name)
        views[key] = ViewStatus(
            health.epoch, health.gen, health.leader, health.members, health.sources, tuple(tellers[key])
        )
    return sorted(views.values(), key=lambda view: (view.epoch, view.gen), reverse=True)


def _diverged(heads: Mapping[str, Head]) -> tuple[str, ...]:
    """Those of the replicas that serve whose logs are equally long and yet not the same.

    Only they are sure: one that does not serve may hold a batch that was never chosen, and is about to drop it.
    """
    hashes: dict[int, set[str]] = {}
    for head in heads.values():
        hashes.setdefault(head.seq, set()).add(head.hash)
    return tuple(sorted(name for name, head in heads.items() if len(hashes[head.seq]) > 1))
