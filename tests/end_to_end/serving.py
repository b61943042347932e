"""A real `mcp-gateway serve` with the local issuer before one HTTP API, which a test may stop, kill and start again."""

from __future__ import annotations

import json
import sqlite3
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx2
from anyio.streams.text import TextReceiveStream
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from mcp_gateway.clock import new_id, utc_now
from mcp_gateway.identity.local import LocalIssuer, LocalPerson, open_local_issuer
from tests.peers.api import API
from tests.plain_http import plain_client
from tests.private import write_private

AUDIENCE = "http://127.0.0.1:8765"
APPROVER = "approver"
PEOPLE = {"alex": LocalPerson(groups=frozenset({"dev"})), "dana": LocalPerson(groups=frozenset({"dba"}))}
POLICY = """
@id("all") permit (principal in Group::"dev", action == Action::"call_api", resource);
@id("posts-need-dba") @approval("dba")
forbid (principal, action == Action::"call_api", resource) when { context.http.method == "POST" }
unless { context.approval.by.contains("dba") };
@id("puts-need-dba-at-once") @approval("dba") @ttl("1s")
forbid (principal, action == Action::"call_api", resource) when { context.http.method == "PUT" }
unless { context.approval.by.contains("dba") };
"""


@dataclass(slots=True, kw_only=True)
class Gateway:
    """A gateway that a test asks, kills and starts again."""

    folder: Path
    issuer: LocalIssuer
    process: anyio.abc.Process
    url: str = ""
    verify: ssl.SSLContext | bool = True
    """How its clients check a certificate."""

    @property
    def data(self) -> Path:
        return self.folder / "data"

    async def call(self, *, mode: Any = "auto", **arguments: Any) -> Any:
        """Call as alex' agent and give the error or the result."""
        token = self.issuer.mint("alex", client_id="agent", actor="agent").reveal_text()
        async with (
            httpx2.AsyncClient(
                headers={"authorization": f"Bearer {token}"}, timeout=30, verify=self.verify, trust_env=False
            ) as http,
            Client(streamable_http_client(f"{self.url}/mcp", http_client=http), mode=mode) as client,
        ):
            await client.list_tools()  # as every agent does; else the client would, to check the answer
            given = {"target": "api", "path": "x", "method": "POST"} | arguments
            content: Any = (await client.call_tool("call_api", given)).structured_content
            return content.get("error", content)

    async def code(self, **arguments: Any) -> str:
        found = await self.call(**arguments)
        return str(found.get("code", "ok"))

    async def move(self, move: str, approval: str, *, person: str = "dana") -> int:
        token = self.issuer.mint(person, client_id=APPROVER, auth_time=utc_now()).reveal_text()
        async with plain_client(headers={"authorization": f"Bearer {token}"}) as http:
            return (await http.post(f"{self.url}/api/approvals/{approval}/{move}")).status_code

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()

    async def start(self) -> None:
        """Start the process and wait until it serves."""
        self.process = await anyio.open_process(
            [sys.executable, "-I", "-m", "mcp_gateway", "--config", str(self.folder / "gateway.toml"), "serve"],
            stdout=subprocess.DEVNULL,
        )
        assert self.process.stderr is not None
        said = ""
        with anyio.fail_after(60):
            async for text in TextReceiveStream(self.process.stderr):
                said += text
                serving = [line for line in said.splitlines(keepends=True) if line.startswith("serving ")]
                if serving and serving[0].endswith("\n"):
                    self.url = serving[0].split()[1].removesuffix("/mcp")
                    return
        raise AssertionError(said)

    def events(self) -> list[tuple[str, str]]:
        """Call id and kind of every event, in order."""
        connection = sqlite3.connect(f"file:{next(self.data.glob('*.db'))}?mode=ro", uri=True)
        try:
            return connection.execute("SELECT coalesce(call_id, ''), kind FROM events ORDER BY sequence").fetchall()
        finally:
            connection.close()


@asynccontextmanager
async def gateway(
    folder: Path, api: API, *, wait: str = "0s", server: str = "", verify: ssl.SSLContext | bool = True
) -> AsyncIterator[Gateway]:
    """Serve with the local issuer before one API; `server` are further lines of that table."""
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    policies, config = folder / "all.cedar", folder / "gateway.toml"
    write_private(policies, POLICY)
    people = "\n".join(f"{name} = {{ groups = {json.dumps(sorted(who.groups))} }}" for name, who in PEOPLE.items())
    write_private(
        config,
        f"""
        [gateway]
        data_dir = "{folder / "data"}"
        [server]
        listen = "127.0.0.1:0"
        {server}
        [identity]
        issuer = "local"
        audience = "{AUDIENCE}"
        [identity.local.people]
        {people}
        [approvals]
        clients = ["{APPROVER}"]
        wait = "{wait}"
        [policy]
        paths = ["{policies}"]
        [targets.api]
        kind = "http"
        base_url = "{api.url}"
        networks = ["127.0.0.0/8"]
        labels = {{ env = "dev" }}
        """,
    )
    (folder / "data").mkdir(mode=0o700)
    issuer = open_local_issuer(folder / "data", audience=AUDIENCE, clock=utc_now, new_id=new_id, people=PEOPLE)
    found = Gateway(folder=folder, issuer=issuer, process=None, verify=verify)  # type: ignore[arg-type]  # it is started at once
    await found.start()
    try:
        yield found
    finally:
        with anyio.CancelScope(shield=True):
            if found.process.returncode is None:
                await found.kill()
            await found.process.aclose()


async def asked(found: Gateway, **arguments: Any) -> str:
    error = await found.call(**arguments)
    assert error["code"] == "approval_pending"
    return str(error["approval"]["id"])


async def approved(found: Gateway, **arguments: Any) -> str:
    approval = await asked(found, **arguments)
    assert await found.move("approve", approval) == 200
    return approval
