"""Flask + SQLite in three tiers, each of them gunicorn; between them, requests."""

import os
import sys
from pathlib import Path

from children import Children, answers, free_ports

HERE = Path(__file__).parent / "flask_sqlite"
REQUIREMENTS = HERE / "requirements.txt"
THREADS = 8


def workers() -> int:
    """As gunicorn's documentation advises to begin with."""
    return 2 * (os.cpu_count() or 1) + 1


def command(programs: Path, tier: str, port: int) -> list[str]:
    """gunicorn with threads, which keep connections, as its documentation advises for that."""
    return [
        *(str(programs / "gunicorn"), "--chdir", str(HERE), "--bind", f"127.0.0.1:{port}"),
        *("--worker-class", "gthread", "--workers", str(workers()), "--threads", str(THREADS)),
        *("--keep-alive", "75", "--worker-tmp-dir", "/dev/shm" if Path("/dev/shm").is_dir() else "/tmp"),
        *("--no-control-socket", f"{tier}:app"),
    ]


def start(children: Children, programs: Path, directory: Path, port: int, books: list[dict]) -> None:
    """Start all three tiers; returns when a lookup is answered."""
    sys.path.insert(0, str(HERE))
    import storage

    catalog, orders = directory / "catalog.sqlite", directory / "orders.sqlite"
    if not catalog.exists():
        storage.create_catalog(str(catalog), books)
        storage.create_orders(str(orders))
    catalog_port, order_port = free_ports(2)
    urls = {"PEER_CATALOG": f"http://127.0.0.1:{catalog_port}", "PEER_ORDER": f"http://127.0.0.1:{order_port}"}
    tiers = (("catalog", catalog_port, catalog), ("order", order_port, orders), ("frontend", port, catalog))
    for tier, its_port, database in tiers:
        children.start(tier, command(programs, tier, its_port), PEER_DATABASE=str(database), **urls)
    children.wait("the store", lambda: answers(port))
