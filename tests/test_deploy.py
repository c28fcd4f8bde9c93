"""Deploying: what is sent to hosts, what fails on one of them, what is replaced and when. Hosts here are directories.

`tests/support/fake_ssh.py` takes the place of ssh; what runs on the hosts is the program that runs on real ones.
Where ssh is not what a test is about, that program runs in this process.
"""

import json
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from click.testing import CliRunner

from pygmy.cli.deploy import overview
from pygmy.cli.main import main
from pygmy.cli.opening import cluster_file, names_others
from pygmy.cluster import parse_cluster
from pygmy.deploy import onhost
from pygmy.deploy.child import Say
from pygmy.deploy.config import settings_file
from pygmy.deploy.connection import MODULES, Connection, HostFailed
from pygmy.deploy.gathering import System, platforms
from pygmy.deploy.hosts import Host, Way, hosts_of
from pygmy.deploy.keys import Keys
from pygmy.deploy.pins import pins
from pygmy.deploy.release import make_release
from pygmy.deploy.rollout import Plan, Rollout
from pygmy.deploy.sites import sites_for
from pygmy.deploy.units import units
from pygmy.deploy.upkeep import conditions, last_lines, remove, stop
from pygmy.deploy.wheel import make_wheel
from pygmy.settings import TABLE, resolve
from tests.support.fake_ssh import load
from tests.support.processes import PROJECT

CLUSTER = parse_cluster("h1, h2\nh1, h3\nh2, h3\n")
SECRETS = {"cluster.secret": "the-secret-of-the-cluster-0123", "admin.token": "the-token-of-the-admin-01234"}
_MODULES = {f"pygmy.deploy.onhost.{name}": Path(onhost.__path__[0], f"{name}.py") for name in MODULES}
PROGRAM = {name: compile(path.read_text(), name, "exec") for name, path in _MODULES.items()}
FAKE = Path(__file__).parent / "support" / "fake_ssh.py"


class InProcess(Connection):
    """The way to a host that needs no ssh, and no process."""

    def __init__(self, hosts: Path, reactor: Any, host: Host, way: Way, control: Path) -> None:
        super().__init__(reactor, host, way, control)
        self._answers: list[dict[str, Any]] = []
        self._home = hosts / host.name
        self._home.mkdir(exist_ok=True)
        self._program = load(self._home, PROGRAM, lambda **answer: self._answers.append(answer))

    async def open(self) -> None:
        if (self._home / "unreachable").exists():
            raise HostFailed("connect", "ssh does not get there")

    async def close(self) -> None:
        pass

    async def step(self, name: str, seconds: float, say: Say, payload: bytes = b"", **request: Any) -> dict[str, Any]:
        asked = json.dumps({"step": name, "prefix": f"{self._home}/pygmy", **request}).encode()
        self._answers.clear()
        self._program.main(BytesIO(b"%d\n%b%b" % (len(asked), asked, payload)))
        answer = self._answers[-1]
        if "failed" in answer:
            raise HostFailed(name, answer["failed"], answer["lines"])
        return dict(answer["done"])


class Deployment:
    """Hosts, and an operator who deploys to them."""

    def __init__(self, directory: Path) -> None:
        self.connect: Callable[..., Connection] = partial(InProcess, directory / "hosts")
        self.hosts = directory / "hosts"
        self.hosts.mkdir()
        self.data = directory / "data"
        self.data.mkdir()
        for name, text in SECRETS.items():
            (self.data / name).write_text(text)
        self.told: list[str] = []

    def host(self, name: str) -> Path:
        home = self.hosts / name
        home.mkdir(exist_ok=True)
        return home

    def spoil(self, host: str, how: str, text: str = "") -> None:
        (self.host(host) / how).write_text(text)

    def mend(self, host: str, how: str) -> None:
        (self.host(host) / how).unlink()

    async def deploy(self, settings: str = "", patience: float = 5.0) -> bool:
        """`pygmy deploy`; what it told is in `told`."""
        self.told = []
        plan = Plan(CLUSTER, make_release(CLUSTER, settings, {}), Keys(self.data, None), None, patience)
        return await self.on(lambda reactor, sites: Rollout(reactor, plan, sites, self.tell).run())

    async def on(self, work):
        from twisted.internet import reactor  # noqa: TID251

        hosts = hosts_of(CLUSTER, lambda node: False)
        with sites_for(reactor, hosts, Way(prefix="~/pygmy"), self.tell, self.connect) as sites:
            try:
                return await work(reactor, sites)
            finally:
                await sites.close()

    def tell(self, text: str, colour: str | None) -> None:
        self.told.append(text)

    def events(self) -> list[str]:
        """What was started and stopped since they were asked for last."""
        path = self.hosts / "events"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines

    def version(self, node: str) -> str:
        (link,) = self.hosts.glob(f"*/pygmy/nodes/{node}/version")
        return os.readlink(link).rpartition("/")[2]

    def calls(self) -> list[str]:
        """Command line and environment of every ssh."""
        return [line for log in self.hosts.glob("*/ssh.log") for line in log.read_text().splitlines()]

    def steps(self, host: str) -> list[str]:
        """What was told of one host, without the three dots."""
        return [line.removeprefix(f"[{host}] ").removesuffix(" ...") for line in self.told if f"[{host}]" in line]


@pytest.fixture
def deployment(tmp_path):
    return Deployment(tmp_path)


@pytest.fixture
def by_ssh(tmp_path, monkeypatch, deployment):
    """Hosts that are reached by an `ssh` on PATH."""
    there = deployment
    there.connect = Connection
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "ssh").write_text(f'#!/bin/sh\nexec {sys.executable} -S -E {FAKE} "$@"\n')
    (programs / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_HOSTS", str(there.hosts))
    return there


# ---- the first time


@pytest_twisted.ensureDeferred
async def test_empty_hosts_get_everything_and_start(deployment):
    assert await deployment.deploy("backups = 9\n")
    assert sorted(deployment.events()) == sorted(f"start {node.name}" for node in CLUSTER.nodes)
    for host in ("h1", "h2", "h3"):
        home = deployment.host(host) / "pygmy"
        version = home / "current"
        assert (version / "cluster.txt").read_text() == CLUSTER.text
        assert (version / "pygmy.toml").read_text() == "backups = 9\n"
        assert list(version.glob("*.whl"))
        for name, text in SECRETS.items():
            assert (home / "data" / name).read_text() == text
            assert stat.S_IMODE((home / "data" / name).stat().st_mode) == 0o600
        assert stat.S_IMODE((home / "data").stat().st_mode) == 0o700


@pytest_twisted.ensureDeferred
async def test_secrets_are_on_no_command_line_in_no_environment_and_not_told(by_ssh):
    assert await by_ssh.deploy()
    places = "\n".join([*by_ssh.calls(), *by_ssh.told])
    assert "h1" in places
    for text in SECRETS.values():
        assert text not in places


@pytest_twisted.ensureDeferred
async def test_again_there_is_nothing_to_do(deployment):
    assert await deployment.deploy()
    deployment.events()
    assert await deployment.deploy()
    assert deployment.events() == []
    for host in ("h1", "h2", "h3"):
        assert deployment.steps(host) == ["connecting", "is up to date"]


@pytest_twisted.ensureDeferred
async def test_a_node_that_was_stopped_is_started_again(deployment):
    assert await deployment.deploy()
    deployment.events()
    (deployment.host("h3") / "running" / "order-1").unlink()
    assert await deployment.deploy()
    assert deployment.events() == ["start order-1"]


# ---- a host that fails


@pytest.mark.parametrize(
    ("how", "step", "lines"),
    [
        ("unreachable", "connect", []),
        ("no-venv", "look", []),
        ("no-pip", "prepare", ["ERROR: no matching distribution", "at all"]),
        ("no-start", "start", ["Port 5003 (catalog-1) is taken by another program."]),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_host_that_fails_is_named_with_its_step_and_last_lines_and_the_others_go_on(
    deployment, how, step, lines
):
    deployment.spoil("h2", how, "".join(f"{line}\n" for line in lines))
    assert not await deployment.deploy()
    (at,) = [number for number, text in enumerate(deployment.told) if "failed" in text]
    assert deployment.told[at].startswith(f"[h2] failed at step {step}: ")
    assert deployment.told[at + 1 : at + 1 + len(lines)] == [f"    {line}" for line in lines]
    assert sorted(deployment.events()) == ["start catalog-0", "start frontend-1", "start order-0", "start order-1"]
    deployment.mend("h2", how)
    assert await deployment.deploy()
    assert sorted(deployment.events()) == ["start catalog-1", "start frontend-0"]


@pytest_twisted.ensureDeferred
async def test_a_host_that_ssh_does_not_reach_is_named_with_what_ssh_says(by_ssh):
    by_ssh.spoil("h2", "unreachable")
    assert not await by_ssh.deploy()
    at = by_ssh.told.index("[h2] failed at step connect: ssh does not get there")
    assert by_ssh.told[at + 1] == "    ssh: connect to host h2 port 22: No route to host"


@pytest_twisted.ensureDeferred
async def test_a_host_with_another_stores_data_is_left_as_it_is(deployment):
    data = deployment.host("h2") / "pygmy" / "data"
    data.mkdir(parents=True)
    (data / "cluster.secret").write_text("the-secret-of-another-store-01")
    assert not await deployment.deploy()
    assert any("[h2] failed at step secrets: " in line and "another store" in line for line in deployment.told)
    assert (data / "cluster.secret").read_text() == "the-secret-of-another-store-01"
    assert "start catalog-1" not in deployment.events()


# ---- upgrades


@pytest_twisted.ensureDeferred
async def test_an_upgrade_replaces_one_node_after_the_other_front_ends_last(deployment):
    assert await deployment.deploy()
    deployment.events()
    assert await deployment.deploy("backups = 9\n")
    names = [node.name for node in CLUSTER.nodes]
    assert deployment.events() == [f"{what} {name}" for name in names for what in ("stop", "start")]
    assert len({deployment.version(name) for name in names}) == 1
    for host in ("h1", "h2", "h3"):  # and what nobody runs any more is deleted
        assert len(os.listdir(deployment.host(host) / "pygmy" / "versions")) == 1


@pytest_twisted.ensureDeferred
async def test_an_upgrade_stops_where_a_node_does_not_come_back_and_goes_on_when_run_again(deployment):
    assert await deployment.deploy()
    old = deployment.version("catalog-0")
    deployment.events()
    deployment.spoil("h2", "no-start", "no such device\n")
    assert not await deployment.deploy("backups = 9\n")
    assert deployment.events() == ["stop catalog-0", "start catalog-0", "stop catalog-1"]
    assert any("Stopped here" in line for line in deployment.told)
    assert deployment.version("order-0") == old
    deployment.mend("h2", "no-start")
    assert await deployment.deploy("backups = 9\n")
    rest = [node.name for node in CLUSTER.nodes[2:]]
    assert deployment.events() == [
        "start catalog-1",
        *(f"{what} {name}" for name in rest for what in ("stop", "start")),
    ]


@pytest_twisted.ensureDeferred
async def test_no_copy_is_taken_down_while_another_one_does_not_serve(deployment):
    assert await deployment.deploy()
    deployment.events()
    deployment.spoil("h2", "sick")
    assert not await deployment.deploy("backups = 9\n", patience=0.5)
    assert deployment.events() == []
    assert any("wait for catalog-1" in line and "Sick." in line for line in deployment.told), deployment.told


@pytest_twisted.ensureDeferred
async def test_nothing_is_upgraded_while_a_host_is_missing(deployment):
    assert await deployment.deploy()
    deployment.events()
    deployment.spoil("h3", "unreachable")
    assert not await deployment.deploy("backups = 9\n")
    assert deployment.events() == []
    assert any(line.startswith("Not upgraded") for line in deployment.told)


@pytest_twisted.ensureDeferred
async def test_another_certificate_has_its_node_started_again(deployment):
    tls = deployment.data / "tls"
    tls.mkdir()
    for name in ("ca.pem", *(f"{node.name}.{kind}" for node in CLUSTER.nodes for kind in ("pem", "key"))):
        (tls / name).write_text(name)
    plan = Plan(CLUSTER, make_release(CLUSTER, "", {}), Keys(deployment.data, tls))

    async def work(reactor, sites):
        return await Rollout(reactor, plan, sites, deployment.tell).run()

    assert await deployment.on(work)
    there = deployment.host("h1") / "pygmy" / "data" / "tls"
    mine = ["ca.pem", "catalog-0.key", "catalog-0.pem", "order-0.key", "order-0.pem"]  # nobody else's
    assert sorted(os.listdir(there)) == mine
    deployment.events()
    (tls / "order-1.pem").write_text("a new one")
    assert await deployment.on(work)
    assert deployment.events() == ["stop order-1", "start order-1"]


# ---- afterwards


@pytest_twisted.ensureDeferred
async def test_status_shows_each_node_and_what_does_not_serve(deployment):
    assert await deployment.deploy()
    deployment.spoil("h1", "sick")
    deployment.spoil("h3", "unreachable")
    (deployment.host("h2") / "running" / "frontend-0").unlink()
    found = await deployment.on(lambda reactor, sites: conditions(CLUSTER, sites))
    rows = {line.split()[0]: line for line in overview(found).splitlines()}
    assert rows["catalog-1"].split()[1:] == ["h2", deployment.version("catalog-1"), "4711", "RUNNING", "1"]
    assert "stopped" in rows["frontend-0"]
    assert "host not reached" in rows["order-1"]
    assert "catalog-0 does not serve: Sick." in overview(found).splitlines()
    assert [one.node.name for one in found if one.serves] == ["catalog-1"]


@pytest_twisted.ensureDeferred
async def test_logs_are_fetched_from_where_the_nodes_are(deployment):
    assert await deployment.deploy()
    log = deployment.host("h2") / "pygmy" / "data" / "catalog-1" / "catalog.log"
    log.parent.mkdir()
    log.write_text("".join(f"line {number}\n" for number in range(100)))
    nodes = [CLUSTER.node("catalog-1")]
    found = await deployment.on(lambda reactor, sites: last_lines(nodes, sites, 2))
    assert found == {"catalog-1": ["line 98", "line 99"]}


@pytest_twisted.ensureDeferred
async def test_who_asks_is_stopped_before_who_answers(deployment):
    assert await deployment.deploy()
    deployment.events()
    await deployment.on(lambda reactor, sites: stop(sites))
    roles = [event.removeprefix("stop ").partition("-")[0] for event in deployment.events()]
    assert roles == ["frontend"] * 2 + ["order"] * 2 + ["catalog"] * 2


@pytest.mark.parametrize("data_too", [False, True])
@pytest_twisted.ensureDeferred
async def test_removing_keeps_the_data_unless_told_otherwise(deployment, data_too):
    deployment.spoil("h1", "systemd")
    (deployment.host("h1") / "units").mkdir()
    assert await deployment.deploy()
    assert len(os.listdir(deployment.host("h1") / "units")) == len(units())
    await deployment.on(lambda reactor, sites: remove(sites, data_too=data_too))
    for host in ("h1", "h2", "h3"):
        home = deployment.host(host) / "pygmy"
        assert home.exists() == (not data_too)
        assert data_too or os.listdir(home) == ["data"]
        assert os.listdir(deployment.host(host) / "running") == []
    assert os.listdir(deployment.host("h1") / "units") == []


# ---- what it is made of


def test_a_host_is_reached_as_its_user_says_and_says_it_first():
    way = Way("alice", 2222, "/keys/id", ("ControlPath=none", "ConnectTimeout=3"), True)
    words = Connection(None, Host("h1", (), False), way, Path("/run/c"))._command()
    assert words[:5] == ["ssh", "-o", "ControlPath=none", "-o", "ConnectTimeout=3"]
    assert words.index("ConnectTimeout=3") < words.index("ConnectTimeout=10")
    for option, value in (("-l", "alice"), ("-p", "2222"), ("-i", "/keys/id")):
        assert words[words.index(option) + 1] == value
    assert words[-3:-1] == ["--", "h1"]
    assert words[-1].startswith("exec sudo -n sh -c ")


def test_this_machine_needs_no_ssh():
    words = Connection(None, Host("localhost", (), True), Way(), Path("/run/c"))._command()
    assert words[:2] == ["/bin/sh", "-c"]


def test_nodes_of_one_host_belong_together_however_it_is_written():
    hosts = hosts_of(parse_cluster("h1, H2\nh1\nh2:80\n"), lambda node: node.host == "h1")
    assert [(host.name, host.node_names, host.here) for host in hosts] == [
        ("h1", ["catalog-0", "order-0"], True),
        ("h2", ["catalog-1", "frontend-0"], False),
    ]


def test_localhost_beside_other_hosts_is_refused():
    with pytest.raises(ValueError, match="both localhost and h1"):
        hosts_of(parse_cluster("localhost\nh1\nlocalhost\n"), lambda node: node.local)


def test_the_wheel_has_what_an_installation_needs_and_is_the_same_each_time():
    name, content = make_wheel()
    assert make_wheel() == (name, content)
    with zipfile.ZipFile(BytesIO(content)) as wheel:
        paths = wheel.namelist()
        record = wheel.read(next(path for path in paths if path.endswith("RECORD"))).decode()
    for path in ("pygmy/cli/main.py", "pygmy/data/books.json", "pygmy/deploy/unitfiles/node.service"):
        assert path in paths
    assert "twisted/plugins/pygmy_plugin.py" in paths
    assert [line.split(",")[0] for line in record.splitlines()] == paths


def test_the_hosts_get_the_versions_that_are_here():
    from importlib.metadata import version

    lines = pins().splitlines()
    assert f"twisted=={version('twisted')}" in lines
    assert f"zope-interface=={version('zope.interface')}" in lines  # which only Twisted asks for
    assert not any(line.startswith(("pygmy", "pytest")) for line in lines)


def test_settings_of_every_layer_become_those_of_the_hosts(tmp_path):
    file = tmp_path / "pygmy.toml"
    file.write_text('backups = 9\ntoken-file = "here-only"\ndata = "here-only"\n')
    flags = {"config": str(file), "cache": False, "books": "/home/me/my books.csv"}
    text = settings_file(resolve(TABLE, flags, {"PYGMY_BACKUP_HOURS": "12", "PYGMY_NODE": "3"}))
    there = tmp_path / "there.toml"
    there.write_text(text)
    assert sorted(text.splitlines()) == [
        'backup-hours = "12"',
        'backups = "9"',
        'books = "books.csv"',
        "cache = false",
    ]
    values = resolve(TABLE, {"config": str(there)}, {})
    assert values["backups"] == 9
    assert values["books"] == str(tmp_path / "books.csv")


@pytest.mark.parametrize(
    ("libc", "first", "last"),
    [
        (["glibc", "2.36"], "manylinux_2_36_x86_64", "manylinux2014_x86_64"),
        (["musl", "1.2"], "musllinux_1_2_x86_64", "musllinux_1_1_x86_64"),
    ],
)
def test_wheels_are_gathered_for_the_hosts_own_system(libc, first, last):
    tags = platforms(System.of("3.11.2", "x86_64", libc))
    assert (tags[0], tags[-1]) == (first, last)


def test_run_deploys_where_the_cluster_file_names_other_machines(tmp_path):
    here, away = tmp_path / "here", tmp_path / "away"
    here.write_text("localhost\nlocalhost\nlocalhost\n")
    away.write_text("203.0.113.1\n203.0.113.2\n203.0.113.3\n")
    for words in ([], ["--no-cache"], [str(here)], ["--data", "x", str(here)]):
        assert not names_others(cluster_file(words))
    for words in ([str(away)], ["--user", "root", str(away), "--offline"], [str(away), "--bogus"]):
        assert names_others(cluster_file(words))


def test_run_sh_is_a_command_that_is_one_or_the_other(tmp_path: Path) -> None:
    (tmp_path / "here.txt").write_text("localhost\n" * 3)
    (tmp_path / "there.txt").write_text("alpha.example\n" * 3)
    assert '/pygmy" open "$@"' in (PROJECT / "run.sh").read_text()
    for name, command in (("here", "up"), ("there", "deploy")):
        refused = CliRunner().invoke(main, ["open", str(tmp_path / f"{name}.txt"), "--backups", "none"])
        assert refused.exit_code == 2
        assert f"{command} [OPTIONS]" in refused.output


# ---- systemd


ANALYZE = shutil.which("systemd-analyze")
OLD = "Restart(Steps|MaxDelaySec)"  # systemd 252 does not know these, says so, and goes on


@pytest.fixture
def installed_units(tmp_path):
    """The units as a host has them, with a program where they look for one."""
    if ANALYZE is None:
        pytest.skip("systemd-analyze is not here")
    for role in ("catalog", "order", "frontend"):
        program = tmp_path / "nodes" / f"{role}-0" / "version" / "venv" / "bin" / "twistd"
        program.parent.mkdir(parents=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    (tmp_path / "data").mkdir()
    place = tmp_path / "units"
    place.mkdir()
    for name, text in units().items():
        (place / name.replace("@.", "@0.")).write_text(text.replace("@PREFIX@", str(tmp_path)))
    return place


def test_systemd_takes_the_units(installed_units):
    files = sorted(str(path) for path in installed_units.iterdir())
    done = subprocess.run([str(ANALYZE), "verify", *files], capture_output=True, text=True, timeout=60, check=False)
    ours = [line for line in done.stderr.splitlines() if "pygmy" in line and "Restart" not in line]
    assert ours == []


@pytest.mark.parametrize(("role", "most"), [("catalog", 15), ("order", 15), ("frontend", 20)])
def test_systemd_finds_a_node_little_exposed(installed_units, role, most):
    unit = str(installed_units / f"pygmy-{role}@0.service")
    words = [str(ANALYZE), "security", "--offline=true", f"--threshold={most}", "--no-pager", unit]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert "Overall exposure level" in done.stdout, done.stderr
    assert done.returncode == 0, done.stdout


def test_at_shutdown_who_asks_stops_first():
    texts = units()
    assert "Before=pygmy-catalog.target\n" in texts["pygmy-catalog@.service"]
    after = next(line for line in texts["pygmy-order@.service"].splitlines() if line.startswith("After="))
    assert "pygmy-catalog.target" in after
    after = next(line for line in texts["pygmy-frontend@.service"].splitlines() if line.startswith("After="))
    assert "pygmy-order.target" in after
    assert json.dumps(texts).count("KillSignal=SIGTERM") == 3


def test_a_node_may_write_to_its_data_and_nowhere_else():
    for role in ("catalog", "order", "frontend"):
        lines = units()[f"pygmy-{role}@.service"].splitlines()
        assert "ProtectSystem=strict" in lines
        assert [line for line in lines if line.startswith("ReadWritePaths=")] == ["ReadWritePaths=@PREFIX@/data"]
        assert "User=pygmy" in lines
        assert "NoNewPrivileges=yes" in lines
