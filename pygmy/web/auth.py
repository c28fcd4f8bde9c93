"""The two secrets of a cluster: files of mode 0600 that nodes starting at once agree on."""

import hmac
import os
import re
import secrets as random
import stat
from pathlib import Path

from msgspec import Struct
from twisted.web.iweb import IRequest

from pygmy.errors import Problem
from pygmy.web.bearers import for_people, names_borne

CLUSTER_FILE = "cluster.secret"
ADMIN_FILE = "admin.token"
_SECRET = re.compile(r"[\x21-\x7e]{16,512}\Z")


class SecretsError(Exception):
    """A secret file cannot be used; says which and why, never what is in it."""


class Unproven(Problem):
    """403: it knows the secret, and has no certificate that says which node it is."""

    def __init__(self, detail: str) -> None:
        super().__init__(403, "Certificate needed", detail)


class Secrets(Struct, frozen=True):
    """The cluster secret (members) and the admin token; `repr` shows neither.

    `certified`: whoever comes with the cluster secret has to show a certificate of one of these nodes, too (None: the
    store has no TLS).
    """

    cluster: str
    admin: str
    certified: frozenset[str] | None = None

    def __repr__(self) -> str:
        return "Secrets(...)"

    @classmethod
    def load(cls, directory: str) -> "Secrets":
        """Read `directory`/cluster.secret and admin.token, creating what is missing. Raises SecretsError."""
        home = Path(directory)
        try:
            home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SecretsError(f"cannot make {home}: {error.strerror}") from None
        return cls(_load_or_create(home / CLUSTER_FILE), _load_or_create(home / ADMIN_FILE))

    def require_member(self, request: IRequest) -> None:
        """Pass with the cluster secret as Bearer; 401 without one, 403 with a wrong one or no node's certificate."""
        if not _same(_bearer(request), self.cluster):
            raise _wrong("the cluster secret")
        self._require_node(request)

    def require_name(self, request: IRequest, node: str) -> None:
        """Pass a member who says that it is `node`; 403 if its certificate says otherwise."""
        borne = names_borne(request)
        if self.certified is not None and node not in borne:
            named = ", ".join(sorted(borne)) or "no node"
            raise Unproven(f"It says that it is {node}, and its certificate is of {named}.")

    def is_member(self, authorization: bytes) -> bool:
        """Whether this value of the header holds the cluster secret."""
        scheme, _, sent = authorization.partition(b" ")
        return scheme.lower() == b"bearer" and _same(sent.strip(), self.cluster)

    def proves(self, node: str, borne: frozenset[str]) -> bool:
        """Whether certificates that bear these names prove a member to be `node`; without TLS its word is enough."""
        return self.certified is None or (node in self.certified and node in borne)

    def require_admin(self, request: IRequest) -> None:
        """Pass with the admin token or the cluster secret; 401 without one, 403 with a wrong one."""
        sent = _bearer(request)
        # Both are compared, always: the time taken must not tell which one was nearly right.
        admin, member = _same(sent, self.admin), _same(sent, self.cluster)
        if not (admin | member):
            raise _wrong("the admin token")
        if not admin:
            self._require_node(request)

    def _require_node(self, request: IRequest) -> None:
        if for_people(request):
            raise Unproven("The cluster secret is not taken at this address.")
        if self.certified is not None and not self.certified & names_borne(request):
            raise Unproven("Expected the certificate of a node of this store along with the cluster secret.")


def _same(sent: bytes, secret: str) -> bool:
    return hmac.compare_digest(sent, secret.encode("ascii"))


def _bearer(request: IRequest) -> bytes:
    """What was sent as `Authorization: Bearer ...`; 401 without."""
    scheme, _, sent = (request.getHeader(b"Authorization") or b"").partition(b" ")
    if scheme.lower() != b"bearer" or not sent.strip():
        raise Problem(
            401,
            "Secret needed",
            "Expected an Authorization: Bearer header.",
            headers={"WWW-Authenticate": 'Bearer realm="pygmy"'},
        )
    return sent.strip()


def _wrong(what: str) -> Problem:
    return Problem(403, "Wrong secret", f"The Authorization header does not hold {what}.")


def load_token(path: str) -> str:
    """One secret from a file that its owner alone may read. Raises SecretsError."""
    try:
        with open(path, encoding="ascii") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(1024).strip()
    except OSError as error:
        raise SecretsError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SecretsError(f"{path} does not hold a secret: expected visible ASCII characters") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise SecretsError(
            f"{path} can be used by others than its owner (mode {stat.S_IMODE(mode):04o}): chmod 600 it"
        )
    if not _SECRET.match(text):
        raise SecretsError(f"{path} does not hold a secret: expected 16 to 512 visible ASCII characters")
    return text


def _load_or_create(path: Path) -> str:
    if not path.exists():
        try:
            _create(path)
        except OSError as error:
            raise SecretsError(f"cannot make {path}: {error.strerror}") from None
    return load_token(str(path))


def _create(path: Path) -> None:
    """Put a new secret there whole or not at all; if another node was first, its secret stands."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{random.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(random.token_urlsafe(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
