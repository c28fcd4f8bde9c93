"""FastAPI under uvicorn: with asyncpg over a PostgreSQL of its own, or in the memory of one process."""

import json
import os
from pathlib import Path

from children import Children, answers
from postgresql import PostgreSQL

HERE = Path(__file__).parent / "fastapi_app"
REQUIREMENTS = HERE / "requirements.txt"


def command(programs: Path, port: int, app: str, workers: int) -> list[str]:
    """uvicorn on uvloop and httptools, as their documentation advises."""
    return [
        *(str(programs / "uvicorn"), "--app-dir", str(HERE), "--host", "127.0.0.1", "--port", str(port)),
        *("--workers", str(workers), "--loop", "uvloop", "--http", "httptools"),
        *("--no-access-log", "--log-level", "warning", "--timeout-keep-alive", "75", f"{app}:app"),
    ]


def start_durable(
    children: Children, programs: Path, directory: Path, port: int, books: list[dict], *, standby: bool = False
) -> None:
    """Start PostgreSQL, then the application with a worker for each core; returns when a lookup is answered."""
    database = PostgreSQL(children, directory)
    database.start(books, standby=standby)
    children.start("application", command(programs, port, "durable", os.cpu_count() or 1), PEER_DSN=database.dsn)
    children.wait("the store", lambda: answers(port))


def start_in_memory(children: Children, programs: Path, directory: Path, port: int, books: list[dict]) -> None:
    """Start the application, which is one process: its memory is the store; returns when a lookup is answered."""
    shelf = directory / "books.json"
    shelf.write_text(json.dumps(books))
    children.start("application", command(programs, port, "memory", 1), PEER_BOOKS=str(shelf))
    children.wait("the store", lambda: answers(port))
