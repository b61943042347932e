"""The whole gateway as a process before a real database, a real host and an API, to be stopped, killed and starved.

`Targets` are the three with their own logs, which are the witnesses. `Gateway` is one folder with its configuration and
the process that serves it: `start` runs it, below another command (`strace`, `prlimit`, ...) if told so, `signal`
and `kill` do what they say, `end` asks it to end well. Calls are raw HTTP of the 2026-07-28 revision; what a client
is answered is told to the `World`, which is judged when the test is over.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx2
import orjson

from mcp_gateway.clock import new_id, utc_now
from mcp_gateway.doors.guard import AUDIT_UNAVAILABLE, CANNOT_CHECK
from mcp_gateway.identity.local import LocalIssuer, LocalPerson, open_local_issuer
from tests.cli.running import Ran, run_script
from tests.faults.wire import call_body, call_headers, said
from tests.invariants.witnesses import PostgresWitness, SSHWitness
from tests.invariants.world import Store, World, descendants, read_store
from tests.peers.api import API
from tests.peers.postgres import PostgresDatabase
from tests.peers.sshd import SSHServer
from tests.plain_http import plain_client
from tests.private import write_private

AUDIENCE = "http://127.0.0.1:8765"
APPROVER = "approver"
ANSWER_SECONDS = 60.0
START_SECONDS = END_SECONDS = 60.0
POLL_SECONDS = 0.01
TOKEN_SECONDS = 120.0
MANY = httpx2.Limits(max_connections=2000, max_keepalive_connections=2000)
PEOPLE = {
    "alex": LocalPerson(groups=frozenset({"dev"})),
    "sam": LocalPerson(groups=frozenset({"dev"})),
    "dana": LocalPerson(groups=frozenset({"dba"})),
}
POLICY = """
@id("all") permit (principal in Group::"dev",
    action in [Action::"query_database", Action::"run_ssh_command", Action::"call_api"], resource);
@id("writes-need-dba") @approval("dba")
forbid (principal, action == Action::"query_database", resource) when { !context.sql.read_only }
unless { context.approval.by.contains("dba") };
@id("posts-need-dba") @approval("dba")
forbid (principal, action == Action::"call_api", resource) when { context.http.method == "POST" }
unless { context.approval.by.contains("dba") };
"""
TABLES = """
CREATE TABLE IF NOT EXISTS notes (id int PRIMARY KEY, text text);
INSERT INTO notes SELECT n, 'note ' || n FROM generate_series(1, 100) AS n ON CONFLICT DO NOTHING;
"""
QUERY: tuple[str, dict[str, Any]] = ("query_database", {"target": "db", "sql": "SELECT id, text FROM notes LIMIT 3"})
COMMAND: tuple[str, dict[str, Any]] = ("run_ssh_command", {"target": "host", "argv": ["echo", "hello"]})
REQUEST: tuple[str, dict[str, Any]] = ("call_api", {"target": "api", "path": "x", "method": "GET"})
EACH_TOOL = (QUERY, COMMAND, REQUEST)
"""A call of each tool that policy allows at once."""


class BrokenOffError(Exception):
    """The connection ended before an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """What stands behind a gateway."""

    database: PostgresDatabase
    host: SSHServer
    api: API


@dataclass(slots=True, kw_only=True)
class Gateway:
    """A gateway that a test may do anything to."""

    folder: Path
    issuer: LocalIssuer
    world: World
    url: str = ""
    process: anyio.abc.Process | None = None
    tokens: dict[str, tuple[float, str]] = field(default_factory=dict)
    """Somebody's token of the last minutes, and when it was made."""
    program: Sequence[str] = ("-m", "mcp_gateway")
    """What Python runs."""

    @property
    def config(self) -> Path:
        """Its gateway.toml."""
        return self.folder / "gateway.toml"

    @property
    def data(self) -> Path:
        """Its data folder, with the audit store."""
        return self.folder / "data"

    @property
    def log(self) -> Path:
        """What it says on standard error, through all its starts."""
        return self.folder / "log"

    @property
    def pid(self) -> int:
        """The process that serves, also below another command."""
        assert self.process is not None
        for pid in (self.process.pid, *descendants(self.process.pid)):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if words[0] == sys.executable.encode() and b"serve" in words:
                return pid
        raise AssertionError(f"no gateway runs below {self.process.pid}")

    async def start(self, *, under: Sequence[str] = (), environ: Mapping[str, str] | None = None) -> None:
        """Start the process and wait until it serves."""
        await self.launch(under=under, environ=environ)
        await self.serving()

    async def launch(self, *, under: Sequence[str] = (), environ: Mapping[str, str] | None = None) -> None:
        """Start the process; it may never serve."""
        assert self.process is None or self.process.returncode is not None, "it runs already"
        self.url = ""
        with self.log.open("ab") as sink:
            self.process = await anyio.open_process(
                [*under, sys.executable, "-I", *self.program, "--config", str(self.config), "serve"],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                cwd=self.folder,
                env={"HOME": str(self.folder), "PATH": os.environ["PATH"], **(environ or {})},
                start_new_session=True,
            )
        self._said_before = self.log.stat().st_size

    _said_before: int = 0

    async def serving(self) -> None:
        """Wait until it serves."""
        assert self.process is not None
        with anyio.fail_after(START_SECONDS):
            while True:
                said = self.said()
                found = [line for line in said.splitlines(keepends=True) if line.startswith("serving ")]
                if found and found[0].endswith("\n"):
                    self.url = found[0].split()[1].removesuffix("/mcp")
                    return
                assert self.process.returncode is None, f"it ended with {self.process.returncode}: {said}"
                await anyio.sleep(POLL_SECONDS)

    def said(self) -> str:
        """What it has said since it was last started."""
        return self.log.read_bytes()[self._said_before :].decode("utf-8", "replace")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process that serves."""
        os.kill(self.pid, number)

    async def kill(self) -> None:
        """`kill -9`, and whatever it runs below."""
        assert self.process is not None
        if self.process.returncode is None:
            self.world.look()
            os.killpg(self.process.pid, signal.SIGKILL)
        await self.process.wait()

    async def end(self) -> int:
        """Ask it to end; its exit status."""
        assert self.process is not None
        self.world.look()
        if self.process.returncode is None:
            self.signal(signal.SIGTERM)
        with anyio.fail_after(END_SECONDS):
            return await self.process.wait()

    def token(self, person: str = "alex", *, client: str = "agent") -> str:
        """A token of somebody's agent."""
        made, token = self.tokens.get(key := f"{person} {client}", (0.0, ""))
        if time.monotonic() - made > TOKEN_SECONDS or not token:
            token = self.issuer.mint(person, client_id=client, actor=client).reveal_text()
            self.tokens[key] = time.monotonic(), token
        return token

    def approver(self, person: str = "dana") -> httpx2.AsyncClient:
        """An HTTP client of somebody who has just signed in to decide."""
        token = self.issuer.mint(person, client_id=APPROVER, auth_time=utc_now()).reveal_text()
        return plain_client(
            base_url=self.url,
            headers={"authorization": f"Bearer {token}"},
            timeout=ANSWER_SECONDS,
            limits=MANY,
        )

    async def command(self, *arguments: str) -> Ran:
        """Run a command of the command line beside it."""
        return await anyio.to_thread.run_sync(
            lambda: run_script("--config", str(self.config), *arguments, home=self.folder)
        )

    def store(self) -> Store:
        """What is recorded now."""
        return read_store(self.data)

    def client(self, person: str = "alex") -> httpx2.AsyncClient:
        """An HTTP client of somebody's agent."""
        headers = {"authorization": f"Bearer {self.token(person)}"}
        return plain_client(base_url=self.url, headers=headers, timeout=ANSWER_SECONDS, limits=MANY)

    async def call(
        self, tool: str, arguments: Mapping[str, Any], *, person: str = "alex", http: httpx2.AsyncClient | None = None
    ) -> dict[str, Any]:
        """Call a tool: what it gave, or its error, which has a `code`; a connection that breaks raises.

        Whose token is refused never comes to the road, so that answer is told to no world.
        """
        if http is None:
            async with self.client(person) as own:
                return await self.call(tool, arguments, http=own)
        try:
            answer = await http.post("/mcp", content=call_body(tool, arguments), headers=call_headers(tool))
        except httpx2.TransportError as error:
            raise BrokenOffError(repr(error)) from error
        if answer.status_code == 401:
            return {"code": "identity_required"}
        if answer.status_code == 503 and answer.json()["error"] == CANNOT_CHECK:
            return {"code": "identity_required", "message": CANNOT_CHECK}
        if answer.status_code == 503 and answer.json()["error"] == AUDIT_UNAVAILABLE:
            return {"code": "audit_unavailable", "message": AUDIT_UNAVAILABLE}
        text = said(answer.text, answer.headers.get("content-type", ""))
        message = orjson.loads(text)
        assert "result" in message, f"{answer.status_code} {text[:500]}"
        content: dict[str, Any] = message["result"]["structuredContent"]
        is_error = bool(message["result"].get("isError"))
        self.world.hear(content, is_error=is_error, raw=text.encode())
        return content["error"] if is_error else content

    async def code(self, tool: str, arguments: Mapping[str, Any], **more: Any) -> str:
        """Call a tool: `ok`, or the error's code."""
        return str((await self.call(tool, arguments, **more)).get("code", "ok"))

    async def move(self, move: str, approval: str, *, person: str = "dana") -> int:
        """Decide or withdraw over the approvals API; the HTTP status."""
        async with self.approver(person) as http:
            return (await http.post(f"/api/approvals/{approval}/{move}")).status_code


@asynccontextmanager
async def standing(
    folder: Path,
    targets: Targets,
    *,
    world: World,
    more: str = "",
    server: str = "",
    approvals: str = "",
    wait: str = "0s",
    people: Mapping[str, LocalPerson] = PEOPLE,
) -> AsyncIterator[Gateway]:
    """A gateway that is set up and not started; whatever runs of it at the end is killed.

    `server` and `approvals` are further lines of those tables, `more` further tables.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    (folder / "data").mkdir(mode=0o700)
    targets.database.execute(TABLES)
    write_private(folder / "policy.cedar", POLICY)
    write_private(folder / "password", targets.database.password)
    text = configuration(
        folder, targets, more=more, server=server, approvals=f'wait = "{wait}"\n{approvals}', people=people
    )
    write_private(folder / "gateway.toml", text)
    issuer = open_local_issuer(folder / "data", audience=AUDIENCE, clock=utc_now, new_id=new_id, people=people)
    world.data_dirs.append(folder / "data")
    world.sources.add(folder / "password")
    world.canaries["the password of db"] = targets.database.password.encode()
    world.witnesses += [
        PostgresWitness(targets.database, target="db"),
        SSHWitness(target="host", log=targets.host.log, port=targets.host.port),
    ]
    gateway = Gateway(folder=folder, issuer=issuer, world=world)
    try:
        yield gateway
    finally:
        with anyio.CancelScope(shield=True):
            if gateway.process is not None:
                await gateway.kill()
            if gateway.log.exists():
                world.add_log("standard streams", gateway.log.read_bytes())


def configuration(
    folder: Path, targets: Targets, *, more: str, server: str, approvals: str, people: Mapping[str, LocalPerson]
) -> str:
    """The gateway.toml before these targets."""
    persons = "\n".join(map(_person, people.items()))
    database, host = targets.database, targets.host
    return f"""
[gateway]
data_dir = "{folder / "data"}"
[server]
listen = "127.0.0.1:0"
{server}
[identity]
issuer = "local"
audience = "{AUDIENCE}"
[identity.local.people]
{persons}
[approvals]
clients = ["{APPROVER}"]
{approvals}
[policy]
paths = ["{folder / "policy.cedar"}"]
[targets.db]
kind = "postgres"
labels = {{ env = "dev" }}
host = "{database.host}"
port = {database.port}
database = "{database.name}"
user = "{database.user}"
password = {{ file = "{folder / "password"}" }}
tls = "disable"
timeout = "20s"
[targets.host]
kind = "ssh"
labels = {{ env = "dev" }}
host = "{host.host}"
port = {host.port}
user = "{host.user}"
known_hosts = "{host.known_hosts}"
key = {{ file = "{host.key}" }}
[targets.api]
kind = "http"
labels = {{ env = "dev" }}
base_url = "{targets.api.url}"
networks = ["127.0.0.0/8"]
{more}
"""


def _person(named: tuple[str, LocalPerson]) -> str:
    name, who = named
    values = {"groups": sorted(who.groups)} | ({} if who.email is None else {"email": who.email})
    return f"{json.dumps(name)} = {{ {', '.join(f'{key} = {json.dumps(value)}' for key, value in values.items())} }}"
