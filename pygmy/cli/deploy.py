"""`pygmy deploy`: a whole store on its hosts over ssh, installed, upgraded, looked at, stopped, removed."""

import re
import shlex
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import click
from msgspec.structs import replace

from pygmy.cli.calling import Settings
from pygmy.cli.nodes import Store, check_books, is_here, load_store, names
from pygmy.cli.options import settings_of
from pygmy.cli.reacting import react
from pygmy.cli.terminal import paint, printable, refuse, say, table, tell
from pygmy.cli.up import commands
from pygmy.cluster import Node
from pygmy.datadir import tls_home
from pygmy.deploy.config import books_name, settings_file
from pygmy.deploy.hosts import PREFIX, Host, Way, hosts_of
from pygmy.deploy.release import make_release
from pygmy.deploy.rollout import Plan, Rollout
from pygmy.deploy.sites import Sites, sites_for
from pygmy.deploy.upkeep import Condition, conditions, last_lines, remove, stop
from pygmy.web.auth import SecretsError

_PREFIX = re.compile(r"(~|/[A-Za-z0-9._-]+)(/[A-Za-z0-9._-]+)*")
ALL = "all"


def ssh_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """How the hosts are reached. What is not said is up to ~/.ssh/config."""
    for option in (
        click.option("--prefix", default=PREFIX, show_default=True, callback=_prefix, help="Where, on the hosts."),
        click.option("--python", help="The hosts' Python. [default: the first that is 3.11 or newer]"),
        click.option("--sudo", is_flag=True, help="Become root on the hosts by sudo, which must ask no password."),
        click.option("--ssh-option", multiple=True, metavar="KEY=VALUE", help="An option of ssh (its -o)."),
        click.option("--ssh-key", type=click.Path(exists=True, dir_okay=False), help="The private key."),
        click.option("--ssh-port", type=click.IntRange(1, 65535), help="The port of ssh."),
        click.option("--user", help="Whom to be on the hosts."),
    ):
        command = option(command)
    return command


def _prefix(context: click.Context, parameter: click.Parameter, value: str) -> str:
    if not _PREFIX.fullmatch(value) or ".." in value.split("/"):
        raise click.BadParameter(f"{value!r}: expected an absolute path such as {PREFIX}, or ~/pygmy.")
    return value


@click.command()
@click.option("--offline", is_flag=True, help="Send all wheels along: the hosts reach no package index.")
@click.option("--status", "what", flag_value="status", help="Show how the nodes are.")
@click.option("--logs", metavar="[NODE]", is_flag=False, flag_value=ALL, help="Show the ends of the nodes' logs.")
@click.option("-n", "--lines", type=click.IntRange(1, 10_000), default=20, show_default=True, help="For --logs.")
@click.option("--stop", "what", flag_value="stop", help="Stop all nodes.")
@click.option("--remove", "what", flag_value="remove", help="Stop all nodes and uninstall; their data stays.")
@click.option("--data-too", is_flag=True, help="With --remove: delete the data, and with it the store, for good.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@ssh_options
@settings_of("deploy", argument="cluster")
def deploy(
    settings: Settings,
    offline: bool,
    what: str | None,
    logs: str | None,
    lines: int,
    data_too: bool,
    yes: bool,
    user: str | None,
    ssh_port: int | None,
    ssh_key: str | None,
    ssh_option: tuple[str, ...],
    sudo: bool,
    python: str | None,
    prefix: str,
) -> None:
    """Install and start the store of CLUSTER on its hosts, or bring it up to date, one node at a time.

    Secrets, certificates and gathered wheels are kept in the data directory on this machine. Settings that are given
    here, in whichever way, become those of the nodes.
    """
    store = load_store(settings)
    if store.cluster_file is None:
        raise click.UsageError("Which store? Name its cluster file: pygmy deploy CLUSTER.")
    if data_too and what != "remove":
        raise click.UsageError("--data-too goes with --remove.")
    way = Way(user, ssh_port, ssh_key, ssh_option, sudo, python, prefix)
    hosts = _hosts(store)
    work: Work
    if logs is not None:
        nodes = _named(store, logs)
        work = lambda reactor, sites: _logs(nodes, sites, lines)  # noqa: E731
    elif what is not None:
        work = _upkeep(store, what, data_too, yes)
    else:
        plan = _plan(settings, store, offline)
        work = lambda reactor, sites: _deploy(reactor, store, plan, sites)  # noqa: E731
    if not _on_hosts(hosts, way, work):
        raise click.exceptions.Exit(1)


def _upkeep(store: Store, what: str, data_too: bool, yes: bool) -> "Work":
    if what == "status":
        return lambda reactor, sites: _status(store, sites)
    if what == "stop":
        return lambda reactor, sites: _stop(sites)
    _confirm(store, data_too, yes)
    return lambda reactor, sites: _remove(sites, data_too)


Work = Callable[[Any, Sites], Awaitable[bool]]


def _hosts(store: Store) -> list[Host]:
    try:
        return hosts_of(store.cluster, is_here)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _on_hosts(hosts: Sequence[Host], way: Way, work: Work) -> bool:
    """Whether the work succeeded, and that on all hosts."""

    async def main(reactor: Any) -> bool:
        with sites_for(reactor, hosts, way, _tell) as sites:
            try:
                return await work(reactor, sites) and sites.whole
            finally:
                await sites.close()

    return react(main)


def _tell(text: str, colour: str | None) -> None:
    tell(printable(text), colour)


# ---- deploying


def _plan(settings: Settings, store: Store, offline: bool) -> Plan:
    """What is to be on the hosts. What is missing here of secrets and certificates is made."""
    from pygmy.deploy.keys import make_keys
    from pygmy.tls.files import BadFiles

    check_books(settings, store, store.cluster.nodes)
    books = settings.values["books"]
    try:
        files = {books_name(settings.values): Path(books).read_bytes()} if books else {}
        release = make_release(store.cluster, settings_file(settings.values), files)
        keys = make_keys(store.data, tls_home(settings.values["tls"], store.data), store.cluster)
    except (OSError, SecretsError, BadFiles) as error:
        refuse(str(error))
    return Plan(store.cluster, release, keys, store.data / "deploy" if offline else None)


async def _deploy(reactor: Any, store: Store, plan: Plan, sites: Sites) -> bool:
    tell(f"Deploying {plan.release.id} on {len(sites.all)} hosts ...")
    done = await Rollout(reactor, plan, sites, _tell).run()
    if done:
        url, pygmy, curl = _reached(store, plan)
        say(paint(f"Pygmy is open at {url}", "green"))
        say(f"  {pygmy} search\n  {pygmy} buy 1\n  {curl} {url}/books/1")
        say(f"  {shlex.join(['pygmy', 'deploy', str(store.cluster_file), '--status'])}")
    return done


def _reached(store: Store, plan: Plan) -> tuple[str, str, str]:
    """Where the store is, and the commands that get there: the certificates may not have been there before."""
    if plan.keys.tls is not None:
        store = replace(store, cluster=store.cluster.secured(), ca=str(plan.keys.tls / "ca.pem"))
    url = store.cluster.frontends[0].url
    return url, *commands(store, url)


# ---- afterwards


async def _status(store: Store, sites: Sites) -> bool:
    found = await conditions(store.cluster, sites)
    say(overview(found))
    return all(condition.serves for condition in found)


def overview(found: Sequence[Condition]) -> str:
    """A table of the nodes, and below it what those say that do not serve."""
    rows = [["NODE", "HOST", "VERSION", "PROCESS", "STATE", "EPOCH"], *map(_row, found)]
    colours = [None, *("green" if condition.serves else "red" for condition in found)]
    said = [
        printable(f"{condition.node.name} does not serve: {condition.health['message']}")
        for condition in found
        if condition.health is not None and not condition.serves
    ]
    return "\n".join([table([[printable(cell) for cell in row] for row in rows], {4: colours}), *said])


def _row(condition: Condition) -> list[str]:
    node, health = condition.node, condition.health
    if not condition.known:
        return [node.name, node.host, "?", "?", "host not reached", "-"]
    stands = "no answer" if condition.pid is not None else "stopped" if condition.version else "not installed"
    state, epoch = (str(health["state"]), str(health["epoch"])) if health else (stands, "-")
    return [node.name, node.host, condition.version or "-", str(condition.pid or "-"), state, epoch]


def _named(store: Store, name: str) -> list[Node]:
    if name == ALL:
        return list(store.cluster.nodes)
    try:
        return [store.cluster.node(name)]
    except KeyError:
        there = names(store.cluster.nodes)
        raise click.UsageError(f"There is no node {name!r}. There are {there}, or {ALL}.") from None


async def _logs(nodes: Sequence[Node], sites: Sites, count: int) -> bool:
    found = await last_lines(nodes, sites, count)
    prefixed = len(nodes) > 1
    for node in nodes:
        for line in found.get(node.name, ()):
            say(printable(f"{node.name}  {line}" if prefixed else line))
    return True


async def _stop(sites: Sites) -> bool:
    await stop(sites)
    return sites.whole


def _confirm(store: Store, data_too: bool, yes: bool) -> None:
    what = "everything, and ALL DATA with it: no book and no order is kept" if data_too else "it; the data stays"
    if not yes:
        click.confirm(f"Stop {names(store.cluster.nodes)} and remove {what}?", abort=True, err=True)


async def _remove(sites: Sites, data_too: bool) -> bool:
    await remove(sites, data_too=data_too)
    return sites.whole
