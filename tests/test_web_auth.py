"""The two secret files."""

import hmac
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from pygmy.web import auth
from pygmy.web.auth import Secrets, SecretsError, load_token


def test_secrets_are_made_once_for_their_owner_alone(tmp_path):
    home = tmp_path / "new" / "data"
    first = Secrets.load(str(home))
    assert Secrets.load(str(home)) == first
    assert first.cluster != first.admin
    assert len(first.cluster) >= 40
    assert sorted(os.listdir(home)) == ["admin.token", "cluster.secret"]
    assert {(home / name).stat().st_mode & 0o777 for name in os.listdir(home)} == {0o600}
    assert load_token(str(home / "admin.token")) == first.admin


def test_nodes_that_start_at_once_agree(tmp_path, monkeypatch):
    """All of them find no file, then all make one: `exists` is made to lie."""
    real = auth._create
    monkeypatch.setattr(auth.Path, "exists", lambda self: False)
    monkeypatch.setattr(auth, "_create", real)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: Secrets.load(str(tmp_path)), range(32)))
    assert len({(one.cluster, one.admin) for one in found}) == 1
    assert sorted(os.listdir(tmp_path)) == ["admin.token", "cluster.secret"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_secret_that_others_can_read_is_refused(tmp_path, mode):
    Secrets.load(str(tmp_path))
    path = tmp_path / "cluster.secret"
    secret = path.read_text().strip()
    path.chmod(mode)
    with pytest.raises(SecretsError, match="chmod 600") as caught:
        Secrets.load(str(tmp_path))
    assert str(path) in str(caught.value)
    assert secret not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"short\n", b"with space in it and long", b"\xff" * 40, b"x" * 600])
def test_a_file_that_holds_no_secret_is_refused_without_showing_it(tmp_path, content):
    path = tmp_path / "admin.token"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(SecretsError) as caught:
        load_token(str(path))
    assert content.decode("latin-1").strip() == "" or content.decode("latin-1") not in str(caught.value)


def test_a_missing_token_or_impossible_directory_is_said_clearly(tmp_path):
    with pytest.raises(SecretsError, match="No such file"):
        load_token(str(tmp_path / "none"))
    (tmp_path / "file").write_text("")
    with pytest.raises(SecretsError, match="cannot make"):
        Secrets.load(str(tmp_path / "file" / "sub"))


def test_secrets_are_compared_in_constant_time(monkeypatch):
    """An early way out would let a stranger guess a secret letter by letter."""
    compared = []

    class Request:
        def getHeader(self, name):
            return b"Bearer guess"

    def compare(a, b):
        compared.append((a, b))
        return hmac_compare(a, b)

    hmac_compare = hmac.compare_digest
    monkeypatch.setattr(auth.hmac, "compare_digest", compare)
    secrets = Secrets("c" * 32, "a" * 32)
    for check in (secrets.require_member, secrets.require_admin):
        with pytest.raises(auth.Problem):
            check(Request())
    assert compared[:3] == [(b"guess", b"c" * 32), (b"guess", b"a" * 32), (b"guess", b"c" * 32)]
    compared.clear()
    monkeypatch.setattr(Request, "getHeader", lambda self, name: b"Bearer " + b"a" * 32)
    secrets.require_admin(Request())
    assert len(compared) == 2
