"""Running one coroutine against the store from a click command: `task.react`, and every failure its exit code."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar

import click
from msgspec import Struct

from pygmy.cli.failures import CommandFailed, OutcomeUnknown, Refused
from pygmy.cli.terminal import printable, say, tell
from pygmy.datadir import DEFAULT, data_directory, token_path
from pygmy.settings import Flags, Values

if TYPE_CHECKING:
    from pygmy.cli.client import Reply, StoreClient

T = TypeVar("T")


class Settings(Struct):
    """How a command calls the store, out of all layers of its settings; `connect` is replaced by tests.

    `flags` are what was given as options, before the command and after it; `values` what all layers make of them.
    `ca`: the file with the certificates that are believed ("": this machine's own list); `member`: show a node's one.
    """

    url: str = "http://localhost:5002"
    json: bool = False
    timeout: float = 10.0
    token_file: str = ""
    data: str = DEFAULT
    flags: Flags = {}
    values: Values = Values({}, None, ())
    ca: str = ""
    member: bool = False
    connect: "Connect | None" = None


class Connect(Protocol):
    """How a coroutine function is run with a client to its end."""

    def __call__(self, settings: Settings, action: "Callable[[StoreClient], Awaitable[T]]") -> T:
        """The action's result; raises its exception."""


def call(settings: Settings, action: "Callable[[StoreClient], Awaitable[T]]") -> T:
    """The action's result; a failure is told on stderr and ends the command with its exit code."""
    connect = settings.connect or connect_over_tcp
    try:
        return connect(settings, action)
    except CommandFailed as failure:
        fail(settings, failure)


def fail(settings: Settings, failure: CommandFailed) -> NoReturn:
    """Tell it: in words, or with --json as the server's problem+json."""
    if settings.json and failure.body:
        tell(failure.body.decode("utf-8", "replace"))
    else:
        tell(printable(str(failure)), "red")
    if isinstance(failure, Refused) and failure.status in (401, 403):
        tell("The admin token is in DATA/admin.token: name it with --token-file or PYGMY_TOKEN_FILE.")
    if isinstance(failure, OutcomeUnknown) and _takes_key():
        tell(f"Run the same command again with --key {failure.key}: it takes effect once.")
    raise click.exceptions.Exit(failure.code)


def _takes_key() -> bool:
    """True if the command that runs can be run again under a key. What others do can just be done again."""
    context = click.get_current_context(silent=True)
    return context is None or any(parameter.name == "key" for parameter in context.command.params)


def show(settings: Settings, reply: "Reply[T]", human: Callable[[T], str]) -> None:
    """The reply on stdout: as the server's JSON, or as `human` puts it."""
    if settings.json:
        say(reply.body.decode("utf-8", "replace"))
    else:
        say(human(reply.value))


def connect_over_tcp(settings: Settings, action: "Callable[[StoreClient], Awaitable[T]]") -> T:
    """Run the action under `task.react`, with a connection of its own for each call."""
    from pygmy.cli.reacting import react

    async def main(reactor: Any) -> T:
        return await action(tcp_client(reactor, settings))

    return react(main)


def tcp_client(reactor: Any, settings: Settings, patience: float | None = None) -> "StoreClient":
    """A client of the server that the settings name; `patience` takes the place of their timeout once connected."""
    from twisted.web.client import Agent, HTTPConnectionPool

    from pygmy.cli.client import StoreClient
    from pygmy.cli.trust import policy_of
    from pygmy.peers import http_client

    # Half of the time for connecting: a front end that is not there is then told from one that does not answer.
    pool = HTTPConnectionPool(reactor, persistent=False)
    agent = Agent(reactor, policy_of(settings), connectTimeout=settings.timeout / 2, pool=pool)
    timeout = settings.timeout if patience is None else patience
    return StoreClient(http_client(agent), settings.url, reactor, timeout, lambda: admin_token(settings))


def admin_token(settings: Settings) -> str:
    """The admin token, from the file that the settings name, or the data directory. Raises a usage error."""
    from pygmy.web.auth import SecretsError, load_token

    path = settings.token_file or str(token_path(data_directory(settings.data)))
    try:
        return load_token(path)
    except (SecretsError, OSError) as error:
        raise NoToken(f"The admin token is needed. {error}") from None


class NoToken(CommandFailed):
    """There is no admin token to send."""

    code = 2
