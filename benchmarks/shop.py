"""What is called in a benchmark: a real PostgreSQL with a shop in it, and a gateway in front, each a process of its own.

The database is the demo's, larger: customers with classified columns, orders with notes in prose, of which some hold an
address or a telephone number. The gateway is `mcp-gateway serve` with the starter policies and the local issuer.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mcp_gateway_policies import starter_policies

from mcp_gateway.clock import new_id, utc_now
from mcp_gateway.identity.local import LocalPerson, open_local_issuer
from tests.peers.postgres import running_server, server_programs

AUDIENCE = "http://127.0.0.1:8765"
CUSTOMERS, ORDERS = 500, 20_000
SHOP = f"""
CREATE TABLE customers (
    id integer PRIMARY KEY, name text NOT NULL, email text NOT NULL, national_id text NOT NULL, card text NOT NULL,
    city text NOT NULL
);
CREATE TABLE orders (
    id integer PRIMARY KEY, customer_id integer NOT NULL REFERENCES customers, total numeric(10, 2) NOT NULL,
    status text NOT NULL, placed_at timestamptz NOT NULL, note text NOT NULL
);
INSERT INTO customers
    SELECT n, 'Person ' || n || ' ' || (ARRAY['Berg', 'Cho', 'Diaz', 'Okafor', 'Müller'])[1 + n % 5],
        'person.' || n || '@example.com', '536-22-' || lpad((n % 9999 + 1)::text, 4, '0'), '4111111111111111',
        (ARRAY['Oslo', 'Busan', 'Lima', 'Lagos', 'Köln'])[1 + n % 5]
    FROM generate_series(1, {CUSTOMERS}) AS n;
INSERT INTO orders
    SELECT n, 1 + n % {CUSTOMERS}, (n * 37 % 400) + 0.99, (ARRAY['paid', 'shipped', 'cancelled'])[1 + n % 3],
        timestamptz '2026-01-01 09:00+00' + n * interval '7 hours',
        CASE n % 10
            WHEN 0 THEN 'call ' || '+49 30 90' || lpad((n % 1000000)::text, 6, '0') || ' before the parcel is left'
            WHEN 5 THEN 'copy of the invoice to billing' || n || '@example.org, please'
            ELSE 'leave it at the back door, and ring twice; the dog is friendly but loud, number ' || n
        END
    FROM generate_series(1, {ORDERS}) AS n;
CREATE ROLE gateway LOGIN PASSWORD 'of the gateway';
GRANT USAGE ON SCHEMA public TO gateway;
GRANT SELECT, INSERT, UPDATE, DELETE ON customers, orders TO gateway;
ANALYZE;
"""
CLASSIFY = {
    "public.customers.email": "pii.email",
    "public.customers.national_id": "pii.national_id",
    "public.customers.card": "payment.card",
}
QUIET = {"log_statement": "none", "shared_buffers": "64MB"}
START_SECONDS = 30.0
LOG_BYTES = 1 << 20
URL = re.compile(r"serving (http://\S+)/mcp\n")
TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """A running PostgreSQL with the shop in it."""

    host: str
    port: int
    pid: int

    @property
    def dsn(self) -> str:
        """How the gateway's role connects."""
        return f"postgresql://gateway:of%20the%20gateway@{self.host}:{self.port}/postgres?sslmode=disable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running server of `/mcp`."""

    name: str
    url: str
    pid: int
    token: str = ""
    tool: str = "query_database"
    target: str = ""
    """The argument that names the database, where the tool has one."""


@contextmanager
def running_database() -> Iterator[Database]:
    """PostgreSQL on loopback, until the block ends."""
    programs = server_programs()
    if programs is None:
        sys.exit("no PostgreSQL server is installed: apt-get install postgresql")
    with running_server(programs, settings=QUIET) as server:
        server.execute(SHOP)
        pid = int((server.data / "postmaster.pid").read_text().split()[0])
        yield Database(host=server.host, port=server.port, pid=pid)


@contextmanager
def running_floor(database: Database, *options: str) -> Iterator[Server]:
    """The bare server."""
    with running_module("bare_server", database, *options, name="floor") as server:
        yield server


@contextmanager
def running_module(module: str, database: Database, *options: str, name: str) -> Iterator[Server]:
    """One of the servers of this package."""
    with serving(name, [sys.executable, "-m", f"benchmarks.{module}", database.dsn, *options]) as server:
        yield server


@contextmanager
def running_gateway(database: Database, folder: Path) -> Iterator[Server]:
    """The gateway, and a token of the local issuer that was signed just now."""
    config = write_configuration(database, folder)
    command = [sys.executable, "-I", "-m", "mcp_gateway", "--config", str(config), "serve"]
    with serving("gateway", command) as server:
        issuer = open_local_issuer(
            folder / "data",
            audience=AUDIENCE,
            clock=utc_now,
            new_id=new_id,
            people={"alex": LocalPerson(groups=frozenset({"developers"}), email="alex@example.com")},
        )
        token = issuer.mint("alex", client_id="agent", actor="agent").reveal_text()
        yield Server(name=server.name, url=server.url, pid=server.pid, token=token, target="shop")


def write_configuration(database: Database, folder: Path) -> Path:
    """An ordinary gateway.toml with the starter policies."""
    folder.chmod(0o700)
    policies = folder / "policies"
    shutil.copytree(starter_policies(), policies, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    for path in (policies, *policies.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
    password = folder / "password"
    password.touch(mode=0o600)
    password.write_text("of the gateway")
    config = folder / "gateway.toml"
    config.touch(mode=0o600)
    classify = "\n".join(f'"{column}" = "{name}"' for column, name in CLASSIFY.items())
    config.write_text(f"""\
[gateway]
data_dir = "{folder / "data"}"
[server]
listen = "127.0.0.1:0"
[identity]
issuer = "local"
audience = "{AUDIENCE}"
[identity.local.people]
alex = {{ groups = ["developers"], email = "alex@example.com" }}
[policy]
paths = ["{policies}"]
[targets.shop]
kind = "postgres"
labels = {{ env = "prod" }}
host = "{database.host}"
port = {database.port}
database = "postgres"
user = "gateway"
password = {{ file = "{password}" }}
tls = "disable"
max_rows = 2000
[targets.shop.classify]
{classify}
""")
    return config


@contextmanager
def serving(name: str, command: list[str], *, url: str = "") -> Iterator[Server]:
    """Start a server and end it: one that says its URL, or one that is known to listen at this.

    What it says goes to a file: a pipe that is full would stop it.
    """
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        try:
            until = time.monotonic() + START_SECONDS
            while not (found := accepting(url) or said_url(said := os.pread(log.fileno(), LOG_BYTES, 0).decode())):
                if process.poll() is not None or time.monotonic() > until:
                    sys.exit(f"the {name} does not serve: {said}")
                time.sleep(0.02)
            yield Server(name=name, url=found, pid=process.pid)
        finally:
            process.terminate()
            process.wait(START_SECONDS)


def said_url(said: str) -> str:
    """The URL in what a server said, or nothing yet."""
    found = URL.search(said)
    return found.group(1) if found else ""


def accepting(url: str) -> str:
    """The URL when somebody listens there, or nothing yet."""
    if url:
        host, _, port = url.removeprefix("http://").partition(":")
        with suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
            return url
    return ""


def cpu_seconds(pid: int) -> float:
    """User and system time of one process, its threads included: exact where the scheduler says it, else by ticks."""
    try:
        threads = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    except OSError:
        threads = []
    if threads:
        return sum(int(thread.split()[0]) for thread in threads) / 1e9
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_SECONDS


def children_of(pid: int) -> list[int]:
    """The processes that a process has started and that run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(path.parent.name))
    return found


def children_seconds(pid: int) -> float:
    """User and system time of a process's children, those included that have ended."""
    while True:
        try:
            running = sum(cpu_seconds(child) for child in children_of(pid))
        except FileNotFoundError:  # one ended meanwhile: look again, it is among those that have
            continue
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return running + (int(fields[13]) + int(fields[14])) * TICK_SECONDS
