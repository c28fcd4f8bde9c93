"""One node as a whole, in this process: what it must not do between its start and its end."""

from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from pygmy import node as module
from pygmy.cli.health import OPENING
from pygmy.clock import boottime
from pygmy.cluster import Role, parse_cluster
from pygmy.routes.starting import WHY
from tests.support.processes import free_ports


def make(role: Role, data: Path) -> Any:
    from twisted.internet import reactor  # noqa: TID251

    cluster = parse_cluster("\n".join(f"localhost:{port}" for port in free_ports(3)))
    (node,) = cluster.tier(role)
    return module.make_node(
        role=role, cluster=cluster, node=node, data=str(data), port=f"tcp:{node.port}:interface=127.0.0.1",
        alone_since=boottime(), books=None, cache=True, backups=None, reactor=reactor,
    )  # fmt: skip


@pytest.mark.parametrize("late", [False, True], ids=["at once", "once its voter is open"])
@pytest.mark.parametrize("role", list(Role))
@pytest_twisted.ensureDeferred
async def test_a_node_that_is_told_to_stop_while_it_opens_its_databases_stops_as_at_any_other_time(
    role: Role, late: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from twisted.internet import reactor  # noqa: TID251

    ended: list[str] = []
    monkeypatch.setattr(module.NodeService, "_end", lambda self, code, why: ended.append(why))
    made = make(role, tmp_path)
    made.privilegedStartService()
    made.startService()
    while late and made._ballots is None:
        await deferLater(reactor, 0)
    await made.stopService()
    await made._opened
    assert ended == []


@pytest_twisted.ensureDeferred
async def test_a_front_end_says_that_it_is_opening_its_database_while_it_may_find_that_it_must_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By these words, which are a replica's, too, `pygmy start` knows a node that is not up yet."""
    gate: Deferred[None] = Deferred()
    open_ballots = module.Ballots.open

    async def slowly(*arguments: Any) -> Any:
        await gate
        return await open_ballots(*arguments)

    monkeypatch.setattr(module.Ballots, "open", slowly)
    made = make(Role.FRONTEND, tmp_path)
    made.privilegedStartService()
    made.startService()
    before = made._server.health().message
    gate.callback(None)
    await made._opened
    after = made._server.health().message
    await made.stopService()
    assert before == OPENING == WHY
    assert after != OPENING
