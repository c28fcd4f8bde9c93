"""A store of real processes that speaks TLS: it sells, outlives a node, and lets in nobody of another CA."""

import subprocess
import sys
from pathlib import Path

from pygmy.tls.certificates import make_certificates
from tests.support.processes import ENVIRONMENT, LONGEST, Processes, free_ports, processes, until


def pygmy(store: Processes, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """The command, as a person gives it who has the CA's certificate."""
    url = store.node("frontend-0").url
    command = [sys.executable, "-m", "pygmy", "--frontend-server", url, "--ca", str(store.tls / "ca.pem"), *arguments]
    environment = {**ENVIRONMENT, "PYGMY_DATA": str(store.data), "PYGMY_TLS": str(store.tls)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=2 * LONGEST)


def test_a_store_under_tls_sells_and_outlives_a_node(tmp_path: Path) -> None:
    with processes(tmp_path, tls=True) as store:
        before = store.count(1)
        assert store.post("frontend-0", "/books/1").json["Order status"] == "Success"
        assert store.get("frontend-0", "/books/1").json["count"] == before - 1
        store.kill9("catalog-0")
        bought = pygmy(store, "buy", "1")
        assert bought.returncode == 0, bought
        assert store.get("frontend-0", "/books/1").json["count"] == before - 2
        store.wait_log("frontend-0", rf"heartbeat {store.node('catalog-0').url} (refused|lost)")
        store.whole()
        status = pygmy(store, "status")
        assert status.stdout.splitlines()[-1] == "Open. Every tier has 2 copies.", status
        assert store.node("catalog-1").url in status.stdout
        assert store.node("catalog-1").url.startswith("https://")
        store.tables_agree(store.node("catalog-0").role)
        audit = pygmy(store, "audit", store.node("frontend-0").url)
        assert audit.returncode == 0, audit


def test_a_node_of_another_ca_is_refused_by_name_and_a_place_for_people_stays_one(tmp_path: Path) -> None:
    store = Processes(tmp_path, catalogs=2, orders=1, tls=True)
    wrong = tmp_path / "wrong"
    make_certificates(wrong, store.cluster)
    (port,) = free_ports(1)
    try:
        store.start("catalog-0", "order-0")
        store.adopt("catalog-1", store.launch("catalog-1", "--tls", str(wrong)))
        further = f"tcp:{port}:interface=127.0.0.1"
        store.adopt("frontend-0", store.launch("frontend-0", "--listen", further))
        there = store.node("catalog-1").url
        other = "its certificate is not of our CA"
        store.wait_log("catalog-0", rf"no link to catalog-1 at {there} \(tls\): {other}")
        store.wait_log("catalog-1", rf"no link to catalog-0 at {store.node('catalog-0').url} \(tls\): {other}")
        store.wait_log("catalog-1", r"refused 127\.0\.0\.1 \(tls\): it does not take our certificate")
        store.wait_log("frontend-0", rf"heartbeat {there} tls: {other}")
        until(lambda: listening(port, "/health") == 200 or listening(port, "/health") == 503, "a place for people")
        assert listening(port, "/internal") == 404
        # With the right certificates it is let in, and the store is founded.
        store.kill9("catalog-1")
        store.start("catalog-1")
        store.await_whole()
    finally:
        store.close()


def listening(port: int, path: str) -> int:
    """The status of a plain GET."""
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()
