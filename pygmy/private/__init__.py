"""A private store of real processes: in a folder of its own, on free ports, gone when we are done.

    with private_store() as store:
        store.get("frontend-0", "/books/1")
        store.kill9("catalog-0")
        store.whole()

Its processes can be killed, frozen and stopped, and, if it is a `ProxiedStore`, cut off from each other. Whatever
ends this process ends them: on Linux also kill -9. Everything here blocks; start processes from the main thread only.
"""

from pygmy.private.asking import Headers, Reply, address, ask, connected, trusting
from pygmy.private.places import free_ports, private_directory
from pygmy.private.proxied import ProxiedStore
from pygmy.private.proxies import NOBODY, Door, Pair, Proxies, Rule
from pygmy.private.spawning import environment, interruptible, spawn
from pygmy.private.store import PrivateStore, private_store, running
from pygmy.private.waiting import LONGEST, NeverCame, until

__all__ = [
    "LONGEST",
    "NOBODY",
    "Door",
    "Headers",
    "NeverCame",
    "Pair",
    "PrivateStore",
    "ProxiedStore",
    "Proxies",
    "Reply",
    "Rule",
    "address",
    "ask",
    "connected",
    "environment",
    "free_ports",
    "interruptible",
    "private_directory",
    "private_store",
    "running",
    "spawn",
    "trusting",
    "until",
]
