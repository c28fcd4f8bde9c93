"""What `pygmy audit` goes through: files, and nodes as they run.

Of a node the rows come first, from GET /table, then its log, from GET /log, page by page.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from pygmy.audit import CopyAudit, Place, Rows, StoreAudit, Unreadable, audit_place, places
from pygmy.audit.files import Progress
from pygmy.cli.calling import NoToken, Settings, admin_token, fail
from pygmy.cli.client import StoreClient
from pygmy.cli.failures import CommandFailed
from pygmy.messages.operations import TIERS, Book, Order
from pygmy.messages.replication import Batch
from pygmy.web.auth import CLUSTER_FILE, SecretsError, load_token
from pygmy.web.status import ClusterBody, Health

T = TypeVar("T")
PAGE = 1000
LOOKS = 20  # for a batch that the rows show already
NO_ROWS = "the rows were not compared with the log: only the cluster secret shows them"
CHANGING = "the rows were not compared with the log: they were changing; audit it again"


def audit_files(work: StoreAudit, paths: Sequence[Path], progress: Progress) -> None:
    """Audit every database at these paths."""
    found: list[Place] = []
    for path in paths:
        try:
            found += places(path)
        except Unreadable as error:
            work.give_up(str(path), str(error))
    names = Counter(place.name for place in found)
    for name, path in found:
        own = name if names[name] == 1 else str(path)  # of several catalog-0, the path tells which
        try:
            audit_place(Place(own, path), work, progress)
        except Unreadable as error:
            work.give_up(own, str(error))


def secret_of(settings: Settings, data: Path) -> tuple[str, bool]:
    """What to prove oneself with, and whether it opens the rows, too: the cluster secret, else the admin token."""
    path = data / CLUSTER_FILE
    try:
        if "token-file" not in settings.flags and path.exists():
            return load_token(str(path)), True
        return admin_token(settings), False
    except (SecretsError, OSError) as error:
        fail(settings, NoToken(f"The cluster secret is needed. {error}"))
    except NoToken as error:
        fail(settings, error)


async def audit_urls(
    store: StoreClient, audit: StoreAudit, urls: Sequence[str], rows: bool, progress: Progress
) -> None:
    """Audit every replica behind these URLs. Orders first: what they are the orders of is then sold already."""
    found: dict[str, Health | None] = {}
    for url in urls:
        for replica in await _replicas(store.at(url), audit):
            found.setdefault(replica, None)
    for url in found:
        found[url] = await _health(store.at(url), audit)
    there = [(url, health) for url, health in found.items() if health is not None]
    for url, health in sorted(there, key=lambda one: (one[1].role != "order", one[1].node)):
        try:
            await _audit_node(store.at(url), audit, health, rows, progress)
        except (CommandFailed, Unreadable) as error:
            audit.give_up(health.node, str(error))


async def _replicas(store: StoreClient, audit: StoreAudit) -> list[str]:
    """The node itself, or a front end's catalog and order servers."""
    health = await _health(store, audit)
    if health is None:
        return []
    if health.role in TIERS:
        return [store.url]
    try:
        nodes = (await store.status("/cluster", ClusterBody)).value.nodes
    except CommandFailed as error:
        audit.give_up(store.url, str(error))
        return []
    return [node.url for node in nodes if node.role in TIERS]


async def _health(store: StoreClient, audit: StoreAudit) -> Health | None:
    try:
        return (await store.status("/health", Health)).value
    except CommandFailed as error:
        audit.give_up(store.url, str(error))
        return None


async def _audit_node(store: StoreClient, audit: StoreAudit, health: Health, rows: bool, progress: Progress) -> None:
    """Rows first, then the log, up to where it was at the beginning and to where the rows are."""
    copy = audit.begin(health.node, TIERS[health.role])
    copy.uncompared = CHANGING if rows else NO_ROWS
    shown = await _expect_rows(store, copy) if rows else 0
    newest = max(health.head or 0, shown)
    looks = 0
    while True:
        page = await _page(store, copy.seq)
        for batch in page:
            copy.take(batch)
            progress(health.node, copy.seq, newest)
        if (page and copy.seq >= newest) or (not page and (copy.seq >= shown or looks == LOOKS)):
            break
        if not page:
            looks += 1
            await store.pause()
    copy.compare()
    audit.done(copy)


async def _page(store: StoreClient, after: int) -> list[Batch]:
    """The next batches of its log; none: there are no more that are committed."""
    page = _lines(await store.body("/log", after=after, limit=PAGE), Batch, store)
    for batch in page:
        if batch.seq <= after:
            raise Unreadable(f"{store.url} shows batch {batch.seq} after {after}: expected a higher one.")
        after = batch.seq
    return page


async def _expect_rows(store: StoreClient, copy: CopyAudit) -> int:
    """Tell the copy what its tables hold; the seq of the last batch that they show."""
    body = await store.body("/table")
    if copy.tier == "catalog":
        books = _lines(body, Book, store)
        copy.expect(Rows(books=books, snapshot=True))
        return max((book.seq for book in books), default=0)
    copy.expect(Rows(orders=_lines(body, Order, store), snapshot=True))
    return 0


def _lines(body: bytes, kind: type[T], store: StoreClient) -> list[T]:
    try:
        return msgspec.json.Decoder(kind).decode_lines(body)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Unreadable(f"What {store.url} answers is not to be understood: {error}.") from error
