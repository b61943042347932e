"""`mcp-gateway serve` killed while an approval is in each of its states, and started again on the same store."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from anyio.streams.text import TextReceiveStream
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from mcp_gateway.audit.verify import verify
from mcp_gateway.clock import new_id, utc_now
from mcp_gateway.identity.local import LocalIssuer, LocalPerson, open_local_issuer
from tests.peers.api import API, running_api
from tests.private import write_private

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

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
    """A gateway that a test kills and starts again."""

    folder: Path
    issuer: LocalIssuer
    process: anyio.abc.Process
    url: str = ""

    @property
    def data(self) -> Path:
        return self.folder / "data"

    async def call(self, **arguments: Any) -> Any:
        """Call as alex' agent and give the error or the result."""
        token = self.issuer.mint("alex", client_id="agent", actor="agent").reveal_text()
        async with (
            httpx2.AsyncClient(headers={"authorization": f"Bearer {token}"}, timeout=30, trust_env=False) as http,
            Client(streamable_http_client(f"{self.url}/mcp", http_client=http)) as client,
        ):
            given = {"target": "api", "path": "x", "method": "POST"} | arguments
            content: Any = (await client.call_tool("call_api", given)).structured_content
            return content.get("error", content)

    async def code(self, **arguments: Any) -> str:
        found = await self.call(**arguments)
        return str(found.get("code", "ok"))

    async def move(self, move: str, approval: str, *, person: str = "dana") -> int:
        token = self.issuer.mint(person, client_id=APPROVER, auth_time=utc_now()).reveal_text()
        async with httpx2.AsyncClient(headers={"authorization": f"Bearer {token}"}, trust_env=False) as http:
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
async def gateway(folder: Path, api: API) -> AsyncIterator[Gateway]:
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
        [identity]
        issuer = "local"
        audience = "{AUDIENCE}"
        [identity.local.people]
        {people}
        [approvals]
        clients = ["{APPROVER}"]
        wait = "0s"
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
    found = Gateway(folder=folder, issuer=issuer, process=None)  # type: ignore[arg-type]  # it is started at once
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


AGAIN = {
    "pending": "approval_pending",
    "approved": "ok",
    "consumed": "already_run",
    "denied": "approval_denied",
    "revoked": "approval_denied",
    "withdrawn": "approval_pending",
    "expired": "approval_pending",
}
"""State at the kill to what the same call answers after the restart."""


async def reach(found: Gateway) -> dict[str, str]:
    """Bring an approval of a call of its own into each state."""
    ids = {"expired": await asked(found, path="expired", method="PUT")}
    for state in ("pending", "denied", "withdrawn"):
        ids[state] = await asked(found, path=state)
    for state in ("approved", "consumed", "revoked"):
        ids[state] = await approved(found, path=state)
    assert await found.code(path="consumed") == "ok"
    assert await found.move("deny", ids["denied"]) == 200
    assert await found.move("deny", ids["revoked"]) == 200
    assert await found.move("withdraw", ids["withdrawn"], person="alex") == 200
    with anyio.fail_after(20):
        while "ApprovalExpired" not in [kind for _, kind in found.events()]:
            await anyio.sleep(0.05)
    return ids


@pytest.mark.requirement("R2", "R13", "I4")
async def test_a_killed_gateway_goes_on_with_every_approval_where_it_was(tmp_path: Path) -> None:
    async with running_api() as api, gateway(tmp_path, api) as found:
        ids = await reach(found)
        await found.kill()
        await found.start()

        for state, code in AGAIN.items():
            assert await found.code(path=state, method="PUT" if state == "expired" else "POST") == code, state
            late_yes = await found.move("approve", ids[state])
            assert late_yes == (200 if state == "pending" else 409), state
        assert await found.code(path="pending") == "ok"
        assert await found.code(path="other") == "approval_pending"
        paths = sorted(request.split(b" ")[1] for request in api.requests)
        assert paths == [b"/approved", b"/consumed", b"/pending"]
        assert verify(found.data).flaw is None


@pytest.mark.requirement("R1", "R13", "I3", "I4")
async def test_a_call_that_was_running_at_the_kill_ends_unknown_and_is_not_run_again(tmp_path: Path) -> None:
    async with running_api() as api, gateway(tmp_path, api) as found:
        await approved(found)
        api.stall = True
        async with anyio.create_task_group() as group:

            async def call() -> None:
                with pytest.raises(Exception):  # noqa: B017 - whatever the SDK's client says of a broken connection
                    await found.call()

            group.start_soon(call)
            with anyio.fail_after(20):
                while not api.requests:
                    await anyio.sleep(0.01)
            await found.kill()
            group.cancel_scope.cancel()
        api.stall = False
        await found.start()
        with anyio.fail_after(5):
            while "OutcomeUnknown" not in [kind for _, kind in found.events()]:
                await anyio.sleep(0.05)

        again = await found.call()

        assert again["code"] == "already_run"
        assert len(api.requests) == 1
        assert again["outcome"] == "unknown"


@pytest.mark.requirement("R1", "R13", "I1", "I3", "I4")
async def test_whenever_it_is_killed_during_the_claim_the_call_runs_at_most_once(tmp_path: Path) -> None:
    async with running_api() as api, gateway(tmp_path, api) as found:
        for number in range(4):
            path = f"p{number}"
            approval = await asked(found, path=path)
            assert await found.move("approve", approval) == 200
            async with anyio.create_task_group() as group:

                async def call(path: str) -> None:
                    with anyio.move_on_after(10):
                        try:
                            await found.call(path=path)
                        except Exception:  # noqa: BLE001 - whatever the SDK's client says of a broken connection
                            return

                group.start_soon(call, path)
                # From before the request arrives to after its answer; the instant is the scenario's, not a wait.
                await anyio.sleep(0.015 * number)
                await found.kill()
                group.cancel_scope.cancel()
            await found.start()
            assert await found.code(path=path) in {"ok", "already_run"}
            assert await found.code(path=path) == "already_run"

        sent = Counter(request.split(b" ")[1] for request in api.requests)
        kinds = Counter(kind for _, kind in found.events())
        assert max(sent.values()) == 1
        assert kinds["Claimed"] == kinds["Started"] == 4
        assert kinds["Finished"] + kinds["OutcomeUnknown"] + kinds["Cancelled"] == 4
        assert verify(found.data).flaw is None
