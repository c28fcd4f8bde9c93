"""The `pygmy` command and what stands before every subcommand."""

from typing import Any

import click

import pygmy
from pygmy.cli import audit, backup, books, completion, daemons, forcing, prepare, restore, running, status, up
from pygmy.cli.calling import Settings
from pygmy.cli.seconds import Seconds

DEFAULT_PORT = 5002
ENVIRONMENT = "PYGMY_FRONTEND"


class ServerType(click.ParamType[str]):
    """HOST, HOST:PORT, [IPv6], [IPv6]:PORT, with or without http:// in front; becomes a URL."""

    name = "HOST[:PORT]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """`http://host:port`."""
        text = str(value).removeprefix("http://").rstrip("/")
        host, bracket, rest = text.partition("]") if text.startswith("[") else (text, "", "")
        if not bracket:
            host, colon, rest = text.partition(":")
            rest = colon + rest
        port = rest.removeprefix(":") if rest else str(DEFAULT_PORT)
        proper = host and not set(host) & set("/@?# ") and rest[:1] in ("", ":")
        if not (proper and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            self.fail(f"{value!r}: expected HOST or HOST:PORT, such as localhost:{DEFAULT_PORT}.", param, ctx)
        return f"http://{host}{bracket}:{port}"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(pygmy.__version__, prog_name="pygmy")
@click.option(
    "--frontend-server",
    "--frontend_server",
    "server",
    type=ServerType(),
    envvar=ENVIRONMENT,
    default=f"localhost:{DEFAULT_PORT}",
    show_default=True,
    help=f"The front end to talk to; {ENVIRONMENT} names another one, too.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the server's JSON.")
@click.option(
    "--timeout",
    type=Seconds(min=0, min_open=True, max=3600),
    default=10.0,
    show_default=True,
    help="Seconds to wait for an answer.",
)
@click.pass_context
def main(ctx: click.Context, server: str, as_json: bool, timeout: float) -> None:
    """Pygmy: a bookstore you can pull the plug on.

    \b
    pygmy up                      open a whole store on this machine
    pygmy search                  what there is
    pygmy lookup 1, pygmy buy 1   look at a book, buy it
    pygmy status                  how the nodes are
    pygmy audit                   whether its data is sound

    Exit codes: 0 done, 2 usage, 3 not found, 4 out of stock, 69 store unavailable, 75 outcome unknown.
    """
    settings = ctx.ensure_object(Settings)
    settings.url, settings.json, settings.timeout = server, as_json, timeout


for command in (
    books.lookup,
    books.search,
    books.buy,
    books.orders,
    books.restock,
    books.price,
    books.add,
    books.remove,
    status.status,
    audit.audit,
    up.up,
    daemons.start,
    daemons.stop,
    prepare.prepare,
    running.run,
    running.health,
    backup.backup,
    restore.restore,
    forcing.force_view,
    completion.completion,
):
    main.add_command(command)
