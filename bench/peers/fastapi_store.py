"""FastAPI + asyncpg under uvicorn, over a PostgreSQL of its own."""

import os
from pathlib import Path

from children import Children, answers
from postgresql import PostgreSQL

HERE = Path(__file__).parent / "fastapi_postgresql"
REQUIREMENTS = HERE / "requirements.txt"


def command(programs: Path, port: int) -> list[str]:
    """uvicorn with a worker for each core, on uvloop and httptools, as their documentation advises."""
    return [
        *(str(programs / "uvicorn"), "--app-dir", str(HERE), "--host", "127.0.0.1", "--port", str(port)),
        *("--workers", str(os.cpu_count() or 1), "--loop", "uvloop", "--http", "httptools"),
        *("--no-access-log", "--log-level", "warning", "--timeout-keep-alive", "75", "app:app"),
    ]


def start(
    children: Children, programs: Path, directory: Path, port: int, books: list[dict], *, standby: bool = False
) -> None:
    """Start PostgreSQL, then the application; returns when a lookup is answered."""
    database = PostgreSQL(children, directory)
    database.start(books, standby=standby)
    children.start("application", command(programs, port), PEER_DSN=database.dsn)
    children.wait("the store", lambda: answers(port))
