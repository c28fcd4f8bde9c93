"""How twistd starts a node: options, endpoints, .tac files, the pid file, the log, and errors in one line."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, succeed
from twisted.python import usage

from pygmy.clock import boottime
from pygmy.cluster import Node, Role, parse_cluster
from pygmy.pidfile import AlreadyRunning, PidFile, running
from pygmy.schedule import Schedule
from pygmy.tap import catalog, frontend, order
from pygmy.tap.maker import build, schedule
from pygmy.tap.options import default_endpoint
from tests.support.processes import until

PROJECT = Path(__file__).parent.parent


class StubNode(Service):
    """Stands for a node; remembers what it was made with."""

    made: dict[str, Any]
    stopping: "Deferred[None] | None" = None

    def stopService(self) -> "Deferred[None]":
        super().stopService()
        return self.stopping or succeed(None)


def make_stub(**made: Any) -> IService:
    node = StubNode()
    node.made = made
    return node


def parsed(module: Any, *arguments: str) -> Any:
    options = module.Options()
    options.parseOptions(arguments)
    return options


def test_a_node_is_named_by_index_or_by_name(tmp_path: Path) -> None:
    for name in ("1", "order-1"):
        assert parsed(order, "--node", name, "--data", str(tmp_path)).node.name == "order-1"
    assert parsed(frontend, "--data", str(tmp_path)).node.name == "frontend-0"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--node", "2"], "catalog-0, catalog-1"),
        (["--node", "order-0"], "--node order-0"),
        (["--node", "-1"], "--node -1"),
        (["--cluster", "/nowhere"], "/nowhere"),
        (["--nosuch"], "nosuch"),
        (["--no-cache"], "no-cache"),
        (["--backup-hours", "often"], "--backup-hours often: expected hours"),
        (["--backup-hours", "nan"], "expected hours"),
        (["--backup-hours", "-1"], "expected hours"),
        (["--backup-hours", "8761"], "up to 8760"),
        (["--backups", "0"], "--backups 0: expected how many backups are kept, 1 to 1000."),
        (["--backups", "1001"], "1 to 1000"),
        (["--backups", "1.5"], "1 to 1000"),
    ],
)
def test_a_wrong_option_is_told_in_one_line(arguments: list[str], told: str) -> None:
    with pytest.raises(usage.UsageError) as caught:
        parsed(catalog, *arguments)
    assert told in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_bad_cluster_file_is_told_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "cluster"
    file.write_text("localhost\nlocalhost:x\nlocalhost\n")
    with pytest.raises(usage.UsageError, match="line 2, column 11"):
        parsed(catalog, "--cluster", str(file))


@pytest.mark.parametrize(
    ("host", "endpoint"),
    [
        ("localhost", "tcp:7:interface=127.0.0.1"),
        ("LocalHost", "tcp:7:interface=127.0.0.1"),
        ("127.0.0.2", "tcp:7:interface=127.0.0.2"),
        ("[::1]", r"tcp6:7:interface=\:\:1"),
        ("host10", "tcp:7"),
        ("10.0.0.1", "tcp:7"),
        ("[2001:db8::1]", r"tcp6:7:interface=\:\:"),
    ],
)
def test_a_local_node_listens_on_loopback_only(host: str, endpoint: str) -> None:
    (node,) = parse_cluster(f"{host}:7\nlocalhost\nlocalhost\n").catalogs
    assert default_endpoint(node) == endpoint


def test_the_builder_gets_what_was_asked_for(tmp_path: Path) -> None:
    from twisted.internet import reactor  # noqa: TID251

    options = parsed(catalog, "--node=1", "--data", str(tmp_path), "--port", "tcp:0", "--books", "/books.csv")
    before = boottime()
    process: Any = build(options, make_stub)
    made = process.node.made
    process.stopService()
    assert made.pop("reactor") is reactor
    assert "timeout" in vars(reactor), "it wakes up for what was cancelled"
    assert vars(reactor)["wake_ups_are_shared"], "each loop wakes it by itself"
    assert before <= made.pop("alone_since") <= boottime()
    assert made.pop("cluster") == options.cluster
    assert made == {
        "role": Role.CATALOG,
        "node": Node(Role.CATALOG, 1, "localhost", 5003),
        "data": str(tmp_path),
        "port": "tcp:0",
        "tls": None,
        "insecure": False,
        "books": "/books.csv",
        "backups": Schedule(),
    }
    closed: Any = build(parsed(frontend, "--data", str(tmp_path), "--no-cache"), make_stub)
    assert closed.node.made["cache"] is False
    assert "backups" not in closed.node.made
    closed.stopService()


def test_the_builder_gets_the_schedule_of_backups(tmp_path: Path) -> None:
    for module in (catalog, order):
        options = parsed(module, "--data", str(tmp_path), "--backup-hours", "0.5", "--backups", "1000")
        process: Any = build(options, make_stub)
        assert process.node.made["backups"] == Schedule(0.5, 1000)
        process.stopService()
    assert schedule(parsed(order, "--backup-hours", "0").settings) == Schedule(0.0, 7)
    with pytest.raises(usage.UsageError, match="backups"):
        parsed(frontend, "--backups", "3")


@pytest.mark.parametrize("error", [OSError(2, "No such file", "/books"), ValueError("no\nsuch book")])
def test_what_keeps_a_node_from_starting_is_told_in_one_line(tmp_path: Path, error: Exception) -> None:
    def refuse(**made: Any) -> IService:
        raise error

    options = parsed(catalog, "--data", str(tmp_path))
    with pytest.raises(usage.UsageError) as caught:
        build(options, refuse)
    assert len(str(caught.value).splitlines()) == 1
    assert running(tmp_path / "catalog-0" / "twistd.pid") is None


# ---- the pid file


def test_a_second_process_on_a_directory_is_refused(tmp_path: Path) -> None:
    options = parsed(catalog, "--data", str(tmp_path))
    first = build(options, make_stub)
    with pytest.raises(usage.UsageError, match="catalog-0 is already running"):
        build(options, make_stub)
    first.stopService()
    build(options, make_stub).stopService()


def test_a_pid_file_left_behind_stops_nobody(tmp_path: Path) -> None:
    """After kill -9 or a reboot the number in it may be anyone's: here it is our own."""
    path = tmp_path / "catalog-0" / "twistd.pid"
    path.parent.mkdir()
    path.write_text(f"{os.getpid()}\n")
    assert running(path) is None
    lock = PidFile(path)
    assert running(path) == 0
    lock.write()
    assert running(path) == os.getpid()
    with pytest.raises(AlreadyRunning, match=str(os.getpid())):
        PidFile(path)
    lock.release()
    lock.release()
    assert running(path) is None
    assert not path.exists()


def test_the_pid_file_goes_after_the_node_has_stopped(tmp_path: Path) -> None:
    """Whoever waits for it may start the node again at once."""
    process: Any = build(parsed(catalog, "--data", str(tmp_path)), make_stub)
    process.node.stopping = Deferred()
    path = tmp_path / "catalog-0" / "twistd.pid"
    stopped = process.stopService()
    assert running(path) is not None
    process.node.stopping.callback(None)
    assert running(path) is None
    assert stopped.called


def test_under_twistd_no_two_nodes_share_a_pid_file(tmp_path: Path) -> None:
    for given, left in (("twistd.pid", ""), ("/my/own.pid", "/my/own.pid")):
        options = catalog.Options()
        options.parent = {"pidfile": given}
        options.parseOptions(["--data", str(tmp_path)])
        assert options.parent == {"pidfile": left}


# ---- as processes

STUB = """
import sys, types
from twisted.application.service import Service
stub = types.ModuleType("pygmy.node")
def make_node(**made):
    made["reactor"].callWhenRunning(made["reactor"].stop)
    from twisted.application import strports
    from twisted.web.server import Site
    from twisted.web.resource import Resource
    return strports.service(made["port"], Site(Resource()), reactor=made["reactor"])
stub.make_node = make_node
sys.modules["pygmy.node"] = stub
from twisted.scripts.twistd import run
sys.argv[0] = "twistd"
run()
"""


def twistd(directory: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """twistd in that directory; its nodes are stubs that listen and stop at once."""
    return subprocess.run(
        [sys.executable, "-c", STUB, *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(PROJECT), *sys.path]), **environment},
        check=False,
    )


@pytest.mark.parametrize(("name", "log"), [("catalog", "catalog"), ("order", "orders"), ("frontend", "frontend")])
def test_tac_files_take_their_options_from_the_environment(tmp_path: Path, name: str, log: str) -> None:
    cluster = tmp_path / "cluster"
    cluster.write_text("localhost:1\nlocalhost:2\nlocalhost:3\n")
    environment = {"PYGMY_CLUSTER": str(cluster), "PYGMY_DATA": str(tmp_path / "data")}
    tac = ["--nodaemon", "--pidfile=", "-y", str(PROJECT / "tac" / f"{name}.tac")]
    wrong = twistd(tmp_path, *tac, **environment, PYGMY_NODE="7")
    assert (wrong.returncode, wrong.stderr) == (1, f"pygmy-{name}: PYGMY_NODE=7: the cluster has {name}-0.\n")
    if name != "frontend":
        wrong = twistd(tmp_path, *tac, **environment, PYGMY_NODE="0", PYGMY_BACKUP_HOURS="x")
        assert (wrong.returncode, wrong.stderr.splitlines()) == (1, wrong.stderr.split("\n")[:1])
        assert wrong.stderr.startswith(f"pygmy-{name}: PYGMY_BACKUP_HOURS=x: expected hours")
        wrong = twistd(tmp_path, *tac, **environment, PYGMY_NODE="0", PYGMY_BACKUPS="0")
        assert wrong.stderr.startswith(f"pygmy-{name}: PYGMY_BACKUPS=0: expected how many")
    started = twistd(tmp_path, *tac, **environment, PYGMY_NODE="0", PYGMY_PORT="tcp:0:interface=127.0.0.1")
    assert started.returncode == 0, started.stderr
    assert "Site starting on" in (tmp_path / "data" / f"{name}-0" / f"{log}.log").read_text()
    assert "Site starting on" in started.stdout
    assert not (tmp_path / "twistd.log").exists()


def test_a_daemon_logs_into_its_directory_only(tmp_path: Path) -> None:
    done = twistd(tmp_path, "pygmy-order", "--data", "data", "--port", "tcp:0:interface=127.0.0.1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert {path.name for path in tmp_path.iterdir()} <= {"data"}


def test_a_node_logs_json_to_stdout_alone_and_a_daemon_which_has_none_to_its_file(tmp_path: Path) -> None:
    arguments = ["pygmy-order", "--data", "data", "--port", "tcp:0:interface=127.0.0.1", "--log-file", "-"]
    arguments += ["--log-format", "json"]
    log = tmp_path / "data" / "order-0" / "orders.log"
    (tmp_path / "pygmy.toml").write_text("backups = 3\n")
    shown = twistd(tmp_path, "--nodaemon", *arguments, PYGMY_QQQQQQQQQQQQQQ="secret")
    assert (shown.returncode, shown.stderr, log.exists()) == (0, "", False)
    told = {entry["message"]: entry for entry in map(json.loads, shown.stdout.splitlines())}
    assert told[f"settings are in {tmp_path}/pygmy.toml"]["node"] == "order-0"
    assert told["PYGMY_QQQQQQQQQQQQQQ is no setting of Pygmy."]["level"] == "warn"
    assert any("Site starting on" in message for message in told)
    daemon = twistd(tmp_path, *arguments)
    assert (daemon.returncode, daemon.stdout, daemon.stderr) == (0, "", "")
    until(lambda: "Site starting on" in log.read_text(), "a log of the daemon")
    assert all(json.loads(line)["level"] for line in log.read_text().splitlines())


@pytest.mark.parametrize("name", ["file/log", "directory"])
def test_a_log_that_cannot_be_is_told_before_the_node_starts(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    options = parsed(catalog, "--data", str(tmp_path), "--log-file", str(tmp_path / name))
    with pytest.raises(usage.UsageError, match=r"/(file|directory): (Not a directory|File exists|Is a directory)"):
        build(options, make_stub)
    assert running(tmp_path / "catalog-0" / "twistd.pid") is None


@pytest.mark.parametrize("arguments", [["--node", "7"], ["--nosuch"], ["--port", "nosuch:7"], ["--cluster", "/x"]])
def test_twistd_shows_one_line_and_fails(tmp_path: Path, arguments: list[str]) -> None:
    done = twistd(tmp_path, "--nodaemon", "pygmy-catalog", "--data", "data", *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("pygmy-catalog: ")
    assert len(done.stderr.splitlines()) == 1


def test_a_taken_port_is_told_without_a_traceback(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
        done = twistd(tmp_path, "--nodaemon", "pygmy-order", "--data", "data", "--port", port)
    assert done.returncode == 1
    log = (tmp_path / "data" / "order-0" / "orders.log").read_text()
    assert "order-0 cannot start" in log
    assert "Traceback" not in log + done.stdout + done.stderr
    assert not (tmp_path / "data" / "order-0" / "twistd.pid").exists()
