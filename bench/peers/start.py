#!/usr/bin/env python3
"""A store of another make, from one command: python3 bench/peers/start.py NAME [--port PORT]; Ctrl-C closes it.

Needs Python 3.11 and nothing else: its environment is made in the cache folder. Exit code 69, and one line that says
why, if it cannot run here.
"""

import argparse
import json
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import fastapi_store
import flask_store
from children import Children
from environments import environment
from trouble import CannotRun

BOOKS = Path(__file__).parents[2] / "pygmy" / "data" / "books.json"
UNAVAILABLE = 69  # sysexits.h


class Peer(NamedTuple):
    what: str
    requirements: Path
    start: Callable[..., None]


PEERS = {
    "flask-sqlite": Peer(
        "Flask + SQLite in three tiers (front end, catalog, order) under gunicorn, requests between them",
        flask_store.REQUIREMENTS,
        flask_store.start,
    ),
    "fastapi-memory": Peer(
        "FastAPI under uvicorn in one process, which forgets everything when it ends",
        fastapi_store.REQUIREMENTS,
        fastapi_store.start_in_memory,
    ),
    "fastapi-postgresql": Peer(
        "FastAPI + asyncpg under uvicorn, PostgreSQL with every commit flushed",
        fastapi_store.REQUIREMENTS,
        fastapi_store.start_durable,
    ),
    "fastapi-postgresql-standby": Peer(
        "the same, and every commit flushed by a synchronous standby, too",
        fastapi_store.REQUIREMENTS,
        partial(fastapi_store.start_durable, standby=True),
    ),
}


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """What was asked for; ends the process in one line where that is nothing that there is."""
    parser = argparse.ArgumentParser(description="Start a store of another make on this machine's loopback.")
    parser.add_argument("name", nargs="?", choices=sorted(PEERS), help="which one")
    parser.add_argument("--list", action="store_true", help="list them as JSON, and start none")
    parser.add_argument("--port", type=int, default=5102, help="where it listens (default: 5102)")
    parser.add_argument("--data", type=Path, help="where its data is (default: a temporary folder)")
    parser.add_argument("--books", type=Path, default=BOOKS, help="what an empty store opens with (JSON)")
    chosen = parser.parse_args(given)
    if chosen.name is None and not chosen.list:
        parser.error("which one? " + ", ".join(PEERS))
    return chosen


def main() -> int:
    """Start the store, say so, and keep it until a signal comes or a part of it ends; the exit code."""
    chosen = arguments()
    if chosen.list:
        print(json.dumps([{"name": name, "what": peer.what} for name, peer in PEERS.items()]))
        return 0
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: over.set())
    with tempfile.TemporaryDirectory(prefix="pygmy-peer-") as temporary:
        directory = chosen.data or Path(temporary)
        Path(temporary).chmod(0o711)  # PostgreSQL's user passes through
        directory.mkdir(parents=True, exist_ok=True)
        return run(chosen, PEERS[chosen.name], directory.absolute(), over)


def run(chosen: argparse.Namespace, peer: Peer, directory: Path, over: threading.Event) -> int:
    """Serve until told to stop. Everything that was started has ended when this returns."""
    children = Children(directory)
    try:
        books = json.loads(chosen.books.read_text("utf-8"))
        peer.start(children, environment(peer.requirements), directory, chosen.port, books)
        print(f"{chosen.name} is open at http://localhost:{chosen.port}", flush=True)
        while not over.wait(0.5):
            if (name := children.ended()) is not None:
                raise CannotRun(f"{name} has ended")
    except (CannotRun, OSError, ValueError) as error:
        print(f"{chosen.name} cannot run: {error}", file=sys.stderr)
        return UNAVAILABLE
    finally:
        children.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
