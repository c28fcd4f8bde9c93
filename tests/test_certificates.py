"""The CA and the nodes' certificates: made once, renewed in time, nobody else's to read, and refused when half."""

import os
import subprocess
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from shutil import which

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from pygmy.cluster import DEFAULT, parse_cluster
from pygmy.tls import files
from pygmy.tls.certificates import load_authority, make_ca, make_certificate, make_certificates
from pygmy.tls.contexts import load_credentials
from pygmy.tls.files import BadFiles, load_certificates, save_certificates
from pygmy.tls.names import names_in

CLUSTER = parse_cluster(DEFAULT)
HOSTS = parse_cluster("alpha, 10.0.0.7\n[fd00::5], alpha\nshop.example.org\n")
START = datetime(2026, 11, 27, tzinfo=UTC)


def at(days):
    return lambda: START + timedelta(days=days)


def content(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def names(directory, node):
    certificate = load_certificates(directory / f"{node}.pem")[0]
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {*found.get_values_for_type(x509.DNSName), *map(str, found.get_values_for_type(x509.IPAddress))}


def test_every_node_gets_a_certificate_that_says_who_it_is_and_where(tmp_path):
    made = make_certificates(tmp_path, HOSTS)
    assert len(made) == len(set(made)) == 2 + 2 * len(HOSTS.nodes)
    here = {"localhost", "127.0.0.1", "::1"}
    assert names(tmp_path, "catalog-0") == {"catalog-0.pygmy.internal", "alpha"} | here
    assert names(tmp_path, "catalog-1") == {"catalog-1.pygmy.internal", "10.0.0.7"} | here
    assert names(tmp_path, "order-0") == {"order-0.pygmy.internal", str(ip_address("fd00::5"))} | here
    assert names(tmp_path, "frontend-0") == {"frontend-0.pygmy.internal", "shop.example.org"} | here
    for node in HOSTS.nodes:
        assert load_credentials(tmp_path, node.name).node == node.name


def test_a_certificate_serves_both_ends_of_a_connection_and_signs_nothing(tmp_path):
    make_certificates(tmp_path, CLUSTER, days=100, now=at(0))
    ca, own = load_certificates(tmp_path / "ca.pem")[0], load_certificates(tmp_path / "order-1.pem")[0]
    uses = own.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(uses) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert own.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    limits = ca.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (limits.ca, limits.path_length) == (True, 0)
    assert own.not_valid_after_utc == START + timedelta(days=100)
    assert own.not_valid_before_utc < START  # a host whose clock is late takes it, too
    assert ca.not_valid_after_utc > START + timedelta(days=3650)


@pytest.mark.skipif(which("openssl") is None, reason="needs openssl")
def test_somebody_elses_software_verifies_it(tmp_path):
    make_certificates(tmp_path, CLUSTER)
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", "localhost"]
    done = subprocess.run([*command, "-CAfile", tmp_path / "ca.pem", tmp_path / "order-1.pem"], capture_output=True)
    assert done.returncode == 0, done


def test_keys_are_for_their_owner_alone(tmp_path):
    old = os.umask(0)
    try:
        make_certificates(tmp_path / "tls", CLUSTER)
    finally:
        os.umask(old)
    assert (tmp_path / "tls").stat().st_mode & 0o777 == 0o700
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "tls").iterdir()}
    assert {mode for name, mode in modes.items() if name.endswith(".key")} == {0o600}
    assert {mode for name, mode in modes.items() if name.endswith(".pem")} == {0o644}
    (tmp_path / "tls" / "order-0.key").chmod(0o640)
    with pytest.raises(BadFiles, match=r"order-0\.key.*0640.*chmod 600"):
        load_credentials(tmp_path / "tls", "order-0")


def test_what_is_good_stays_as_it_is_and_what_is_missing_is_made(tmp_path):
    make_certificates(tmp_path, CLUSTER, now=at(0))
    before = content(tmp_path)
    assert make_certificates(tmp_path, CLUSTER, now=at(1)) == []
    assert content(tmp_path) == before
    (tmp_path / "order-1.pem").unlink()
    (tmp_path / "catalog-1.key").unlink()
    made = make_certificates(tmp_path, CLUSTER, now=at(1))
    assert [path.name for path in made] == ["catalog-1.pem", "catalog-1.key", "order-1.pem"]
    assert content(tmp_path)["order-1.key"] == before["order-1.key"]


def test_what_expires_within_thirty_days_is_renewed_for_the_same_key(tmp_path):
    make_certificates(tmp_path, CLUSTER, days=200, now=at(0))
    before = content(tmp_path)
    assert make_certificates(tmp_path, CLUSTER, days=200, now=at(169)) == []
    made = make_certificates(tmp_path, CLUSTER, days=200, now=at(171))
    assert {path.name for path in made} == {f"{node.name}.pem" for node in CLUSTER.nodes}
    after = content(tmp_path)
    assert {name for name in after if after[name] != before[name]} == {path.name for path in made}


def test_a_ca_about_to_expire_is_renewed_and_those_that_trust_the_old_one_trust_its_nodes(tmp_path):
    make_certificates(tmp_path, CLUSTER, now=at(0), ca_days=1000)
    old = load_certificates(tmp_path / "ca.pem")[0]
    make_certificates(tmp_path, CLUSTER, now=at(900), ca_days=1000)
    assert load_certificates(tmp_path / "catalog-0.pem")[0].not_valid_after_utc == old.not_valid_after_utc
    made = make_certificates(tmp_path, CLUSTER, now=at(980), ca_days=1000)
    assert made[0].name == "ca.pem"
    assert load_authority(tmp_path).certificate != old
    load_certificates(tmp_path / "catalog-0.pem")[0].verify_directly_issued_by(old)


def test_another_place_needs_another_certificate(tmp_path):
    make_certificates(tmp_path, CLUSTER)
    made = make_certificates(tmp_path, parse_cluster("localhost, beta\nlocalhost, localhost\nlocalhost\n"))
    assert [path.name for path in made] == ["catalog-1.pem"]
    assert "beta" in names(tmp_path, "catalog-1")


def test_what_another_ca_signed_is_made_anew(tmp_path):
    for name in ("one", "two"):
        make_certificates(tmp_path / name, CLUSTER)
    for end in ("pem", "key"):
        (tmp_path / "one" / f"order-0.{end}").write_bytes((tmp_path / "two" / f"order-0.{end}").read_bytes())
    with pytest.raises(BadFiles, match=r"order-0\.pem is not of a CA in .*ca\.pem"):
        load_credentials(tmp_path / "one", "order-0")
    assert [path.name for path in make_certificates(tmp_path / "one", CLUSTER)] == ["order-0.pem"]
    load_credentials(tmp_path / "one", "order-0")


@pytest.mark.parametrize(
    ("gone", "said"),
    [("ca.key", r"ca\.pem is there and ca\.key is not"), ("ca.pem", r"ca\.key is there and ca\.pem is not")],
)
def test_half_a_ca_is_refused_and_nothing_is_touched(tmp_path, gone, said):
    make_certificates(tmp_path, CLUSTER)
    (tmp_path / gone).unlink()
    (tmp_path / "order-0.pem").unlink()
    before = content(tmp_path)
    with pytest.raises(BadFiles, match=said) as caught:
        make_certificates(tmp_path, CLUSTER)
    assert "\n" not in str(caught.value)
    assert content(tmp_path) == before


def test_two_halves_of_different_cas_are_refused(tmp_path):
    for name in ("one", "two"):
        make_ca(tmp_path / name)
    (tmp_path / "one" / "ca.key").write_bytes((tmp_path / "two" / "ca.key").read_bytes())
    with pytest.raises(BadFiles, match="not the key of"):
        make_certificates(tmp_path / "one", CLUSTER)


def test_of_several_trusted_cas_the_one_whose_key_is_there_signs(tmp_path):
    """As while one CA takes the place of another."""
    for name in ("old", "new"):
        make_ca(tmp_path / name)
    both = [load_certificates(tmp_path / name / "ca.pem")[0] for name in ("old", "new")]
    save_certificates(tmp_path / "new" / "ca.pem", tuple(both))
    make_certificate(tmp_path / "new", CLUSTER.node("order-0"))
    load_certificates(tmp_path / "new" / "order-0.pem")[0].verify_directly_issued_by(both[1])
    assert len(load_credentials(tmp_path / "new", "order-0").trusted) == 2


def test_a_node_that_could_not_prove_itself_is_told_why(tmp_path):
    make_certificates(tmp_path, CLUSTER, days=10, now=lambda: datetime.now(UTC) - timedelta(days=20))
    with pytest.raises(BadFiles, match=r"catalog-0\.pem has expired \(20.*pygmy certs"):
        load_credentials(tmp_path, "catalog-0")
    make_certificates(tmp_path, CLUSTER)
    (tmp_path / "catalog-0.pem").write_bytes((tmp_path / "catalog-1.pem").read_bytes())
    with pytest.raises(BadFiles, match="another key"):
        load_credentials(tmp_path, "catalog-0")
    (tmp_path / "catalog-0.key").write_bytes((tmp_path / "catalog-1.key").read_bytes())
    with pytest.raises(BadFiles, match=r"not a certificate of catalog-0: it bears catalog-1\."):
        load_credentials(tmp_path, "catalog-0")
    (tmp_path / "catalog-0.pem").write_text("swordfish")
    with pytest.raises(BadFiles, match=r"catalog-0\.pem: expected a certificate in PEM"):
        load_credentials(tmp_path, "catalog-0")
    (tmp_path / "catalog-1.key").write_text("swordfish")
    with pytest.raises(BadFiles, match=r"catalog-1\.key: expected a private key") as caught:
        load_credentials(tmp_path, "catalog-1")
    assert "swordfish" not in str(caught.value)
    with pytest.raises(BadFiles, match=r"ca\.pem: No such file"):
        load_credentials(tmp_path / "nowhere", "catalog-1")


def test_a_key_is_shown_by_no_repr(tmp_path):
    make_certificates(tmp_path, CLUSTER)
    assert repr(load_credentials(tmp_path, "order-0")) == "Credentials(order-0)"


def test_a_file_is_whole_or_as_before(tmp_path, monkeypatch):
    """The power fails before the new certificate is on the disk."""
    make_certificates(tmp_path, CLUSTER, now=at(0))
    before = content(tmp_path)

    def fails(handle):
        raise OSError(5, "disk I/O error")

    monkeypatch.setattr(files.os, "fsync", fails)
    with pytest.raises(OSError, match="disk I/O error"):
        make_certificates(tmp_path, CLUSTER, now=at(810))
    assert content(tmp_path) == before


def test_only_names_of_our_kind_are_names_of_nodes(tmp_path):
    make_certificates(tmp_path, parse_cluster("catalog-1\nlocalhost\norder-0.pygmy.internal.example.org\n"))
    with pytest.raises(BadFiles, match=r"expected a host outside of pygmy\.internal"):
        make_certificates(tmp_path, parse_cluster("localhost\ncatalog-0.Pygmy.internal\nlocalhost\n"))
    assert names_in(load_certificates(tmp_path / "catalog-0.pem")[0]) == {"catalog-0"}
    assert names_in(load_certificates(tmp_path / "frontend-0.pem")[0]) == {"frontend-0"}
    assert names_in(load_certificates(tmp_path / "ca.pem")[0]) == frozenset()
