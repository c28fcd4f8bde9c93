"""`pygmy status`: the whole store at a glance, once or again and again."""

import click
import msgspec

from pygmy.cli.calling import Settings, call
from pygmy.cli.client import Reply, StoreClient
from pygmy.cli.failures import INTERRUPTED, UNAVAILABLE
from pygmy.cli.options import settings_of
from pygmy.cli.overview import is_open, overview
from pygmy.cli.seconds import Seconds
from pygmy.cli.terminal import say
from pygmy.cli.watching import watch
from pygmy.web.status import ClusterBody, Health


@click.command()
@click.option(
    "--watch",
    "every",
    metavar="[SECONDS]",
    type=Seconds(min=0.1, max=3600),
    is_flag=False,
    flag_value=1.0,
    help="Look again every SECONDS (1), until Ctrl-C.",
)
@settings_of("status")
def status(settings: Settings, every: float | None) -> None:
    """Show every node and tier, and in one line how the store is. Exit code 69 unless it is open."""
    if every is not None:
        _watch(settings, every)
        return
    text, opened = call(settings, lambda store: _look(settings, store))
    say(text)
    if not opened:
        raise click.exceptions.Exit(UNAVAILABLE)


def _watch(settings: Settings, every: float) -> None:
    """Until Ctrl-C, which is a proper end of it wherever it strikes."""
    try:
        call(settings, lambda store: watch(store, lambda: _look(settings, store), every, as_json=settings.json))
    except click.exceptions.Exit as end:
        if end.exit_code != INTERRUPTED:
            raise


async def _look(settings: Settings, store: StoreClient) -> tuple[str, bool]:
    """What there is to show, and whether the store is open."""
    health: Reply[Health] = await store.status("/health", Health)
    cluster: Reply[ClusterBody] = await store.status("/cluster", ClusterBody)
    if settings.json:
        both = {"health": msgspec.Raw(health.body), "cluster": msgspec.Raw(cluster.body)}
        return msgspec.json.encode(both).decode(), is_open(health.value)
    return overview(health.value, cluster.value), is_open(health.value)
