"""Commands and TLS: what is made, whom they believe, and one clear line where they do not."""

import json
from pathlib import Path

import pytest
import pytest_twisted
from click.testing import CliRunner, Result
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.python import usage

from pygmy.cli.calling import Settings, tcp_client
from pygmy.cli.failures import OutcomeUnknown, Unavailable
from pygmy.cli.main import main
from pygmy.cli.nodes import load_store
from pygmy.cli.options import fill
from pygmy.cli.trust import NoTrust, policy_of
from pygmy.cli.up import commands
from pygmy.settings import TABLE, resolve
from pygmy.tap import catalog, frontend
from pygmy.tap.maker import build
from pygmy.tls.under import UnderTLS
from pygmy.web.site import BoundedSite
from tests.support.certificates import credentials, folder_of
from tests.support.processes import without_settings
from tests.test_web_site import Echo

HOSTS = "alpha, beta\nalpha, beta\nalpha\n"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_settings(tmp_path, monkeypatch)


def pygmy(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), catch_exceptions=False)


def settings(**flags: str) -> Settings:
    """What a command is called with."""
    made = Settings()
    fill(made, resolve(TABLE, {key.replace("_", "-"): value for key, value in flags.items()}, {}))
    return made


# ---- pygmy certs


def test_certs_tells_what_it_made_and_what_each_host_needs() -> None:
    Path("hosts").write_text(HOSTS)
    made = pygmy("certs", "--cluster", "hosts")
    assert made.exit_code == 0, made.output
    lines = made.stdout.splitlines()
    assert lines[0].startswith(f"Made in {Path('pygmy-data/tls').absolute()}: ca.pem, ca.key, catalog-0.pem")
    (beta,) = [line for line in lines if line.startswith("beta ")]
    assert beta.split()[1:] == ["ca.pem", "catalog-1.pem", "catalog-1.key", "order-1.pem", "order-1.key"]
    assert any("ca.key" in line and "stays here" in line for line in lines)
    again = pygmy("certs", "--cluster", "hosts")
    assert again.stdout == f"All certificates in {Path('pygmy-data/tls').absolute()} are good: none was made.\n"


def test_certs_makes_them_where_it_is_told_and_for_as_long() -> None:
    assert pygmy("certs", "--out", "elsewhere", "--days", "40").exit_code == 0
    assert (Path("elsewhere") / "order-1.key").exists()
    assert not Path("pygmy-data").exists()
    assert pygmy("certs", "--data", "other").exit_code == 0
    assert Path("other/tls/ca.key").exists()
    assert pygmy("certs", "--days", "0").exit_code == 2


def test_half_a_ca_is_one_line_and_exit_code_1() -> None:
    pygmy("certs")
    Path("pygmy-data/tls/ca.key").unlink()
    refused = pygmy("certs")
    assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)
    assert "ca.pem is there and ca.key is not" in refused.stderr


# ---- whom commands believe


def test_a_store_with_certificates_is_asked_by_https() -> None:
    assert settings().url == "http://localhost:5002"
    pygmy("certs")
    found = settings()
    assert (found.url, found.ca) == ("https://localhost:5002", str(Path("pygmy-data/tls/ca.pem").absolute()))
    assert settings(frontend_server="alpha:80").url == "https://alpha:80"
    assert settings(frontend_server="http://alpha").url == "http://alpha:5002"
    assert settings(tls="off").url == "http://localhost:5002"
    assert settings(ca="own.pem").ca == "own.pem"
    assert settings(frontend_server="https://[::1]:80").url == "https://[::1]:80"


def test_what_cannot_be_read_is_no_ca() -> None:
    with pytest.raises(NoTrust, match=r"--ca\)\. own\.pem: No such file") as caught:
        policy_of(settings(ca="own.pem"))
    assert (caught.value.code, str(caught.value).count("\n")) == (2, 0)


def test_what_up_shows_can_be_copied() -> None:
    pygmy("certs", "--data", "other")
    store = load_store(settings(data="other"))
    ca = Path("other/tls/ca.pem").absolute()
    words = f"pygmy --frontend-server https://localhost:7 --ca {ca}", f"curl --cacert {ca}"
    assert commands(store, "https://localhost:7") == words
    assert {node.scheme for node in store.cluster.nodes} == {"https"}
    plain = load_store(settings())
    assert commands(plain, "http://localhost:5002") == ("pygmy", "curl")
    assert commands(plain, "http://localhost:7") == ("pygmy --frontend-server localhost:7", "curl")


async def asked(own: object, method: str = "GET", host: str = "localhost", **flags: str) -> str:
    """What a command hears of a server with these credentials (None: without TLS)."""
    from twisted.internet import reactor  # noqa: TID251

    site = BoundedSite(Echo(), reactor)
    factory = site if own is None else UnderTLS(site, own, reactor)
    port = await TCP4ServerEndpoint(reactor, 0, interface="0.0.0.0").listen(factory)
    try:
        where = settings(frontend_server=f"{host}:{port.getHost().port}", **flags)
        client = tcp_client(reactor, where)
        if method == "GET":
            return (await client.body("/books", admin=False)).decode()
        await client.write(method, "/books/1", dict)
        return ""
    finally:
        await port.stopListening()


def ca(name: str = "ours") -> str:
    return str(folder_of(name) / "ca.pem")


@pytest_twisted.ensureDeferred
async def test_a_command_believes_the_ca_that_it_was_told() -> None:
    for host in ("localhost", "127.0.0.1", "https://localhost"):
        assert await asked(credentials("frontend-0"), host=host, ca=ca()) == "</books 0>"


@pytest.mark.parametrize(
    ("own", "host", "said"),
    [
        (("frontend-0", "another"), "localhost", "its certificate is not of our CA"),
        (("frontend-0", "ours", True), "localhost", "its certificate has expired"),
        (("frontend-0",), "127.0.0.2", "its certificate is not for 127.0.0.2"),
        (None, "localhost", "it does not speak TLS"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest_twisted.ensureDeferred
async def test_who_is_not_to_be_trusted_is_told_in_one_line_and_nothing_was_sent(own, host, said, method) -> None:
    """Not even a buy is in doubt then."""
    server = None if own is None else credentials(*own)
    with pytest.raises(Unavailable, match="is not to be trusted") as caught:
        await asked(server, method, host, ca=ca())
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.code == 69
    assert not isinstance(caught.value, OutcomeUnknown)


# ---- how nodes are started


def test_a_node_beyond_loopback_without_certificates_is_refused_in_one_line(tmp_path: Path) -> None:
    Path("hosts").write_text(HOSTS)
    options = catalog.Options()
    options.parseOptions(["--cluster", "hosts"])
    with pytest.raises(
        usage.UsageError, match=r"would listen beyond this machine \(tcp:5000\).*pygmy certs"
    ) as caught:
        build(options)
    assert "\n" not in str(caught.value)
    pygmy("certs", "--cluster", "hosts")
    options = catalog.Options()
    options.parseOptions(["--cluster", "hosts"])
    assert (options.tls, options.node.url) == (tmp_path / "pygmy-data" / "tls", "https://alpha:5000")
    Path("pygmy-data/tls/catalog-0.key").unlink()
    with pytest.raises(usage.UsageError, match=r"catalog-0\.key: No such file"):
        build(options)


def test_further_endpoints_are_a_front_ends_and_a_bad_one_is_a_usage_error() -> None:
    options = frontend.Options()
    options.parseOptions(["--listen", "tcp:0:interface=127.0.0.1", "--listen", "unix:x"])
    assert options.settings["listen"] == ("tcp:0:interface=127.0.0.1", "unix:x")
    refused = pygmy("start", "all", "--listen", "nonsense:80")
    assert refused.exit_code == 2
    assert "expected an endpoint such as tcp:8080" in refused.stderr
    with pytest.raises(usage.UsageError):
        catalog.Options().parseOptions(["--listen", "tcp:80"])
    options = frontend.Options()
    options.parseOptions(["--listen", "tcp:80"])
    with pytest.raises(usage.UsageError, match=r"\(tcp:80\) without TLS: name an ssl: endpoint"):
        build(options)


def test_the_settings_of_tls_are_shown() -> None:
    pygmy("certs")
    shown = json.loads(pygmy("--json", "config", "--insecure-network", "--listen", "tcp:8080").stdout)
    assert shown["insecure-network"] == {"value": True, "from": "--insecure-network"}
    assert shown["listen"]["value"] == ["tcp:8080"]
    assert shown["tls"]["value"] is None
    assert json.loads(pygmy("--json", "config", "--tls", "off").stdout)["tls"]["value"] == "off"
