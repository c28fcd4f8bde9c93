"""A store on eight hosts, each a network namespace with an sshd: deployed, cut, upgraded, rebuilt and removed.

PYGMY_DEPLOY_TEST=1 runs it: it takes some minutes, root on Linux, and the packages that scripts/hosts.sh names. All
hosts' disks are one disk here: on a busy machine, have --basetemp name a place in memory.
"""

import os
import re
import threading
from pathlib import Path

import pytest

from tests.support.deployed import Customers, Deployed, deployed, missing, note
from tests.support.processes import until

SECRET = r".*\(secret\|token\|key\)"
WHY_NOT = missing()
pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))


class Spy:
    """Looks through all command lines and environments of this machine for secrets while it is there."""

    def __init__(self, data: Path) -> None:
        self.seen: list[str] = []
        self.looks = 0
        self._data = data
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._stop.wait(0.5):
            self.look()

    def look(self) -> None:
        secrets = [
            path.read_bytes().strip() for path in self._data.glob("*.*") if path.suffix in (".secret", ".token")
        ]
        for process in os.listdir("/proc"):
            for name in ("cmdline", "environ") if process.isdigit() else ():
                try:
                    content = Path("/proc", process, name).read_bytes()
                except OSError:  # it has ended
                    continue
                self.looks += 1
                self.seen += [f"{name} of {process}" for secret in secrets if secret in content]

    def __enter__(self) -> "Spy":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def test_the_life_of_a_store_on_eight_hosts(tmp_path: Path) -> None:
    with deployed(tmp_path, 3, 3, 2) as store:
        first_deployment(store)
        nothing_to_do(store)
        a_host_is_cut_off(store)
        upgrade_under_load(store)
        a_host_is_replaced(store)
        everything_is_sound(store)
        the_end(store)


def first_deployment(store: Deployed) -> None:
    note("== Eight empty hosts")
    with Spy(store.data) as spy:
        done = store.deploy("--offline")
    assert done.code == 0
    assert "Pygmy is open at " in done.text
    assert spy.looks
    assert not spy.seen
    for secret in ("cluster.secret", "admin.token"):
        assert (store.data / secret).read_text().strip() not in done.text
    for number in range(1, store.count + 1):
        name = store.cluster.nodes[number - 1].name
        modes = store.hosts("on", number, "find", "/opt/pygmy/data", "-regex", SECRET, "-printf", "%u %m %f\n")
        expected = ("admin.token", "cluster.secret", f"{name}.key")
        assert sorted(modes.splitlines()) == sorted(f"pygmy 600 {file}" for file in expected)
    assert [store.buy(1), store.buy(2, 1)] == [1, 2]


def nothing_to_do(store: Deployed) -> None:
    note("== The same again: nothing to do")
    before = store.versions()
    done = store.deploy("--offline")
    assert done.code == 0
    assert done.text.count("is up to date") == store.count
    assert store.versions() == before
    assert len(before) == store.count


def a_host_is_cut_off(store: Deployed) -> None:
    note("== The host of catalog-1 is cut off")
    place = store.number("catalog-1")
    store.hosts("cut", place)
    order = until(lambda: store.buy(3), "a sale by the catalogs that are left")
    note(f"   bought: order {order}")
    done = store.deploy("--offline", "--backups", "8")
    assert done.code == 1
    assert re.search(rf"^\[10\.77\.0\.{10 + place}\] failed at step connect: ", done.text, re.MULTILINE)
    assert "Not upgraded" in done.text  # nor is a copy put at risk while another one is away
    assert store.buy(3, 1) > order
    store.hosts("heal", place)
    until(lambda: whole(store), "all copies being there again")


def upgrade_under_load(store: Deployed) -> None:
    note("== Upgrade while customers buy")
    before = store.versions()
    with Customers(store, 3) as customers:
        until(lambda: len(customers.bought) > 10, "customers who buy")
        done = store.deploy("--offline", "--backups", "9")
    note(f"   {len(customers.bought)} bought, {customers.looked} looked up, {len(customers.failures)} failed")
    for failure in customers.failures:
        note(f"   {failure}")
    note(f"   the slowest buy with its lookup took {customers.slowest:.1f} s")
    assert done.code == 0
    assert not customers.failures
    assert len(set(customers.bought)) == len(customers.bought)
    order = re.findall(r"replacing (\S+) \.\.\.", done.text)
    assert order == [node.name for node in store.cluster.nodes]
    after = store.versions()
    assert after.keys() == before.keys()
    assert not set(after.values()) & set(before.values())
    assert len({version for version, _ in after.values()}) == 1


def a_host_is_replaced(store: Deployed) -> None:
    note("== The host of order-1 is gone for good, and a new one of that name has an empty disk")
    place = store.number("order-1")
    store.hosts("empty", place, store.disks)
    assert store.hosts("on", place, "ls", "/opt").strip() == ""
    order = until(lambda: store.buy(4), "an order without that host")
    done = store.deploy("--offline", "--backups", "9")
    assert done.code == 0
    assert done.text.count("is up to date") == store.count - 1
    assert store.buy(4) > order
    until(lambda: whole(store), "all copies being there")


def everything_is_sound(store: Deployed) -> None:
    note("== The audit")
    done = store.pygmy("audit", store.cluster.frontends[0].url)
    assert done.code == 0
    assert "order: 3 copies of one log" in done.text


def the_end(store: Deployed) -> None:
    note("== Stopped, and removed")
    assert store.deploy("--stop").code == 0
    assert not store.versions()
    assert store.deploy("--remove", "--yes").code == 0
    for number in range(1, store.count + 1):
        assert store.hosts("on", number, "ls", "/opt/pygmy").split() == ["data"]
    assert store.deploy("--remove", "--data-too", "--yes").code == 0
    for number in range(1, store.count + 1):
        assert store.hosts("on", number, "ls", "/opt").split() == []


def whole(store: Deployed) -> bool:
    """True once every node serves, and nothing that was sold is missing anywhere."""
    health = [store.ask(node, "GET", "/health")[1] for node in store.cluster.nodes]
    return all(body["message"] == "Healthy" and body["redundancy"] == 3 for body in health)
