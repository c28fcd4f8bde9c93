"""The settings as options of commands, and what all layers make of them."""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import click

from pygmy.cli.calling import Settings
from pygmy.cli.terminal import printable, tell
from pygmy.datadir import data_directory, tls_directory
from pygmy.settings import TABLE, BadFile, BadSetting, Flags, Setting, Values, for_command, resolve, setting
from pygmy.settings.table import CONFIG, PYGMY

# What every command may come to need: where the store is, and how to talk to it.
ALWAYS = ("config", "data", "frontend-server", "timeout", "token-file", "tls", "ca")
HELP = ("-h", "--help")
Command = Callable[..., Any]


class BadSettings(click.ClickException):
    """A variable or a file that says something impossible: one line. Exit code 2."""

    exit_code = 2


def settings_of(command: str, *, argument: str = "") -> Callable[[Command], Command]:
    """The options of this command out of the table; it is called with the Settings first, all layers in them.

    `argument` is the setting that stands on the command line without its flag. What stands before every command may
    stand after this one as well, and is not told of in its help.
    """
    taken = for_command(command)
    general = [one for one in for_command(PYGMY) if one not in taken]
    wanted = [one for one in TABLE if one in taken or one.key in ALWAYS or command == CONFIG]

    def decorate(function: Command) -> Command:
        @functools.wraps(function)
        def work(**arguments: Any) -> Any:
            context = click.get_current_context()
            settings = context.ensure_object(Settings)
            settings.flags = {**settings.flags, **given((*taken, *general), arguments)}
            settings.json = arguments.pop("as_json") or settings.json
            fill(settings, layers(wanted, settings.flags))
            return function(settings, **arguments)

        run: Command = work
        for one in reversed(taken):
            run = _argument(one)(run) if one.key == argument else _option(one)(run)
        for one in general:
            run = _option(one, hidden=True)(run)
        return json_option(hidden=True)(run)

    return decorate


def options_of(command: str) -> Callable[[Command], Command]:
    """The options alone, for what stands before a command; `given` finds them among the arguments."""

    def decorate(function: Command) -> Command:
        for one in reversed(for_command(command)):
            function = _option(one)(function)
        return function

    return decorate


def json_option(*, hidden: bool = False) -> Callable[[Command], Command]:
    """`--json`, which is no setting: whoever asks for it once does not want it always."""
    return click.option("--json", "as_json", is_flag=True, hidden=hidden, help="Print the server's JSON.")


def given(settings: Iterable[Setting], arguments: dict[str, Any]) -> Flags:
    """Takes the settings' options out of a command's arguments: those that were given, by key."""
    written = {one.key: arguments.pop(one.identifier) for one in settings}
    return {key: value for key, value in written.items() if value is not None and value != ()}


def layers(settings: Iterable[Setting], flags: Flags) -> Values:
    """All layers under these flags. What is wrong with them ends the command; what is odd is told."""
    try:
        values = resolve(settings, flags)
    except (BadSetting, BadFile) as error:
        raise BadSettings(printable(str(error))) from None
    for warning in values.warnings:
        tell(printable(warning), "yellow")
    return values


def fill(settings: Settings, values: Values) -> None:
    """What clients need, from the layers."""
    settings.values = values
    settings.url = values["frontend-server"]
    settings.timeout = values["timeout"]
    settings.data = values["data"]
    settings.token_file = values["token-file"] or ""
    settings.ca = _ca(values)
    said = values.all["frontend-server"].written
    if settings.ca and not (isinstance(said, str) and said.startswith("http://")):
        settings.url = settings.url.replace("http://", "https://", 1)


def _ca(values: Values) -> str:
    """The file with the certificates that are believed; "": those of this machine's own list are."""
    if values["ca"] is not None:
        return str(values["ca"])
    folder = tls_directory(values["tls"], data_directory(values["data"]))
    return "" if folder is None else str(folder / "ca.pem")


def _option(one: Setting, *, hidden: bool = False) -> Callable[[Command], Command]:
    text = f"{one.help} [default: {one.shown_default}]"
    if one.switch:
        return click.option(f"--{one.key}/--no-{one.key}", default=None, hidden=hidden, help=text)
    return click.option(
        *(f"--{name}" for name in (one.key, *one.aliases)),
        one.identifier,
        type=click.Path() if one.path else str,
        metavar=one.metavar,
        multiple=one.many,
        callback=_check,
        hidden=hidden,
        help=text,
    )


def _argument(one: Setting) -> Callable[[Command], Command]:
    return click.argument(
        one.identifier, metavar=f"[{one.key.upper()}]", required=False, type=click.Path(), callback=_check
    )


def _check(context: click.Context, parameter: click.Parameter, written: Any) -> Any:
    """A wrong value of a flag is a usage error of that option; what is right stays as it was written."""
    name = str(parameter.name)
    for text in () if written is None else (written,) if isinstance(written, str) else written:
        try:
            setting(name.replace("_", "-")).parse(text)
        except ValueError as error:
            raise click.BadParameter(f"{text!r}: {error}") from None
    return written
