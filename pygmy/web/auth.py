"""The two secrets of a cluster: files of mode 0600 that nodes starting at once agree on; Bearer in constant time."""

from msgspec import Struct
from twisted.web.iweb import IRequest


class SecretsError(Exception):
    """A secret file cannot be used; says which and why, never what is in it."""


class Secrets(Struct, frozen=True, repr_omit_defaults=True):
    """The cluster secret (members) and the admin token; `repr` shows neither."""

    cluster: str
    admin: str

    @classmethod
    def load(cls, directory: str) -> "Secrets":
        """Read `directory`/cluster.secret and admin.token, creating what is missing. Raises SecretsError."""
        raise NotImplementedError

    def require_member(self, request: IRequest) -> None:
        """Pass with the cluster secret as Bearer; 401 without one, 403 with a wrong one."""
        raise NotImplementedError

    def require_admin(self, request: IRequest) -> None:
        """Pass with the admin token or the cluster secret as Bearer; 401 without one, 403 with a wrong one."""
        raise NotImplementedError


def load_token(path: str) -> str:
    """One secret from a file that its owner alone may read. Raises SecretsError."""
    raise NotImplementedError
