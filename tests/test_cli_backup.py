"""`pygmy backup` and `pygmy restore` as people type them: what they say, what they ask, their exit codes."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pygmy.cli.main import main
from pygmy.cli.nodes import Store
from pygmy.cluster import load_cluster
from pygmy.database.backup import seal
from pygmy.pidfile import PidFile
from tests.support.processes import ENVIRONMENT, free_ports, like_a_terminal
from tests.support.real_log import member
from tests.test_backup import proven

TOKEN = "opensesame" * 4
AT = 1_795_000_000_000  # 2026-11-18 11:06:40 UTC


class Server:
    """A replica that answers POST /backup with what it is told to, and keeps what it was asked."""

    def __init__(self, name: str, status: int = 201, *, silent: bool = False) -> None:
        self.asked = threading.Event()
        self._over = threading.Event()
        self.seen: list[tuple[str, str, str]] = []
        self.made = {"node": name, "file": f"/backups/{name}.sqlite", "bytes": 4096, "head": 7, "seconds": 0.25}
        problem = {"type": "t", "title": "T", "status": status, "detail": "The disk is full."}
        answer = json.dumps(self.made if status == 201 else problem).encode()
        seen, asked, over = self.seen, self.asked, self._over

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                seen.append((self.command, self.path, self.headers["Authorization"]))
                asked.set()
                if silent:
                    over.wait()
                    return
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Scene:
    """A data directory with the admin token, a cluster file, and commands about them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.data.mkdir()
        token = self.data / "admin.token"
        token.write_text(TOKEN)
        token.chmod(0o600)
        self.servers: list[Server] = []

    def serve(self, *servers: Server, dead: int = 0) -> None:
        """The catalogs and the one order server of the cluster, and so many catalogs where nobody listens."""
        self.servers += servers
        *catalogs, order = [server.port for server in servers]
        catalogs += free_ports(dead)
        hosts = ",".join(f"localhost:{port}" for port in catalogs)
        (self.directory / "cluster").write_text(f"{hosts}\nlocalhost:{order}\nlocalhost:{free_ports(1)[0]}\n")

    def line(self, *arguments: str) -> list[str]:
        first = ["--json"] if arguments[0] == "--json" else []
        command, *rest = arguments[len(first) :]
        places = ["--cluster", str(self.directory / "cluster"), "--data", str(self.data)]
        return [sys.executable, "-m", "pygmy", *first, command, *rest, *places]

    def pygmy(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.line(*arguments),
            cwd=self.directory,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def restore(self, *arguments: str) -> Result:
        return CliRunner().invoke(main, ["restore", *arguments, "--data", str(self.data)], catch_exceptions=False)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    for server in scene.servers:
        server.close()


# ---- backup


def test_every_replica_is_asked_with_the_admin_token(scene: Scene) -> None:
    scene.serve(*(Server(name) for name in ("catalog-0", "catalog-1", "order-0")))
    result = scene.pygmy("backup")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        f"{name}  /backups/{name}.sqlite  4,096 bytes, 0.2 s" for name in ("catalog-0", "catalog-1", "order-0")
    ]
    assert [server.seen for server in scene.servers] == [[("POST", "/backup", f"Bearer {TOKEN}")]] * 3


def test_only_those_that_are_named_are_asked_and_json_is_theirs(scene: Scene) -> None:
    scene.serve(*(Server(name) for name in ("catalog-0", "catalog-1", "order-0")))
    result = scene.pygmy("--json", "backup", "catalog-1", "catalog-1")
    assert json.loads(result.stdout) == scene.servers[1].made
    assert [len(server.seen) for server in scene.servers] == [0, 1, 0]


def test_one_that_fails_is_told_and_the_others_are_backed_up(scene: Scene) -> None:
    scene.serve(Server("catalog-0", 503), Server("order-0"), dead=1)
    result = scene.pygmy("backup")
    assert result.returncode == 69
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["order-0"]
    full, dead = result.stderr.splitlines()
    assert full == "catalog-0: The disk is full."
    assert dead.startswith("catalog-1: There is no store at http://localhost:")


def test_an_interrupted_backup_is_an_unknown_outcome_and_nobody_else_is_asked(scene: Scene) -> None:
    scene.serve(Server("catalog-0", silent=True), Server("order-0"))
    process = subprocess.Popen(
        scene.line("backup"),
        cwd=scene.directory,
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=like_a_terminal,
    )
    assert scene.servers[0].asked.wait(60)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75
    assert errors == "catalog-0: Interrupted while the store was at work. It may or may not have been done.\n"
    assert scene.servers[1].seen == []


@pytest.mark.parametrize(("node", "told"), [("frontend-0", "no database"), ("catalog-9", "There is no node")])
def test_who_cannot_be_backed_up_is_a_usage_error(scene: Scene, node: str, told: str) -> None:
    scene.serve(Server("catalog-0"), Server("order-0"))
    result = scene.pygmy("backup", "catalog-0", node)
    assert (result.returncode, told in result.stderr, scene.servers[0].seen) == (2, True, [])


def test_without_a_token_nobody_is_asked(scene: Scene) -> None:
    scene.serve(Server("catalog-0"), Server("order-0"))
    (scene.data / "admin.token").unlink()
    result = scene.pygmy("backup")
    assert (result.returncode, "admin.token" in result.stderr, scene.servers[0].seen) == (2, True, [])


# ---- force-view


def test_a_view_is_not_forced_on_a_node_that_is_down(scene: Scene) -> None:
    scene.serve(Server("catalog-0"), Server("order-0"), dead=1)
    result = scene.pygmy("force-view", "catalog-1", "--yes")
    assert (result.returncode, result.stdout) == (69, "")
    assert "catalog-1 does not answer: start it first.\n" in result.stderr


# ---- restore


def backed_up(scene: Scene, count: int = 5) -> Path:
    file = scene.directory / "catalog-1-20261118T110640Z-5.sqlite"
    member(file, "catalog", count)
    seal(file, "catalog-1", "catalog", AT)
    return file


def test_a_restored_node_is_told_of_with_the_next_step(scene: Scene) -> None:
    file = backed_up(scene)
    assert scene.restore("catalog-0", str(file)).exit_code == 0
    result = scene.restore("catalog-0", str(file))
    (aside,) = (scene.data / "catalog-0").glob("replaced-*")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "catalog-0 has the catalog of catalog-1 of 2026-11-18 11:06:40 UTC, up to batch 5.",
        f"What it had before is in {aside}",
        f"Next: pygmy start catalog-0 --data {scene.data}",
    ]
    assert proven(scene.data / "catalog-0" / "catalog.sqlite") == 5


def test_a_running_node_is_to_be_stopped_first(scene: Scene) -> None:
    file = backed_up(scene)
    lock = PidFile(scene.data / "catalog-0" / "twistd.pid")
    result = scene.restore("catalog-0", str(file))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("catalog-0 is already running")
    assert f"Stop it first: pygmy stop catalog-0 --data {scene.data}" in result.stderr
    lock.release()


def test_what_cannot_be_restored_is_told_in_one_line(scene: Scene) -> None:
    file = backed_up(scene)
    result = scene.restore("order-0", str(file))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"{file} is a database of the catalog tier, not of the order tier.\n"
    assert os.listdir(scene.data / "order-0") == []


@pytest.mark.parametrize("node", ["frontend-0", "catalog-9", "all"])
def test_restore_takes_one_replica(scene: Scene, node: str) -> None:
    result = scene.restore(node, str(backed_up(scene)))
    assert (result.exit_code, result.stdout) == (2, "")


def test_a_node_of_another_machine_is_restored_there(scene: Scene) -> None:
    cluster = scene.directory / "cluster"
    cluster.write_text("192.0.2.1\nlocalhost\nlocalhost\n")
    result = scene.restore("catalog-0", str(backed_up(scene)), "--cluster", str(cluster))
    assert (result.exit_code, "runs on 192.0.2.1: restore it there" in result.stderr) == (2, True)


def test_a_file_that_is_not_there_is_a_usage_error(scene: Scene) -> None:
    result = scene.restore("catalog-0", str(scene.directory / "nothing"))
    assert (result.exit_code, "does not exist" in result.stderr) == (2, True)


# ---- the schedule


def test_replicas_are_started_with_the_schedule_that_was_asked_for() -> None:
    cluster = load_cluster(None)
    store = Store(cluster, None, Path("/data"), {"backup-hours": "0.5", "backups": "3"})
    for node in (cluster.catalogs[0], cluster.orders[1]):
        assert store.command(node, daemon=True)[-4:] == ["--backup-hours", "0.5", "--backups", "3"]
    assert "--backups" not in store.command(cluster.frontends[0], daemon=True)
    plain = Store(cluster, None, Path("/data")).command(cluster.catalogs[0], daemon=True)
    assert "--backups" not in plain


@pytest.mark.parametrize(
    ("option", "value"),
    [("--backup-hours", "often"), ("--backup-hours", "nan"), ("--backups", "0"), ("--backups", "1001")],
)
@pytest.mark.parametrize("command", [["up"], ["start", "all"]])
def test_a_schedule_that_cannot_be_kept_is_a_usage_error(command: list[str], option: str, value: str) -> None:
    result = CliRunner().invoke(main, [*command, option, value])
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"Invalid value for '{option}': '{value}': expected" in result.stderr
