"""One deployment: all is put in place on all hosts, then what stands still is started, then what is old replaced.

Up to that point nothing that runs is touched.  Running nodes are replaced one by one, and only while the rest of
their tier has all its copies, so that no request of a client that tries the other front end fails.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from msgspec import Struct
from twisted.internet.defer import DeferredLock

from pygmy.cluster import Cluster, Node
from pygmy.deploy.connection import HostFailed
from pygmy.deploy.gathering import GatherFailed, System, gather
from pygmy.deploy.hosts import copies, reach
from pygmy.deploy.keys import Keys
from pygmy.deploy.onhost.place import USER, Json
from pygmy.deploy.release import CONSTRAINTS, Release, archive
from pygmy.deploy.sites import STEP_SECONDS, Site, Sites, Tell

PREPARE_SECONDS = 900.0
START_SECONDS = 90.0
SERVE_SECONDS = 120.0
LEAST_FREE = 300 << 20


class Plan(Struct, frozen=True):
    """What is to be: the release on every host. `cache` is where wheels are kept (None: hosts fetch their own).

    `patience`: how many seconds a node may take until it serves.
    """

    cluster: Cluster
    release: Release
    keys: Keys
    cache: Path | None = None
    patience: float = SERVE_SECONDS

    def current(self, node: Node, facts: Json) -> bool:
        """True if the node runs, and as it should."""
        return facts["pid"] is not None and self.installed(node, facts)

    def installed(self, node: Node, facts: Json) -> bool:
        """True if what the node was started with last is what it should be."""
        return bool(facts["version"] == self.release.id and facts["stamp"] == self.keys.stamp(node.name))


class Rollout:
    """One run of `pygmy deploy`."""

    def __init__(self, reactor: Any, plan: Plan, sites: Sites, tell: Tell) -> None:
        self._reactor = reactor
        self._plan = plan
        self._sites = sites
        self._tell = tell
        self._gathering = DeferredLock()

    async def run(self) -> bool:
        """True if all nodes serve as they should; else it has been told what failed, and what was not done for it."""
        await self._sites.each(self._install)
        await self._sites.each(self._start_stopped)
        old = [node for node in self._plan.cluster.nodes if self._runs_old(node)]
        if not self._sites.whole:
            if old:
                self._tell(f"Not upgraded, as a host is missing: {', '.join(node.name for node in old)}.", "red")
            return False
        for node in old:
            await self._sites.each(partial(self._replace, node), [self._sites.of(node)])
            if not self._sites.whole:
                self._tell("Stopped here; the nodes after this one are as they were. Run it again to go on.", "red")
                return False
        await self._sites.each(self._await_all)
        for site in self._sites.all if self._sites.whole else ():  # one by one: to delete a lot keeps a disk busy
            await self._sites.each(self._finish, [site])
        return self._sites.whole

    # ---- putting everything in place

    async def _install(self, site: Site) -> None:
        """What touches nothing that runs."""
        await look(site)
        plan, facts = self._plan, site.facts
        if all(plan.current(node, facts["nodes"][node.name]) for node in site.host.nodes):
            site.say("is up to date")
            return
        check(site, plan.release)
        if plan.release.id not in facts["versions"]:
            await self._prepare(site)
        site.say("secrets ...")
        await site.step("secrets", archive(plan.keys.files(site.host.node_names)))
        if facts["systemd"]:
            site.say("systemd units ...")
            await site.step("units", units=dict(plan.release.units))

    async def _prepare(self, site: Site) -> None:
        release = self._plan.release
        files = {**release.files, **await self._wheels(site)}
        payload = archive(files)
        site.say(f"copying {len(payload):,} bytes ...")
        await site.step("prepare", payload, PREPARE_SECONDS, version=release.id, environment=release.environment)

    async def _wheels(self, site: Site) -> dict[str, bytes]:
        """For a host without a package index: all wheels, gathered once for all hosts of a kind."""
        facts = site.facts
        if self._plan.cache is None or self._plan.release.environment in facts["environments"]:
            return {}
        system = System.of(facts["python"], facts["machine"], facts["libc"])
        site.say(f"wheels for {system.tag} ...")
        home = self._plan.cache / self._plan.release.environment
        home.mkdir(parents=True, exist_ok=True)
        for name in (self._plan.release.wheel, CONSTRAINTS):
            (home / name).write_bytes(self._plan.release.files[name])
        paths = (home / self._plan.release.wheel, home / CONSTRAINTS, self._plan.cache)
        await self._gathering.acquire()
        try:
            wheels = await gather(self._reactor, system, *paths)
        except GatherFailed as failure:
            raise HostFailed("gather wheels", str(failure), failure.lines) from None
        finally:
            self._gathering.release()
        return {f"wheels/{name}": content for name, content in wheels.items()}

    # ---- starting what stands still

    async def _start_stopped(self, site: Site) -> None:
        for node in site.host.nodes:
            if site.facts["nodes"][node.name]["pid"] is None:
                await self._start(site, node)

    async def _start(self, site: Site, node: Node) -> None:
        site.say(f"starting {node.name} ...")
        stamp = self._plan.keys.stamp(node.name)
        version = self._plan.release.id
        await site.step("start", seconds=START_SECONDS, node=node.name, version=version, stamp=stamp)
        site.facts["nodes"][node.name] = {"version": version, "stamp": stamp, "pid": 0}

    async def _await_all(self, site: Site) -> None:
        for node in site.host.nodes:
            await self._await(site, node, copies(self._plan.cluster, node.role))

    async def _await(self, site: Site, node: Node, redundancy: int) -> None:
        await site.step(
            "wait",
            seconds=self._plan.patience + STEP_SECONDS,
            node=node.name,
            reach=reach(node),
            redundancy=redundancy,
            patience=self._plan.patience,
        )

    # ---- replacing what is old

    def _runs_old(self, node: Node) -> bool:
        site = self._sites.of(node)
        if "nodes" not in site.facts:
            return False
        facts = site.facts["nodes"][node.name]
        return facts["pid"] is not None and not self._plan.installed(node, facts)

    async def _replace(self, node: Node, site: Site) -> None:
        """Stop the node, start it anew, and have it serve again, if its tier served before."""
        others = [other for other in self._plan.cluster.tier(node.role) if other != node]
        healths = await self._healths(self._plan.cluster.tier(node.role))
        wanted = copies(self._plan.cluster, node.role)
        if any(healths.values()):
            for other in others:
                await self._await_other(other, wanted if healths[node.name] else 0)
        site.say(f"replacing {node.name} ...")
        await site.step("stop", node=node.name)
        await self._start(site, node)
        if any(healths.values()):
            await self._await(site, node, wanted)

    async def _await_other(self, node: Node, redundancy: int) -> None:
        try:
            await self._await(self._sites.of(node), node, redundancy)
        except HostFailed as failure:
            raise HostFailed(f"wait for {node.name}", str(failure), failure.lines) from None

    async def _healths(self, nodes: Sequence[Node]) -> dict[str, bool]:
        """Whether each of the nodes serves."""
        found = {}
        for node in nodes:
            states = await self._sites.of(node).step("state", nodes={node.name: reach(node)})
            health = states[node.name]["health"]
            found[node.name] = health is not None and health["message"] == "Healthy"
        return found

    async def _finish(self, site: Site) -> None:
        await site.step("finish", seconds=PREPARE_SECONDS, version=self._plan.release.id)


async def look(site: Site) -> None:
    """Connect, and learn what is there. Raises HostFailed."""
    site.say("connecting ...")
    await site.open()
    site.facts = await site.step("look", nodes=site.host.node_names)


def check(site: Site, release: Release) -> None:
    """Raises HostFailed if nothing can be installed there."""
    facts = site.facts
    if facts["missing"]:
        why = (
            f"Python {facts['python']} has no {facts['missing'][0]} module (Debian, Ubuntu: apt install python3-venv)"
        )
        raise HostFailed("look", why)
    if facts["private"]:
        why = f"only root gets to {facts['private']}, and nodes run as user {USER}: name another with --python"
        raise HostFailed("look", why)
    if release.environment not in facts["environments"] and facts["free"] < LEAST_FREE:
        raise HostFailed("look", f"{facts['free'] >> 20} MB are free, {LEAST_FREE >> 20} MB are needed")
