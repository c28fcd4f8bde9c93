"""A disk that hangs is a failure: its node is removed, the others go on, and it comes back when its disk does."""

from pathlib import Path

from pygmy.cluster import Role
from tests.support import disk_trace
from tests.support.processes import Crowd, Processes, processes, until

VICTIM = "catalog-0"  # it leads, and the front end's votes are needed to go on without it
OTHER = "catalog-1"


def customer(store: Processes) -> bool | None:
    reply = store.post("frontend-0", "/books/1")
    assert reply.status in (200, 503), reply
    return reply.status == 200 or None


def test_a_node_whose_disk_hangs_is_removed_and_joins_again_when_its_disk_is_back(tmp_path: Path) -> None:
    hang = tmp_path / "hang"
    watched = disk_trace.environment(disk_trace.built(tmp_path), str(tmp_path / "data" / VICTIM), hang=hang)
    with processes(tmp_path, orders=1) as store:
        store.stop(VICTIM)
        store.adopt(VICTIM, store.launch(VICTIM, **watched))
        store.await_whole()
        process = store.pid(VICTIM)
        with Crowd([lambda: customer(store)] * 2) as crowd:
            crowd.reaches(4)
            hang.touch()
            until(lambda: store.get(OTHER, "/health").json["members"].keys() == {OTHER}, "it is out", store.hints)
            crowd.reaches(8)
            assert store.get(VICTIM, "/books/1").status == 503, "an answer that may be stale"
            hang.unlink()
            store.await_whole()
            crowd.reaches(4)
            crowd.stop()
        assert store.pid(VICTIM) == process, "it has not ended meanwhile"
        store.tables_agree(Role.CATALOG)
