"""PostgreSQL on a UNIX socket in a folder of its own, with or without a synchronous standby. Never as root."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

from children import Children, group_of
from trouble import CannotRun

PRIMARY, STANDBY = 5432, 5433  # these only name the sockets: nothing listens on TCP
LONGEST = 60.0
SCHEMA = """
CREATE TABLE books (id integer PRIMARY KEY, title text NOT NULL, topic text NOT NULL, cents integer NOT NULL,
                    count integer NOT NULL CHECK (count >= 0));
CREATE INDEX books_by_topic ON books (topic, id);
CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, item integer NOT NULL,
                     quantity integer NOT NULL, cents bigint NOT NULL, date timestamptz NOT NULL);
"""


def programs() -> Path:
    """The folder of initdb and postgres: that of PATH, or where Debian puts it (the newest). Raises CannotRun."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    versions = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = max(versions, key=lambda path: int(path.parts[4]), default=None)
    if newest is None:
        raise CannotRun(
            "there is no PostgreSQL: expected initdb on PATH or in /usr/lib/postgresql (apt-get install postgresql)"
        )
    return newest.parent


def unprivileged() -> str | None:
    """Who runs PostgreSQL, which refuses to run as root; None: ourselves."""
    import pwd

    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise CannotRun("PostgreSQL does not run as root: expected a user postgres or nobody")


def settings(memory: int) -> str:
    """As PostgreSQL's documentation advises for a server with this much memory (bytes); every commit is flushed.

    A quarter of the memory for shared buffers (at most 1 GiB: the store is small), cheap random pages for an SSD.
    """
    shared = min(memory // 4, 1 << 30) >> 20
    return (
        "listen_addresses = ''\nunix_socket_permissions = 0700\nmax_connections = 200\n"
        "fsync = on\nfull_page_writes = on\nsynchronous_commit = on\nwal_level = replica\n"
        f"shared_buffers = {shared}MB\neffective_cache_size = {(memory // 2) >> 20}MB\n"
        "max_wal_size = 4GB\nwal_compression = on\nrandom_page_cost = 1.1\nlog_min_messages = warning\n"
    )


class PostgreSQL:
    """One primary in `directory`, and a standby if asked for."""

    def __init__(self, children: Children, directory: Path) -> None:
        self._children = children
        self._programs = programs()
        self._user = unprivileged()
        self._directory = directory / "postgresql"

    @property
    def dsn(self) -> str:
        """Where applications connect."""
        return f"postgresql://peer@/postgres?host={self._directory}&port={PRIMARY}"

    def start(self, books: list[dict], *, standby: bool) -> None:
        """Make the database if there is none yet, and start it. Raises CannotRun."""
        new = not self._directory.exists()
        if new:
            self._directory.mkdir(mode=0o700)
            if self._user is not None:
                shutil.chown(self._directory, self._user, group_of(self._user))
            self._run(
                "initdb", "-D", f"{self._directory}/primary", "-U", "peer", "--auth=trust", "-E", "UTF8", "--locale=C"
            )
            with (self._directory / "primary" / "postgresql.conf").open("a") as file:
                file.write(settings(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")))
        self._serve("primary", PRIMARY)
        if new:
            self._fill(books)
        if standby:
            self._follow(new)

    def _serve(self, name: str, port: int) -> None:
        command = [
            f"{self._programs}/postgres",
            "-D",
            f"{self._directory}/{name}",
            "-p",
            str(port),
            "-k",
            str(self._directory),
        ]
        self._children.start(name, command, stop=signal.SIGINT, orphaned=signal.SIGQUIT, user=self._user)
        self._children.wait(
            f"the {name}", lambda: self._done("pg_isready", "-h", str(self._directory), "-p", str(port))
        )

    def _follow(self, new: bool) -> None:
        """A standby; from now on a commit waits until it is flushed there, too."""
        if new:
            conninfo = f"host={self._directory} port={PRIMARY} user=peer application_name=standby"
            self._run(
                "pg_basebackup",
                "-D",
                f"{self._directory}/standby",
                "-R",
                "-X",
                "stream",
                "-c",
                "fast",
                "-d",
                conninfo,
            )
        self._serve("standby", STANDBY)
        self._sql("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
        self._sql("SELECT pg_reload_conf()")
        asked = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
        self._children.wait("the synchronous standby", lambda: self._sql(asked).strip() == "1")

    def _fill(self, books: list[dict]) -> None:
        self._sql(SCHEMA)
        rows = "".join(
            f"{book.get('id', number)}\t{_copied(book['title'])}\t{_copied(book['topic'])}\t"
            f"{round(100 * book['cost'])}\t{book['count']}\n"
            for number, book in enumerate(books, 1)
        )
        self._sql("COPY books FROM STDIN", rows)
        self._sql("VACUUM ANALYZE")

    def _sql(self, statement: str, standard_input: str = "") -> str:
        where = ("-h", str(self._directory), "-p", str(PRIMARY), "-U", "peer", "-d", "postgres")
        return self._run(
            "psql", "-X", "-q", "-t", "-A", "-v", "ON_ERROR_STOP=1", *where, "-c", statement, given=standard_input
        )

    def _run(self, program: str, *arguments: str, given: str = "") -> str:
        """Its output. Raises CannotRun with its last line."""
        result = self._result(program, *arguments, given=given)
        if result.returncode:
            raise CannotRun(f"{program}: {(result.stderr.strip() or 'it said nothing').splitlines()[-1]}")
        return result.stdout

    def _done(self, program: str, *arguments: str) -> bool:
        return self._result(program, *arguments).returncode == 0

    def _result(self, program: str, *arguments: str, given: str = "") -> "subprocess.CompletedProcess[str]":
        try:
            return subprocess.run(
                [f"{self._programs}/{program}", *arguments],
                **({"input": given} if given else {"stdin": subprocess.DEVNULL}),
                capture_output=True,
                text=True,
                timeout=LONGEST,
                cwd="/",
                check=False,
                **(
                    {}
                    if self._user is None
                    else {"user": self._user, "group": group_of(self._user), "extra_groups": []}
                ),
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CannotRun(f"{program}: {error}") from None


def _copied(text: str) -> str:
    """As a field of COPY's text format."""
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
