"""The image, compose.yaml and `pygmy up --docker` fit together, as far as can be told without an engine.

.ci/containers builds and runs them for real.
"""

import json
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from pygmy.cli import docker, running
from pygmy.cli.composing import composition
from pygmy.cli.main import main
from pygmy.cluster import load_cluster, parse_cluster
from pygmy.datadir import pid_path
from pygmy.pidfile import PidFile
from pygmy.tap import catalog, frontend, order
from pygmy.tls.contexts import load_credentials
from pygmy.web.auth import Secrets
from tests.support.processes import ENVIRONMENT, like_a_terminal

PROJECT = Path(__file__).parent.parent
OPTIONS = {"pygmy-catalog": catalog.Options, "pygmy-order": order.Options, "pygmy-frontend": frontend.Options}
LONGEST = 90


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's: (`COPY`, the rest of the line), continued lines as one."""
    text = re.sub(r"^#.*\n", "", (PROJECT / "Dockerfile").read_text(), flags=re.M).replace("\\\n", " ")
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in text.splitlines() if line.strip()]


def last(instruction: str) -> str:
    """What the image ends up with."""
    return [rest for name, rest in instructions() if name == instruction][-1]


def compose_file() -> dict[str, Any]:
    """compose.yaml without what is only there to be repeated."""
    content = yaml.safe_load((PROJECT / "compose.yaml").read_text())
    return {key: value for key, value in content.items() if not key.startswith("x-")}


def pygmy(*arguments: str | Path, path: Path | None = None) -> "subprocess.CompletedProcess[str]":
    environment = ENVIRONMENT if path is None else {**ENVIRONMENT, "PATH": str(path)}
    command = [sys.executable, "-m", "pygmy", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LONGEST, check=False)


# ---- the image


def test_the_image_runs_a_node_as_a_user_of_its_own_and_stops_it_by_sigterm() -> None:
    assert json.loads(last("ENTRYPOINT")) == ["pygmy", "run"]  # in this form it is process 1, and gets the signal
    assert last("STOPSIGNAL") == "SIGTERM"
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last("USER"))
    assert last("VOLUME") == "/data"


def test_the_image_runs_commands_that_there_are() -> None:
    checked = json.loads(last("HEALTHCHECK").partition("CMD ")[2])
    for command in (json.loads(last("ENTRYPOINT")), checked):
        assert command[0] == "pygmy"
        assert command[1] in main.commands


def test_the_image_is_made_of_files_that_docker_is_sent() -> None:
    """.dockerignore leaves out all but those, and no data directory or secret that lies about."""
    kept = [line[1:] for line in (PROJECT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [
        word for name, rest in instructions() if name == "COPY" and "--from" not in rest for word in rest.split()[:-1]
    ]
    assert sorted(copied) == sorted(kept)
    assert all((PROJECT / name).exists() for name in copied)
    assert not any(fnmatch(name, pattern) for name in ("pygmy-data", ".git", "cluster.secret") for pattern in kept)


# ---- compose.yaml


def test_compose_yaml_is_what_pygmy_up_makes_of_the_default_cluster() -> None:
    said = composition("pygmy", load_cluster(None), image="${PYGMY_IMAGE:-pygmy}", source=Path())
    assert compose_file() == said


def test_every_node_of_compose_yaml_is_started_as_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = compose_file()
    file = tmp_path / "cluster.txt"
    file.write_text(content["configs"]["cluster"]["content"])
    monkeypatch.setenv("PYGMY_CLUSTER", str(file))
    monkeypatch.setenv("PYGMY_DATA", str(tmp_path))
    replaced: list[list[str]] = []
    monkeypatch.setattr(running.os, "execv", lambda program, words: replaced.append(words))
    for name in content["services"]:
        if name != "setup":
            assert CliRunner().invoke(main, ["run", *content["services"][name]["command"]]).exit_code == 0
            at = next(number for number, word in enumerate(replaced[-1]) if word in OPTIONS)
            options = OPTIONS[replaced[-1][at]]()
            options.parseOptions(replaced[-1][at + 1 :])
            assert (options.node.name, options.node.host, options.data) == (name, name, tmp_path)
            assert "--nodaemon" in replaced[-1][:at]  # process 1 must not go to the background


def test_front_ends_are_published_where_the_cluster_file_has_them() -> None:
    cluster = parse_cluster("localhost\nlocalhost\nlocalhost:7000, localhost:7003\n")
    services = composition("shop", cluster, environment={"PYGMY_CACHE": "no"})["services"]
    assert services["frontend-0"]["ports"] == ["127.0.0.1:7000:5002"]
    assert services["frontend-1"]["ports"] == ["127.0.0.1:7003:5005"]
    assert "ports" not in services["catalog-0"]
    assert services["order-0"]["environment"] == {"PYGMY_LOG_FILE": "-", "PYGMY_CACHE": "no"}
    assert "build" not in services["setup"]


# ---- pygmy prepare


def prepared(tmp_path: Path, *arguments: str) -> Result:
    file = tmp_path / "cluster.txt"
    file.write_text("catalog-0, catalog-1\norder-0\nfrontend-0\n")
    words = [
        "prepare",
        str(tmp_path / "nodes"),
        "--cluster",
        str(file),
        "--data",
        str(tmp_path / "setup"),
        *arguments,
    ]
    return CliRunner().invoke(main, words, catch_exceptions=False)


def files(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def test_each_node_gets_what_it_needs_and_no_key_of_another(tmp_path: Path) -> None:
    assert prepared(tmp_path).exit_code == 0
    whole = Secrets.load(str(tmp_path / "setup"))
    for name in ("catalog-0", "catalog-1", "order-0", "frontend-0"):
        directory = tmp_path / "nodes" / name
        assert sorted(files(directory)) == sorted(
            ["cluster.txt", "cluster.secret", "admin.token", "tls/ca.pem", f"tls/{name}.pem", f"tls/{name}.key"]
        )
        assert Secrets.load(str(directory)) == whole
        assert load_credentials(directory / "tls", name).node == name
        assert all(path.stat().st_mode & 0o077 == 0 for path in directory.rglob("*"))


def test_prepared_again_what_is_good_stays(tmp_path: Path) -> None:
    prepared(tmp_path)
    lost = tmp_path / "nodes" / "catalog-1" / "tls" / "catalog-1.key"
    before, key = files(tmp_path / "nodes"), lost.read_bytes()
    kept = (tmp_path / "nodes" / "order-0" / "admin.token").stat().st_ino
    lost.unlink()
    assert prepared(tmp_path).exit_code == 0
    assert lost.read_bytes() == key
    assert files(tmp_path / "nodes") == before
    assert (tmp_path / "nodes" / "order-0" / "admin.token").stat().st_ino == kept


def test_what_cannot_be_prepared_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "nodes").mkdir()
    (tmp_path / "nodes" / "catalog-0").write_text("in the way")
    result = prepared(tmp_path)
    assert result.exit_code == 1
    assert result.output.count("\n") == 1
    assert result.output.startswith(str(tmp_path / "nodes" / "catalog-0"))


# ---- pygmy run, pygmy health


def test_a_node_that_there_is_not_is_not_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(running.os, "execv", lambda *_: pytest.fail("it was run"))
    for name in ("catalog-7", "all", "nonsense"):
        assert CliRunner().invoke(main, ["run", name, "--data", str(tmp_path)]).exit_code == 2


class Node:
    """A front end that says whether it is healthy; that, and no more."""

    def __init__(self, tmp_path: Path) -> None:
        self.says = "Healthy"
        node = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = json.dumps({"message": node.says}).encode()
                self.send_response(200 if node.says == "Healthy" else 503)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.cluster = tmp_path / "cluster.txt"
        self.cluster.write_text(f"localhost\nlocalhost\nlocalhost:{self.server.server_port}\n")
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    yield node
    node.server.shutdown()
    node.server.server_close()


def test_health_tells_of_the_node_that_runs_here(node: Node, tmp_path: Path) -> None:
    """It is what Docker goes by: healthy is exit code 0, and only that."""
    ask = ("health", "--cluster", node.cluster, "--data", tmp_path)
    nobody = pygmy(*ask)
    assert (nobody.returncode, nobody.stderr) == (69, f"No node runs on {tmp_path}.\n")
    pid_file = PidFile(pid_path(tmp_path, "frontend-0"))
    try:
        healthy = pygmy(*ask)
        node.says = "The node is shutting down."
        stopping = pygmy(*ask)
    finally:
        pid_file.release()
    assert (healthy.returncode, healthy.stdout) == (0, "frontend-0: Healthy\n")
    assert (stopping.returncode, stopping.stdout) == (69, "frontend-0: The node is shutting down.\n")


# ---- pygmy up --docker

FAKE = """#!/bin/sh
printf '%s\\n' "$*" >>"$0.calls"
case "$*" in
*" up "*) cp "$5" "$0.file" ;;
*" exec "*) [ -e "$0.asked" ] || { : >"$0.asked"; echo "frontend-0: The catalog is not open yet."; exit 69; } ;;
*" logs "*) echo "catalog-0-1  | serves"; exec sleep 60 ;;
esac
"""


class Docker:
    """A program of this name that does nothing, and keeps how it was called."""

    def __init__(self, directory: Path, script: str = FAKE) -> None:
        self.bin = directory / "bin"
        self.bin.mkdir()
        self.program = self.bin / "docker"
        self.program.write_text(script)
        self.program.chmod(0o755)
        for tool in ("sh", "cp", "sleep"):
            (self.bin / tool).symlink_to(next(p for d in ("/bin", "/usr/bin") if (p := Path(d) / tool).exists()))

    @property
    def calls(self) -> list[str]:
        """The command lines, without the project's own file."""
        lines = self.program.with_name("docker.calls").read_text().splitlines()
        return [re.sub(r"^compose --project-name (\S+) --file \S+/compose\.json", r"\1:", line) for line in lines]


def shop(tmp_path: Path) -> Path:
    """A cluster file whose front end's port is free."""
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        port = server.server_port
    file = tmp_path / "My Shop.txt"
    file.write_text(f"localhost\nlocalhost\nlocalhost:{port}\n")
    return file


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_docker_opens_waits_follows_and_closes(tmp_path: Path, number: signal.Signals) -> None:
    fake, file = Docker(tmp_path), shop(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-m", "pygmy", "up", "--docker", str(file), "--no-cache"],
        env={**ENVIRONMENT, "PATH": str(fake.bin)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=like_a_terminal,
    )
    timer = threading.Timer(LONGEST, process.kill)
    timer.start()
    assert process.stdout is not None
    seen = ""
    while "serves" not in seen and (line := process.stdout.readline()):
        seen += line
    process.send_signal(number)
    process.communicate()
    timer.cancel()
    assert process.returncode == 0
    port = load_cluster(str(file)).frontends[0].port
    assert f"Pygmy is open at https://localhost:{port}\n" in seen
    assert fake.calls == [
        "version --format {{.Server.Version}}",
        "compose version",
        "pygmy-my-shop: up --detach --remove-orphans --build",
        "pygmy-my-shop: exec -T frontend-0 pygmy health",
        "pygmy-my-shop: exec -T frontend-0 pygmy health",
        "pygmy-my-shop: logs --follow --tail 0",
        "pygmy-my-shop: down",
    ]
    said = json.loads(fake.program.with_name("docker.file").read_text())
    assert said["services"]["frontend-0"]["environment"] == {"PYGMY_LOG_FILE": "-", "PYGMY_CACHE": "no"}
    assert said["services"]["setup"]["build"]["context"] == str(PROJECT)


def test_up_docker_closes_also_when_nobody_reads_what_it_says(tmp_path: Path) -> None:
    fake = Docker(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-m", "pygmy", "up", "--docker", str(shop(tmp_path))],
        env={**ENVIRONMENT, "PATH": str(fake.bin)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=like_a_terminal,
    )
    timer = threading.Timer(LONGEST, process.kill)
    timer.start()
    assert process.stdout is not None
    while (line := process.stdout.readline()) and b"serves" not in line:
        pass
    process.stdout.close()
    process.terminate()
    assert process.wait() == 0
    timer.cancel()
    assert fake.calls[-1] == "pygmy-my-shop: down"


def refused(tmp_path: Path, path: Path) -> str:
    result = pygmy("up", "--docker", shop(tmp_path), path=path)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_without_docker_up_says_so_in_one_line(tmp_path: Path) -> None:
    assert "no docker command" in refused(tmp_path, tmp_path)


def test_without_its_daemon_up_says_so_in_one_line(tmp_path: Path) -> None:
    fake = Docker(
        tmp_path, "#!/bin/sh\nprintf 'Client: 28\\n'\nprintf 'DEPRECATED\\n\\nCannot connect.\\n' >&2\nexit 1\n"
    )
    assert refused(tmp_path, fake.bin) == "Docker's daemon does not answer: Cannot connect.\n"


def test_without_compose_up_says_so_in_one_line(tmp_path: Path) -> None:
    fake = Docker(
        tmp_path, '#!/bin/sh\n[ "$1" != compose ] || { echo "unknown command: docker compose" >&2; exit 1; }\n'
    )
    assert "no `docker compose`" in refused(tmp_path, fake.bin)


def test_where_nothing_can_be_built_the_image_has_to_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = Docker(tmp_path, '#!/bin/sh\n[ "$1" != image ] || exit 1\n')
    monkeypatch.setenv("PATH", str(fake.bin))
    assert docker.image_trouble(PROJECT) is None
    assert "docker load" in str(docker.image_trouble(None))


@pytest.mark.parametrize("option", ["--data here", "--books pyproject.toml", "--tls off", "--listen tcp:80"])
def test_what_is_about_this_machines_files_does_not_go_with_docker(option: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["up", "--docker", *shlex.split(option)])
    assert result.exit_code == 2
    assert "--docker do not go together" in result.output


def test_nodes_of_other_machines_do_not_go_with_docker(tmp_path: Path) -> None:
    file = tmp_path / "cluster.txt"
    file.write_text("localhost, 192.0.2.7\nlocalhost\nlocalhost\n")
    result = CliRunner().invoke(main, ["up", "--docker", str(file)])
    assert result.exit_code == 2
    assert "catalog-1 runs on 192.0.2.7" in result.output
