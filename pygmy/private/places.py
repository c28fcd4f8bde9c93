"""Where a private store is: free ports, and a folder that is gone afterwards."""

import random
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Below the ports that the kernel gives to outgoing connections, so that a node that died finds its port free.
PORTS = range(12_000, 32_000)


def free_ports(count: int) -> list[int]:
    """Ports on which nobody listens."""
    found: list[int] = []
    while len(found) < count:
        port = random.choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found


@contextmanager
def private_directory(purpose: str) -> Iterator[Path]:
    """A new folder in the place for such; removed with all that is in it."""
    directory = Path(tempfile.mkdtemp(prefix=f"pygmy-{purpose}-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
