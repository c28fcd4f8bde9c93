"""The thirteen drills. Each reads as what it does to the stage, and as what is promised meanwhile."""

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from msgspec import Struct

from pygmy.checker.history import Read, Write
from pygmy.clock import utc_milliseconds
from pygmy.drill.history import now
from pygmy.drill.shop import FEW, PRIVATE
from pygmy.drill.stage import CALM, Stage, both_ways, expecting
from pygmy.messages.operations import Ordered, SoldOut
from pygmy.restoring import restore

FIVE = 5
LOOKING = 6.0  # seconds
TITLES = PRIVATE.own


class Drill(Struct, frozen=True):
    """One drill: what is done and promised in a line, and how. `options` are of its store.

    `hands`: what it does that takes more than requests, so that it is not for a store that others run.
    """

    name: str
    title: str
    run: Callable[[Stage], None]
    options: dict[str, Any] = {}
    proxied: bool = False
    own: int = 1_000_000  # copies of each book that traffic leaves alone
    hands: str = ""


DRILLS: dict[str, Drill] = {}
KILLS, CUTS = "it kills a node", "it cuts links between nodes"


def drill(name: str, **more: Any) -> Callable[[Callable[[Stage], None]], Callable[[Stage], None]]:
    """Add a function of a stage to the drills; its title is what it says of itself."""

    def add(run: Callable[[Stage], None]) -> Callable[[Stage], None]:
        title = (run.__doc__ or "").strip().rstrip(".")
        DRILLS[name] = Drill(name, title, run, **more)
        return run

    return add


@drill("kill-catalog", hands=KILLS)
def kill_catalog(stage: Stage) -> None:
    """A catalog server is killed: searches and lookups go on."""
    _kill(stage, "catalog-0", "catalog-1")


@drill("kill-order", hands=KILLS)
def kill_order(stage: Stage) -> None:
    """An order server is killed: buys go on."""
    _kill(stage, "order-0", "order-1")


def _kill(stage: Stage, *either: str) -> None:
    stage.open_doors()
    stage.kill(stage.rng.choice(either))
    stage.goes_on("buy", wait="longest buy")
    stage.goes_on("search", "lookup", wait="longest read")
    stage.calm()


@drill("return-catalog", hands=KILLS)
def return_catalog(stage: Stage) -> None:
    """A killed catalog server returns, syncs and serves."""
    _return(stage, "catalog-0", "catalog-1")
    client = stage.client("catalog-0", insist=False)
    book = stage.until(lambda: client.lookup(TITLES[0]), "a lookup at catalog-0")
    stage.promise("it answers lookups itself", book.book is not None, f"book {book.item} as of {book.version}")


@drill("return-order", hands=KILLS)
def return_order(stage: Stage) -> None:
    """A killed order server returns, syncs and serves."""
    _return(stage, "order-1", "order-0")
    client = stage.client()
    written = client.buy(TITLES[0])
    number = _order(written)
    reply = stage.store.get("order-1", f"/orders/{number}", stage.store.admin)
    stage.promise("it tells of orders itself", reply.status == 200, f"order {number}: {reply.status}")


def _return(stage: Stage, name: str, other: str) -> None:
    stage.open_doors()
    stage.kill(name)
    stage.removed(name, other, "tier noticed")
    stage.goes_on("buy", "lookup")
    log = stage.store.mark(name)
    stage.start(name)
    stage.running(name, time="recovered")
    text = f"{name} fetches what it missed while {other} sells on"
    stage.comes(text, lambda: _synced(stage, name, log), f"'sync from' in the log of {name}")
    stage.goes_on("buy", "search", "lookup")
    stage.calm()


def _synced(stage: Stage, name: str, since: int) -> str | None:
    lines = [line for line in stage.store.log(name, since).splitlines() if "] sync from" in line]
    return lines[-1].partition("] ")[2] if lines else None


@drill("heartbeats", hands=KILLS)
def heartbeats(stage: Stage) -> None:
    """Heartbeats notice a dead server: detected, masked, recovered."""
    stage.open_doors()
    stage.kill("catalog-1")
    stage.noticed("catalog-1", "front end noticed")
    stage.removed("catalog-1", "catalog-0", "tier noticed")
    stage.goes_on("buy", "lookup", text="the death is masked: what is asked for after it is answered", again="masked")
    stage.start("catalog-1")
    stage.running("catalog-1", time="recovered")
    stage.calm()


@drill("freeze", hands="it freezes a node")
def freeze(stage: Stage) -> None:
    """A catalog server is frozen and thaws: the store goes on, and it shows nothing stale."""
    stage.open_doors()
    # Who asks it while it is frozen is answered when it thaws, if at all: with what is true then, or not.
    stage.traffic.add(("lookup",), 3, 4.0, ["catalog-1"], insist=False)
    stage.freeze("catalog-1")
    stage.removed("catalog-1", "catalog-0", "tier noticed")
    stage.goes_on("buy", "search", "lookup", wait="longest wait")
    stage.calm()
    stage.thaw("catalog-1")
    stage.running("catalog-1", time="recovered")
    stage.goes_on("buy", "lookup")
    stage.calm()


@drill("power-cut", hands="it kills all nodes")
def power_cut(stage: Stage) -> None:
    """The power fails everywhere: what was acknowledged is still there."""
    stage.open_doors()
    client = stage.client()
    before = client.buy(TITLES[0], 1, "just-before")
    stage.kill(*stage.store.names)
    acknowledged = [one for one in stage.diary.requests.copy() if one.kind == "buy" and one.answered]
    stage.calm(0.5)
    stage.start(*stage.store.names)
    stage.running(*stage.store.names, time="recovered")
    stage.goes_on("buy", "search", "lookup", wait="longest wait")
    last = len(acknowledged)  # orders are numbered without gaps
    status = stage.store.get("order-0", f"/orders/{last}", stage.store.admin).status if last else 200
    seen = f"{last} acknowledged; order {last}: {status}"
    stage.promise("as many orders as buys were acknowledged before are there", status == 200, seen)
    after = client.buy(TITLES[0], 1, "just-before")
    seen = f"order {_order(before)} before, order {_order(after)} when it is asked for again"
    same = before.outcome is None or before.outcome == after.outcome
    stage.promise("the buy that was answered just before the cut is the same after it", same, seen)
    stage.calm()


@drill("cut-link", proxied=True, hands=CUTS)
def cut_link(stage: Stage) -> None:
    """The link between two catalog servers is cut, both ways and one way."""
    stage.open_doors()
    for text, pairs in (
        ("both ways", both_ways(["catalog-0"], ["catalog-1"])),
        ("one way", [("catalog-1", "catalog-0")]),
    ):
        stage.cut(*pairs, text=f"cut {' | '.join(pairs[0])}, {text}")
        stage.goes_on(
            "buy",
            "search",
            "lookup",
            text=f"cut {text}: buys, searches and lookups go on",
            wait=f"{text}: longest wait",
        )
        stage.calm()
        stage.mend()
        stage.running("catalog-0", "catalog-1", time=f"{text}: recovered")
    stage.calm()


@drill("retries", options={"frontends": 2})
def retries(stage: Stage) -> None:
    """A buyer asks for everything five times: it is sold once."""
    stage.open_doors()
    titles = stage.wares.own
    before = {item: _count(stage, item) for item in titles}
    stage.say("every buy is asked for five times at once", "warn")
    answers: list[Write] = []
    for number, item in enumerate(titles):
        answers += _at_once(stage, item, [f"five-{number}"] * FIVE)
    orders = {(write.op_id, _order(write)) for write in answers}
    unanswered = sum(write.answered is None for write in answers)
    seen = f"{len(answers) - unanswered} answers name {len({order for _, order in orders})} orders"
    stage.promise(f"{len(titles) * FIVE} requests for {len(titles)} buys are all answered", not unanswered, seen)
    stage.promise("all five answers to one buy name one order", len(orders) == len(titles), seen)
    if stage.wares.sole:
        sold = {item: before[item] - _count(stage, item) for item in titles}
        seen = f"sold of each: {sorted(set(sold.values()))}"
        stage.promise("of each book one copy is sold", set(sold.values()) == {1}, seen)
    stage.goes_on("buy", "lookup")


@drill("last-copies", options={"frontends": 2}, own=FEW)
def last_copies(stage: Stage) -> None:
    """Four buyers come for three copies: three get one."""
    stage.open_doors()
    titles = stage.wares.few
    stage.say(f"four buyers at once, for each of {len(titles)} books", "warn")
    with expecting(
        stage, f"of each of {len(titles)} books three are sold, and one buyer is told that it is sold out"
    ) as no:
        for number, item in enumerate(titles):
            answers = _at_once(stage, item, [f"last-{number}-{buyer}" for buyer in range(FEW + 1)])
            got = sum(isinstance(write.outcome, Ordered) for write in answers)
            told = sum(isinstance(write.outcome, SoldOut) for write in answers)
            left = _count(stage, item)
            if (got, told, left) != (FEW, 1, 0):
                no.append(f"book {item}: {got} got one, {told} were told, {left} are left")
    stage.goes_on("buy", "lookup")


@drill("warm-cache", options={"frontends": 2}, proxied=True, hands=CUTS)
def warm_cache(stage: Stage) -> None:
    """A front end with a warm cache is cut off from the catalogs: it shows nothing stale."""
    stage.open_doors(doors=["frontend-1"])
    reader, buyer = stage.client("frontend-0", insist=False), stage.client("frontend-1")
    item = TITLES[0]
    stage.until(lambda: reader.lookup(item), "a cached book")
    stage.until(lambda: reader.lookup(item), "a cached book")
    # What the catalogs say to the front end is lost: it hears of no invalidation, while the other one sells.
    cut = [(catalog, "frontend-0") for catalog in ("catalog-0", "catalog-1")]
    stage.cut(*cut, *((other, one) for one, other in cut), text="cut frontend-0 | catalog-0, catalog-1")
    _nothing_stale(stage, reader, buyer, item)
    stage.mend()
    stage.running("frontend-0", time="recovered")
    stage.comes("frontend-0 shows books again", lambda: reader.lookup(item), "a lookup at frontend-0")


def _nothing_stale(stage: Stage, reader: Any, buyer: Any, item: int) -> None:
    """Buy and look, in turn."""
    stale, fresh, silent = 0, 0, 0
    end = now() + LOOKING
    while stale + fresh + silent < 3 or (now() < end and not stale):
        bought: Write = buyer.buy(item)
        least = _count_at(stage, "frontend-1", item) if bought.answered else None
        read: Read | None = reader.lookup(item)
        if read is None or read.book is None or least is None:
            silent += 1
        elif read.book.count > least:
            stale += 1
        else:
            fresh += 1
        stage.calm(0.1)
    seen = f"a look after each of {stale + fresh + silent} buys: {fresh} fresh, {silent} not answered, {stale} STALE"
    stage.promise("what was bought elsewhere is never shown as still there", not stale, seen)


@drill("rolling-restart", options={"frontends": 2}, hands="it stops and starts all nodes")
def rolling_restart(stage: Stage) -> None:
    """Every node is restarted, one after the other: no request fails."""
    stage.open_doors()
    begun = stage.began
    for name in stage.store.names:
        stage.stop(name)
        stage.start(name)
        if not stage.running(name):
            break
    stage.calm()
    done = [one for one in stage.diary.requests.copy() if one.begun > begun]
    failed = sum(not one.answered for one in done)
    again = sum(one.tries > 1 for one in done)
    seen = f"{len(done)} requests, {failed} failed; {again} were passed on to the other front end or asked again"
    stage.promise("no request of a client that knows both front ends fails", not failed, seen)


@drill("restore", hands="it deletes the data of a node")
def restore_backup(stage: Stage) -> None:
    """A catalog server loses its disk and is restored from a backup."""
    stage.open_doors()
    made = stage.store.post("catalog-0", "/backup", None, stage.store.admin).json
    stage.say(f"back up catalog-0 (up to batch {made['head']})", "info")
    stage.calm()
    stage.kill("catalog-0")
    stage.removed("catalog-0", "catalog-1", "tier noticed")
    for path in (stage.store.data / "catalog-0").glob("catalog.sqlite*"):
        path.unlink()
    node = stage.store.cluster.node("catalog-0")
    restored = restore(stage.store.data, node, Path(made["file"]), utc_milliseconds())
    stage.say("its disk is lost, and the backup put in its place", "info")
    log = stage.store.mark("catalog-0")
    stage.start("catalog-0")
    stage.running("catalog-0", time="recovered")
    behind = f"the backup ends with batch {restored.note.head[1]}"
    text = "it fetches only what came after the backup"
    stage.comes(text, lambda: _synced(stage, "catalog-0", log), f"'sync from' in its log ({behind})")
    stage.goes_on("buy", "search", "lookup")
    stage.calm(CALM / 2)


def _at_once(stage: Stage, item: int, keys: list[str]) -> list[Write]:
    """Buyers who each ask for one copy at the same time, under these keys, through the front ends in turn."""
    doors = stage.shop.doors
    turns = itertools.islice(itertools.cycle(range(len(doors))), len(keys))
    clients = [stage.client(*doors[turn:], *doors[:turn]) for turn in turns]
    with ThreadPoolExecutor(len(keys)) as pool:
        writes = list(pool.map(lambda client, key: client.buy(item, 1, key), clients, keys))
    for client in clients:
        client.close()
    return writes


def _order(write: Write) -> int | None:
    return write.outcome.order.order_id if isinstance(write.outcome, Ordered) else None


def _count(stage: Stage, item: int) -> int:
    """Copies left, asked until it is answered."""
    return stage.until(lambda: _Known(_count_at(stage, stage.shop.doors[0], item)), "a count").count


class _Known:
    """A count, which is true even when it is 0."""

    def __init__(self, count: int) -> None:
        self.count = count


def _count_at(stage: Stage, name: str, item: int) -> int:
    reply = stage.shop.get(name, f"/books/{item}")
    if reply.status != 200:
        raise OSError(f"{name} answered {reply.status}")
    return int(reply.json["count"])
