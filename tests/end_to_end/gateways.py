"""Gateways for end-to-end tests: real peers on loopback, and the real `mcp-gateway` before them, as a user runs it.

`Backends` is what stands behind and beside a gateway: the certified OpenID provider with two people, Debian's PostgreSQL
(`orders`, production), the embedded one (`scratch`, for development), OpenSSH (`web1`) and Prometheus (`metrics`).
`Gateway` is one folder with gateway.toml, the starter policies, the data and the log, and the process that serves it;
its `command` runs the console script beside it. Modules share one of each.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mcp_gateway.cli.commands.init import write_first_files
from tests.audit.records import rows
from tests.cli.running import SCRIPT, Ran, run_script
from tests.invariants.checks import judge
from tests.invariants.witnesses import PostgresWitness, SSHWitness
from tests.invariants.world import World
from tests.peers.oidc_provider import AGENT, APPROVER, OIDCProvider, running_oidc_provider
from tests.peers.postgres import PostgresDatabase, PostgresServer, own_database
from tests.peers.prometheus import Prometheus
from tests.peers.sshd import SSHServer
from tests.private import write_private

HUMAN, DBA = "alex", "dana"
"""Whom the agents act for, and who may approve."""
PEOPLE = {
    HUMAN: {"groups": ["developers"], "email": "alex@example.com"},
    DBA: {"groups": ["dba", "ops"], "email": "dana@example.com"},
}
SCOPES = "openid email db ssh api"
START_SECONDS = STOP_SECONDS = 60.0
POLL_SECONDS = 0.02

ADA = ("ada.berg@example.com", "536-22-8726")
ORDERS = f"""
CREATE TABLE customers (id int PRIMARY KEY, name text, email text, ssn text, city text);
INSERT INTO customers VALUES
    (1, 'Ada', '{ADA[0]}', '{ADA[1]}', 'Oslo'), (2, 'Ben', 'ben.cho@example.net', '219-09-9999', 'Busan');
CREATE TABLE refunds (customer_id int, amount numeric(10, 2));
"""
SCRATCH = """
CREATE TABLE notes (id int PRIMARY KEY, done text);
INSERT INTO notes VALUES (1, ''), (2, '');
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backends:
    """Where everything stands."""

    provider: OIDCProvider
    orders: PostgresDatabase
    scratch: PostgresDatabase
    host: SSHServer
    metrics: Prometheus
    tokens: dict[tuple[str, str, str], str] = field(default_factory=dict)

    def token(self, person: str = HUMAN, *, client: str = AGENT, scope: str = SCOPES) -> str:
        """An access token of a few minutes; people sign in once for each module."""
        key = (person, client, scope)
        if key not in self.tokens:
            self.tokens[key] = self.provider.sign_in(person, client_id=client, scope=scope).access
        return self.tokens[key]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A gateway that serves; its folder is its own."""

    backends: Backends
    folder: Path
    url: str

    @property
    def config(self) -> Path:
        """Its gateway.toml."""
        return self.folder / "gateway.toml"

    @property
    def data(self) -> Path:
        """Its data folder, with the audit store."""
        return self.folder / "data"

    @property
    def store(self) -> Path:
        """The file of its audit store."""
        return self.data / "audit.db"

    @property
    def log(self) -> Path:
        """What the process that serves says on standard error."""
        return self.folder / "log"

    def token_file(self, person: str = HUMAN, *, client: str = AGENT) -> Path:
        """A file with a token of this person, as `MCP_GATEWAY_TOKEN_FILE` names it."""
        path = self.folder / f"{person}.{client}.token"
        if not path.exists():
            # Never written again: a process may be reading it.
            write_private(path, self.backends.token(person, client=client))
        return path

    def environment(self, person: str | None, *, client: str = AGENT) -> dict[str, str]:
        """What a process of this person's gets beside `PATH`."""
        token = {"MCP_GATEWAY_TOKEN_FILE": str(self.token_file(person, client=client))} if person else {}
        return {"HOME": str(self.folder), **token}

    def command(self, *arguments: str, person: str | None = None) -> Ran:
        """Run the console script: as an operator, or as a person with their own token for approving."""
        environ = self.environment(person, client=APPROVER)
        return run_script("--config", str(self.config), *arguments, home=self.folder, environ=environ)

    def events(self, call_id: str) -> list[dict[str, Any]]:
        """The events of a call, in order, as `audit show` has them."""
        shown = self.command("audit", "show", call_id, "--json")
        assert shown.status == 0, shown.err
        found: list[dict[str, Any]] = shown.json["events"]
        return found

    def kinds(self, call_id: str) -> list[str]:
        """The kinds of a call's events, read from the store itself."""
        assert call_id.replace("-", "").isalnum()
        query = f"SELECT kind FROM events WHERE call_id = '{call_id}' ORDER BY sequence"
        return [kind for (kind,) in rows(self.data, query)]


@contextmanager
def standing(
    orders: PostgresServer, scratch: PostgresServer, *, host: SSHServer, metrics: Prometheus
) -> Iterator[Backends]:
    """Databases with something in them on running servers, and an issuer with people, until the block ends."""
    with ExitStack() as stack:
        backends = Backends(
            provider=stack.enter_context(running_oidc_provider(people=PEOPLE)),
            orders=stack.enter_context(own_database(orders)),
            scratch=stack.enter_context(own_database(scratch)),
            host=host,
            metrics=metrics,
        )
        backends.orders.execute(ORDERS)
        backends.scratch.execute(SCRATCH)
        yield backends


@contextmanager
def running_gateway(folder: Path, backends: Backends, *, wait: str, server: str = "") -> Iterator[Gateway]:
    """Write a configuration and serve it; SIGTERM ends it, and has to end it well. `server` is more of `[server]`."""
    folder.chmod(0o700)
    config, _ = write_first_files(folder)
    for name, secret in (
        ("orders", backends.orders.password),
        ("scratch", backends.scratch.password),
        ("metrics", backends.metrics.password),
    ):
        write_private(folder / name, secret)
    config.write_text(configuration(folder, backends, wait=wait, server=server), encoding="utf-8")
    log = folder / "log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [SCRIPT, "--config", str(config), "serve"],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            cwd=folder,
            env={"HOME": str(folder), "PATH": os.environ["PATH"]},
        )
    try:
        gateway = Gateway(backends=backends, folder=folder, url=_served_url(process, log))
        judged = _to_be_judged(gateway)
        yield gateway
        judged.look()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=STOP_SECONDS) == 0, log.read_text()
        judged.add_log("standard streams", log.read_bytes())
        violations = judge(judged)
        assert not violations, "violated:\n" + "\n".join(violations)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _to_be_judged(gateway: Gateway) -> World:
    """What the invariants are held against when the gateway has ended."""
    backends, folder = gateway.backends, gateway.folder
    secrets = {name: folder / name for name in ("orders", "scratch", "metrics")}
    world = World(data_dirs=[gateway.data], folders=[folder], sources=set(secrets.values()))
    world.canaries = {f"the password of {name}": path.read_bytes() for name, path in secrets.items()}
    world.canaries |= {value: value.encode() for value in ADA}
    world.witnesses = [
        PostgresWitness(backends.orders, target="orders"),
        PostgresWitness(backends.scratch, target="scratch"),
        SSHWitness(target="web1", log=backends.host.log, port=backends.host.port),
    ]
    return world


def _served_url(process: subprocess.Popen[bytes], log: Path) -> str:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        for line in log.read_text().splitlines():
            if line.startswith("serving "):
                return line.removeprefix("serving ").removesuffix("/mcp")
        time.sleep(POLL_SECONDS)
    raise AssertionError(f"the gateway did not start: {log.read_text()}")


def configuration(folder: Path, backends: Backends, *, wait: str, server: str = "") -> str:
    """The gateway.toml before these backends."""
    text = f"""
[gateway]
name = "end-to-end"
data_dir = {_quoted(folder / "data")}
[server]
listen = "127.0.0.1:0"
answer_within = "3m"
{server}
[identity]
issuer = "{backends.provider.issuer}"
audience = "{backends.provider.audience}"
scopes = {{ query_database = "db", run_ssh_command = "ssh", call_api = "api" }}
[policy]
paths = [{_quoted(folder / "policies")}]
[approvals]
clients = ["{APPROVER}"]
require_auth_time = true
wait = "{wait}"
[targets.web1]
kind = "ssh"
labels = {{ env = "prod" }}
host = "{backends.host.host}"
port = {backends.host.port}
user = "{backends.host.user}"
known_hosts = {_quoted(backends.host.known_hosts)}
key = {{ file = {_quoted(backends.host.key)} }}
[targets.metrics]
kind = "http"
labels = {{ env = "prod" }}
base_url = "{backends.metrics.url}/api/v1"
networks = ["127.0.0.0/8"]
auth = {{ basic = {{ user = "{backends.metrics.user}", password = {{ file = {_quoted(folder / "metrics")} }} }} }}
"""
    classes = {"public.customers.email": "pii.email", "public.customers.ssn": "pii.national_id"}
    text += _database("orders", folder, backends.orders, env="prod", classify=classes)
    return text + _database("scratch", folder, backends.scratch, env="dev", classify={})


def _database(name: str, folder: Path, peer: PostgresDatabase, *, env: str, classify: Mapping[str, str]) -> str:
    classes = "\n".join(f'"{column}" = "{found}"' for column, found in classify.items())
    return f"""
[targets.{name}]
kind = "postgres"
labels = {{ env = "{env}" }}
host = "{peer.host}"
port = {peer.port}
database = "{peer.name}"
user = "{peer.user}"
password = {{ file = {_quoted(folder / name)} }}
tls = "disable"
timeout = "10s"
[targets.{name}.classify]
{classes}
"""


def _quoted(path: Path) -> str:
    return json.dumps(str(path))


@pytest.fixture(scope="module")
def backends(
    postgres_server: PostgresServer,
    embedded_postgres_server: PostgresServer,
    ssh_server: SSHServer,
    prometheus: Prometheus,
) -> Iterator[Backends]:
    """What stands behind the gateways of one module."""
    with standing(postgres_server, embedded_postgres_server, host=ssh_server, metrics=prometheus) as found:
        yield found


@pytest.fixture
def world(world: World) -> World:
    """A module's gateway runs on when a test is over; it is judged when it has ended."""
    world.shared = "the gateway of this module is judged when it has ended"
    return world
