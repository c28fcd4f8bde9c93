"""One node as a whole, in this process: what it must not do between its start and its end."""

from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.task import deferLater

from pygmy import node as module
from pygmy.clock import boottime
from pygmy.cluster import Role, parse_cluster
from tests.support.processes import free_ports


@pytest.mark.parametrize("late", [False, True], ids=["at once", "once its voter is open"])
@pytest.mark.parametrize("role", list(Role))
@pytest_twisted.ensureDeferred
async def test_a_node_that_is_told_to_stop_while_it_opens_its_databases_stops_as_at_any_other_time(
    role: Role, late: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from twisted.internet import reactor  # noqa: TID251

    ended: list[str] = []
    monkeypatch.setattr(module.NodeService, "_end", lambda self, code, why: ended.append(why))
    cluster = parse_cluster("\n".join(f"localhost:{port}" for port in free_ports(3)))
    (node,) = cluster.tier(role)
    made: Any = module.make_node(
        role=role, cluster=cluster, node=node, data=str(tmp_path), port=f"tcp:{node.port}:interface=127.0.0.1",
        alone_since=boottime(), books=None, cache=True, backups=None, reactor=reactor,
    )  # fmt: skip
    made.privilegedStartService()
    made.startService()
    while late and made._ballots is None:
        await deferLater(reactor, 0)
    await made.stopService()
    await made._opened
    assert ended == []
