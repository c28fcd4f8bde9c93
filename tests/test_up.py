"""A whole store from one command: it opens, survives its nodes, says what is wrong, and leaves nothing behind."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred

from pygmy.cli import daemons
from pygmy.cli.nodes import Store
from pygmy.cluster import Node, load_cluster
from pygmy.datadir import log_path, pid_path
from pygmy.pidfile import running
from tests.support.processes import ENVIRONMENT, like_a_terminal, pygmy, until

LONGEST = 90


class Shop:
    """A cluster on free ports, its data directory, and commands about them."""

    def __init__(self, directory: Path, catalogs: int = 1, orders: int = 1) -> None:
        self.directory = directory
        self.data = directory / "the data"
        self.file = directory / "cluster"
        ports = iter(_free_ports(catalogs + orders + 1))
        counts = (catalogs, orders, 1)
        lines = [", ".join(f"localhost:{next(ports)}" for _ in range(count)) for count in counts]
        self.file.write_text("\n".join(lines) + "\n")
        self.cluster = load_cluster(str(self.file))
        self.ups: list[subprocess.Popen[str]] = []

    def pygmy(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """`pygmy ...` to its end."""
        return pygmy(self.directory, *arguments, timeout=LONGEST)

    def on(self, command: str, *nodes: str) -> "subprocess.CompletedProcess[str]":
        """`pygmy start` or `pygmy stop`."""
        return self.pygmy(command, *nodes, "--cluster", str(self.file), "--data", str(self.data))

    def ask(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """A customer's command."""
        return self.pygmy("--frontend-server", self.cluster.frontends[0].netloc, *arguments)

    def up_command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "pygmy", "up", str(self.file), "--data", str(self.data), *arguments]

    def up(self, *arguments: str) -> "subprocess.Popen[str]":
        """`pygmy up`, its stdout and stderr in one pipe, leader of its own process group."""
        process = subprocess.Popen(
            self.up_command(*arguments),
            cwd=self.directory,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=like_a_terminal,
        )
        self.ups.append(process)
        return process

    def pid(self, node: str) -> int | None:
        return running(pid_path(self.data, node))

    def spoil(self) -> None:
        """No node can start on this data, and none gets as far as its log."""
        self.data.mkdir()
        (self.data / "admin.token").mkdir()

    def running(self) -> list[str]:
        return [node.name for node in self.cluster.nodes if self.pid(node.name) is not None]

    def log(self, node: str) -> str:
        return log_path(self.data, node).read_text()

    def close(self) -> None:
        for process in self.ups:
            process.terminate()
            process.communicate()
        for node in self.cluster.nodes:
            if pid := self.pid(node.name):
                os.kill(pid, signal.SIGKILL)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [server.getsockname()[1] for server in servers]


def _until(process: "subprocess.Popen[str]", text: str) -> str:
    """What it prints, up to the first line with `text`; fails when that does not come."""
    assert process.stdout is not None
    shown = ""
    too_long = threading.Timer(LONGEST, process.kill)  # the nodes go with the fixture
    too_long.start()
    try:
        for line in process.stdout:
            shown += line
            if text in line:
                return shown
    finally:
        too_long.cancel()
    raise AssertionError(f"It ended with {process.wait()} before it said {text!r}:\n{shown}")


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path)
    yield shop
    shop.close()


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path, catalogs=2, orders=2)
    yield shop
    shop.close()


def test_a_store_opens_survives_a_kill_takes_the_node_back_and_closes(chain: Shop) -> None:
    process = chain.up()
    _until(process, f"Pygmy is open at {chain.cluster.frontends[0].url}")
    bought = chain.ask("buy", "1")
    assert bought.returncode == 0, bought.stderr
    victim = chain.pid("catalog-0")
    assert victim
    os.kill(victim, signal.SIGKILL)
    _until(process, "catalog-0 has ended (killed by signal 9)")
    _until(process, "start catalog-0")
    assert process.poll() is None
    assert chain.ask("--timeout", "30", "lookup", "1").returncode == 0
    again = chain.on("start", "catalog-0")
    assert again.returncode == 0, again.stderr
    assert chain.pid("catalog-0") not in (None, victim)
    _until(process, "catalog-0 ")
    process.terminate()
    process.communicate(timeout=LONGEST)
    assert process.returncode == 0
    assert {node.name: chain.pid(node.name) for node in chain.cluster.nodes} == dict.fromkeys(
        [node.name for node in chain.cluster.nodes]
    )


def test_ctrl_c_reaches_the_nodes_only_as_an_orderly_stop(shop: Shop) -> None:
    """The terminal sends it to the whole process group; a node that got it would not wait for the others."""
    process = shop.up()
    _until(process, "Pygmy is open")
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=LONGEST)
    assert process.returncode == 0
    for node in shop.cluster.nodes:
        assert shop.pid(node.name) is None
        assert "SIGTERM" in shop.log(node.name)
        assert "SIGINT" not in shop.log(node.name)


@pytest.mark.parametrize("last", ["Opening", "Pygmy is open"])
def test_a_reader_that_goes_away_closes_the_store(shop: Shop, last: str) -> None:
    """As in `pygmy up 2>&1 | head -1`: whatever it says next, it cannot say, and its nodes must not outlive it."""
    process = shop.up()
    _until(process, last)
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    assert process.wait(LONGEST) == 0
    assert shop.running() == []


def test_without_stdout_and_stderr_it_opens_and_closes(shop: Shop) -> None:
    process = subprocess.Popen(
        ["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *shop.up_command()],
        cwd=shop.directory,
        env=ENVIRONMENT,
        text=True,
        preexec_fn=like_a_terminal,
    )
    shop.ups.append(process)
    until(lambda: shop.ask("lookup", "1").returncode == 0, "a store")
    process.send_signal(signal.SIGQUIT)
    assert process.wait(LONGEST) == 0
    assert shop.running() == []


@pytest.mark.parametrize("restarted", ["catalog-0", "frontend-0"])
def test_when_all_nodes_are_stopped_elsewhere_it_says_so_and_ends(shop: Shop, restarted: str) -> None:
    """Also where the last one to go was no child of its own any more."""
    process = shop.up()
    _until(process, "Pygmy is open")
    os.kill(shop.pid(restarted) or 0, signal.SIGKILL)
    _until(process, f"{restarted} has ended (killed by signal 9)")
    assert shop.on("start", restarted).returncode == 0
    assert shop.on("stop", "all").returncode == 0
    shown, _ = process.communicate(timeout=LONGEST)
    assert process.returncode == 0
    assert "All nodes have been stopped" in shown
    assert "order-0 has been stopped.\n" in shown
    assert "carry on. Start it again: pygmy start order-0" not in shown
    assert "Closing" not in shown


def test_a_node_that_is_stopped_before_the_store_is_open_keeps_it_closed(shop: Shop) -> None:
    shop.file.write_text(shop.file.read_text().rstrip() + ", host10.invalid\n")
    process = shop.up()
    _until(process, "Waiting for")
    until(lambda: shop.pid("order-0"), "order-0")
    assert shop.on("stop", "order-0").returncode == 0
    shown, _ = process.communicate(timeout=LONGEST)
    assert process.returncode == 1
    assert shown.endswith("Closing ...\norder-0 has been stopped.\n")
    assert shop.running() == []


def test_when_all_nodes_have_fallen_it_says_so_and_fails(shop: Shop) -> None:
    process = shop.up()
    _until(process, "Pygmy is open")
    assert shop.on("stop", "frontend-0").returncode == 0
    for name in shop.running():
        os.kill(shop.pid(name) or 0, signal.SIGKILL)
    shown, _ = process.communicate(timeout=LONGEST)
    assert process.returncode == 1
    assert "No node is left. catalog-0, order-0 did not stop in order." in shown


def test_what_the_nodes_log_is_shown_with_their_names(shop: Shop) -> None:
    process = shop.up()
    _until(process, "Pygmy is open")
    shop.ask("lookup", "1")
    shown = _until(process, "frontend-0  ")
    assert "\x1b" not in shown


def test_an_open_store_is_not_opened_twice(shop: Shop) -> None:
    _until(shop.up(), "Pygmy is open")
    second, _ = shop.up().communicate(timeout=LONGEST)
    assert "open already" in second
    assert shop.ask("lookup", "1").returncode == 0


def test_a_taken_port_is_named_before_anything_starts(shop: Shop) -> None:
    node = shop.cluster.orders[0]
    with socket.create_server(("127.0.0.1", node.port)):
        process = shop.up()
        shown, _ = process.communicate(timeout=LONGEST)
        started = shop.on("start", "order-0")
    assert process.returncode == 1
    assert f"Port {node.port} (order-0) is taken" in shown
    assert not shop.data.exists()
    assert (started.returncode, started.stdout) == (1, "")
    assert f"Port {node.port}" in started.stderr


def test_a_node_that_cannot_start_is_told_and_all_are_stopped(shop: Shop) -> None:
    shop.spoil()
    process = shop.up()
    shown, _ = process.communicate(timeout=LONGEST)
    assert process.returncode == 1
    assert re.search("(catalog|order|frontend)-0 has ended", shown)
    assert "admin.token" in shown
    assert "Traceback" not in shown
    assert shop.running() == []


@pytest.mark.parametrize(
    "command", ["up FILE", "open FILE", "start all --cluster FILE", "run catalog-0 --cluster FILE", "deploy FILE"]
)
def test_a_bad_file_of_books_starts_nothing(shop: Shop, command: str) -> None:
    books = shop.directory / "books.csv"
    books.write_text("title,topic,cost,count\nA,B,cheap,1\nC,D,1,-1\n")
    words = [str(shop.file) if word == "FILE" else word for word in command.split()]
    result = shop.pygmy(*words, "--data", str(shop.data), "--books", str(books))
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.splitlines() == [
        f"Error: --books: {books}:",
        "  row 1 (line 2), cost: expected an amount of 0..1000000 with at most two decimals, not 'cheap';",
        "  row 2 (line 3), count: expected a whole number of 0..1000000000, not '-1'",
    ]
    assert not shop.data.exists()


def test_daemons_start_and_stop_and_say_what_they_are(shop: Shop) -> None:
    started = shop.on("start", "all")
    assert started.returncode == 0, started.stderr
    assert [line.split()[0] for line in started.stdout.splitlines()] == ["catalog-0", "order-0", "frontend-0"]
    assert str(shop.pid("order-0")) in started.stdout
    twice = shop.on("start", "order-0")
    assert (twice.returncode, "running already" in twice.stdout) == (0, True)
    stopped = shop.on("stop", "all")
    assert (stopped.returncode, stopped.stdout.count("has stopped")) == (0, 3)
    assert [shop.pid(node.name) for node in shop.cluster.nodes] == [None] * 3
    again = shop.on("stop", "order-0")
    assert (again.returncode, again.stdout) == (0, "order-0 is not running.\n")


def test_a_killed_daemon_starts_again(shop: Shop) -> None:
    assert shop.on("start", "order-0").returncode == 0
    pid = shop.pid("order-0")
    assert pid
    os.kill(pid, signal.SIGKILL)
    assert pid_path(shop.data, "order-0").exists()
    assert shop.on("start", "order-0").returncode == 0
    assert shop.pid("order-0") not in (None, pid)


def test_a_daemon_that_cannot_start_is_told(shop: Shop) -> None:
    shop.spoil()
    failed = shop.on("start", "catalog-0")
    assert failed.returncode == 1
    assert "catalog-0 did not start" in failed.stderr
    assert "admin.token" in failed.stderr


def test_a_daemon_that_ends_at_once_is_not_up(shop: Shop) -> None:
    """It answers before it has read whose its data is."""
    assert shop.on("start", "all").returncode == 0
    assert shop.on("stop", "all").returncode == 0
    shop.file.write_text(shop.file.read_text().rstrip() + f", localhost:{_free_ports(1)[0]}\n")
    shop.cluster = load_cluster(str(shop.file))
    failed = shop.on("start", "all")
    assert failed.returncode == 1
    assert [line.split()[0] for line in failed.stdout.splitlines()] == ["frontend-1"]
    for name in ("catalog-0", "order-0", "frontend-0"):
        told = failed.stderr.split(f"{name} did not start.\n")[1]
        reason, place, *_ = told.splitlines()
        assert f"{name} cannot start: cluster " in reason
        assert place == f"  Its log is {log_path(shop.data, name)}"
    assert failed.stderr.endswith("3 of 4 nodes did not come up: catalog-0, order-0, frontend-0.\n")


def test_a_daemon_that_has_ended_while_the_others_were_started_is_not_up(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(shop.cluster, str(shop.file), shop.data)
    node = shop.cluster.orders[0]

    async def started(*_: object) -> bool:
        store.log(node).parent.mkdir(parents=True)
        store.log(node).write_text("2026-11-27T22:43:46.872Z critical [-] order-0 stops at once: disk I/O error\n")
        return True

    monkeypatch.setattr(daemons, "start_node", started)
    down: list[Node] = []
    Deferred.fromCoroutine(daemons._start(None, store, [node])).addCallback(down.extend)
    assert down == [node]
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "order-0 has ended since."
    assert told[1].endswith("order-0 stops at once: disk I/O error")


def test_nodes_of_other_machines_are_not_started_here(shop: Shop) -> None:
    shop.file.write_text("localhost\nhost10.invalid\nlocalhost\n")
    one = shop.on("start", "order-0")
    assert (one.returncode, "host10.invalid" in one.stderr) == (2, True)


def test_the_nodes_of_this_machine_are_opened_and_the_others_waited_for(shop: Shop) -> None:
    shop.file.write_text(shop.file.read_text().rstrip() + ", host10.invalid\n")
    process = shop.up()
    shown = _until(process, "Waiting for frontend-1 on other machines")
    assert "Opening catalog-0, order-0, frontend-0 on" in shown
    process.terminate()
    process.communicate(timeout=LONGEST)
    assert process.returncode == 0
    shop.file.write_text("host10.invalid\nhost10.invalid\nhost10.invalid\n")
    nothing = shop.pygmy("up", str(shop.file))
    assert (nothing.returncode, "No node of this cluster runs on this machine" in nothing.stderr) == (2, True)


@pytest.mark.parametrize("text", ["localhost\n", "localhost\nlocalhost:x\nlocalhost\n"])
def test_a_bad_cluster_file_starts_nothing(shop: Shop, text: str) -> None:
    shop.file.write_text(text)
    result = shop.pygmy("up", str(shop.file))
    assert (result.returncode, "line 2" in result.stderr) == (2, True)
    assert shop.on("start", "nosuch").returncode == 2
