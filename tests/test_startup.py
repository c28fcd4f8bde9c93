"""What a start loads: what a node or a command does not use costs it nothing."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from pygmy import claim as claims
from pygmy.claim import claim, claim_early, drop
from pygmy.clock import boottime
from pygmy.pidfile import AlreadyRunning, running
from pygmy.tls import absence
from pygmy.tls.absence import leave_out
from pygmy.tls.places import plain

PROJECT = Path(__file__).parent.parent
NODE = """
from twisted.scripts import twistd
from pygmy.tap.catalog import Options
from pygmy.tap.maker import build
options = Options()
options.parseOptions(["--node", "0"])
assert "twisted.internet.reactor" not in sys.modules, "no lock is held yet"
build(options)
assert "klein" in sys.modules
"""
COMMAND = """
from pygmy.cli.main import main
main.commands["lookup"]
"""
NOT_IN_A_NODE = (
    "OpenSSL", "service_identity", "cryptography", "twisted.internet.ssl", "twisted.protocols.tls", "click",
    "setuptools", "pkg_resources", "jinja2", "treq.testing", "twisted.trial", "pygmy.cli", "pygmy.tls.contexts",
    "pygmy.tls.certificates", "pygmy.deploy", "pygmy.drill", "pygmy.bench", "pygmy.audit",
)  # fmt: skip
NOT_IN_A_COMMAND = ("twisted", "klein", "treq", "werkzeug", "prometheus_client", "OpenSSL", "cryptography", "asyncio")


def loaded(program: str, home: Path) -> set[str]:
    """The modules that a Python has loaded after this."""
    told = "import json; print(json.dumps([name for name, module in sys.modules.items() if module is not None]))"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{program}\n{told}"],
        cwd=home, env={"PYTHONPATH": str(PROJECT)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("program", "unwanted"), [(NODE, NOT_IN_A_NODE), (COMMAND, NOT_IN_A_COMMAND)], ids=["node", "command"]
)
def test_what_is_not_used_is_not_loaded(program: str, unwanted: tuple[str, ...], tmp_path: Path) -> None:
    assert loaded(program, tmp_path).isdisjoint(unwanted)


@pytest.mark.parametrize(
    ("places", "left_out"),
    [
        (("tcp:5000:interface=127.0.0.1",), True),
        (("tcp6:5000:interface=\\:\\:1", "unix:/run/pygmy"), True),
        (("tcp:5000", "ssl:443:privateKey=k.pem"), False),
        (("le:/keys:tcp:443",), False),  # of a plugin: nobody here knows what it needs
    ],
)
def test_tls_is_left_out_where_nothing_needs_it(
    monkeypatch: pytest.MonkeyPatch, places: tuple[str, ...], left_out: bool
) -> None:
    modules: dict[str, object] = {}
    monkeypatch.setattr(absence, "sys", SimpleNamespace(modules=modules))
    leave_out(places)
    assert modules == ({"OpenSSL": None, "service_identity": None} if left_out else {})
    assert all(map(plain, places)) is left_out


def test_tls_that_is_loaded_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    modules: dict[str, object] = {"OpenSSL": 1}
    monkeypatch.setattr(absence, "sys", SimpleNamespace(modules=modules))
    leave_out(("tcp:5000",))
    assert modules == {"OpenSSL": 1}


def test_an_environment_that_was_set_up_holds_the_project_compiled(tmp_path: Path) -> None:
    """Also where Python may not keep what it compiles: there each start would compile all of it anew."""
    package = tmp_path / "project" / "pygmy"
    package.mkdir(parents=True)
    (tmp_path / "project" / "twisted").mkdir()
    (package / "module.py").write_text("x = 1\n")
    bin_directory = tmp_path / "environment" / "bin"
    bin_directory.mkdir(parents=True)
    (bin_directory / "python").symlink_to(sys.executable)
    script = f"root={package.parent}; . {PROJECT}/scripts/environment.sh; compile_project {bin_directory.parent}"
    env = {"PYTHONDONTWRITEBYTECODE": "1", "PATH": "/usr/bin:/bin"}
    for _ in range(2):
        subprocess.run(["bash", "-euc", script], env=env, check=True, timeout=60)
    (compiled,) = (package / "__pycache__").iterdir()
    assert compiled.name.startswith("module.")


@pytest.mark.parametrize(
    ("pythons", "chosen"),
    [
        ({"python3": "echo True", "python3.13": "echo True"}, "python3"),
        ({"python3": "echo False", "python3.13": "exit 1", "python3.12": "echo True"}, "python3.12"),
        ({"python3": "exit 1", "python3.11": "echo True"}, "python3.11"),
    ],
)
def test_the_first_python_that_is_fit_is_taken_unless_it_was_built_without_optimisation(
    tmp_path: Path, pythons: dict[str, str], chosen: str
) -> None:
    for name, says in pythons.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{says}\n")
        (tmp_path / name).chmod(0o755)
    script = f"root=/nowhere; . {PROJECT}/scripts/environment.sh; PATH={tmp_path}; find_python"
    found = subprocess.run(["bash", "-euc", script], capture_output=True, check=True, text=True, timeout=60)
    assert found.stdout == f"{tmp_path / chosen}\n"


# ---- the lock that a node holds before Twisted is loaded


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The directory of a node that has run before."""
    monkeypatch.chdir(tmp_path)
    directory = tmp_path / "data" / "catalog-1"
    directory.mkdir(parents=True)
    yield directory
    drop()


def test_a_node_that_has_run_before_is_locked_early_and_taken_over_as_it_is(home: Path) -> None:
    before = boottime()
    claim_early(["--nodaemon", "pygmy-catalog", "--node", "catalog-1", "--data", "data", "--port", "tcp:1"])
    after = boottime()
    assert running(home / "twistd.pid") is not None
    taken = claim(home / "twistd.pid")
    assert before <= taken.since <= after
    drop()
    assert running(home / "twistd.pid") is not None, "it is the node's now"
    taken.pid_file.release()


def test_what_nobody_takes_over_is_let_go(home: Path) -> None:
    claim_early(["pygmy-catalog", "--node=1", "--data=data"])
    assert (home / "twistd.pid").exists()
    drop()
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["pygmy-catalog", "--help"],
        ["pygmy-catalog", "--node", "0", "--data", "data"],
        ["pygmy-order", "--node", "1", "--data", "data"],
        ["pygmy-catalog", "--node", "x", "--data", "data"],
        ["pygmy-catalog", "--node", "1", "--data", "data", "--nonsense"],
        ["pygmy-catalog", "--node", "1", "--data", "data", "--config", "none.toml"],
    ],
)
def test_what_cannot_be_told_is_left_to_the_node(home: Path, arguments: list[str]) -> None:
    claim_early(arguments)
    assert not claims._early
    assert [path.name for path in home.parent.parent.rglob("*")] == ["data", "catalog-1"]


def test_of_a_node_that_runs_the_node_itself_says_so(home: Path) -> None:
    other = claim(home / "twistd.pid")
    claim_early(["pygmy-catalog", "--node", "1", "--data", "data"])
    with pytest.raises(AlreadyRunning):
        claim(home / "twistd.pid")
    other.pid_file.release()
