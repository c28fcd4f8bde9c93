"""What may go wrong between a command and the store, each with the exit code that scripts rely on."""

from typing import Any

USAGE, NOT_FOUND, OUT_OF_STOCK, UNAVAILABLE, UNKNOWN, INTERRUPTED = 2, 3, 4, 69, 75, 130
_CODES = {404: NOT_FOUND, 409: OUT_OF_STOCK}


class CommandFailed(Exception):
    """A command that did not do its work: `code` is its exit code, str() what a person is told.

    `body` is the server's problem+json as it came (b"" when there was none).
    """

    code = 1
    body = b""


class Refused(CommandFailed):
    """The store said no; `problem` are the fields of its problem+json (RFC 9457)."""

    def __init__(self, status: int, problem: dict[str, Any], body: bytes = b"") -> None:
        super().__init__(_sentence(status, problem))
        self.status = status
        self.problem = problem
        self.body = body
        self.code = UNAVAILABLE if status >= 500 else _CODES.get(status, USAGE)


class Unavailable(CommandFailed):
    """No store there, or it did not answer a question in time. Nothing was changed."""

    code = UNAVAILABLE


class OutcomeUnknown(CommandFailed):
    """A write was sent and its answer is not known; the same request under `key` tells, and takes effect once.

    `why` is the store's own sentence about that, where it gave one, or what happened instead.
    """

    code = UNKNOWN

    def __init__(self, why: str, key: str, body: bytes = b"") -> None:
        super().__init__(why)
        self.key = key
        self.body = body


class Interrupted(OutcomeUnknown):
    """It is not known, because we were told to stop."""


def _sentence(status: int, problem: dict[str, Any]) -> str:
    detail = problem.get("detail") or problem.get("title") or f"The server answered {status}."
    return str(detail)
