"""The .tac files start nodes that really serve."""

import sys
from pathlib import Path

from tests.support.processes import PROJECT, Processes


def test_three_tac_files_make_a_store(tmp_path: Path) -> None:
    store = Processes(tmp_path, catalogs=1, orders=1)
    twistd = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "--nodaemon", "--pidfile="]
    try:
        for node in store.cluster.nodes:
            store.adopt(
                node.name,
                store.spawn(
                    [*twistd, "-y", str(PROJECT / "tac" / f"{node.role}.tac")],
                    tmp_path / f"{node.name}.stderr",
                    PYGMY_CLUSTER=str(store.file),
                    PYGMY_NODE=str(node.index),
                    PYGMY_DATA=str(store.data),
                ),
            )
        store.await_whole()
        assert store.post("frontend-0", "/books/1").json["OrderId"] == 1
        assert store.get("frontend-0", "/books/1").json["count"] == 1199
        for node in store.cluster.nodes:
            assert store.stop(node.name) in (0, -15)
    finally:
        store.close()
