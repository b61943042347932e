"""The TypeScript SDK's client, and `mcpdo`, which answers forms from a shell: both protocol eras, over HTTP."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest

from tests.doors.servers import Served, served
from tests.invariants.world import World
from tests.peers.node_programs import node_program

pytestmark = pytest.mark.anyio

Mcpdo = Callable[..., Awaitable[Any]]
READ = {"target": "api", "path": "x"}
CONFIRMED = READ | {"method": "PUT"}


@pytest.fixture
async def server(tmp_path: Path, world: World) -> AsyncIterator[Served]:
    folder = tmp_path / "gateway"
    folder.mkdir()
    async with served(folder, world=world, wait=timedelta(seconds=30)) as found:
        yield found


async def typescript(server: Served, mode: str, action: str, arguments: dict[str, str]) -> Any:
    """What the SDK's client makes of one call; `action` is its answer to a form."""
    call = orjson.dumps({"name": "call_api", "arguments": arguments}).decode()
    command = [*node_program("client.mjs"), f"{server.url}/mcp", server.token(), mode, action, call]
    with anyio.fail_after(60):
        done = await anyio.run_process(command, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_the_typescript_client_lists_tools_and_calls_one(server: Served, mode: str) -> None:
    said = await typescript(server, mode, "accept", READ)

    assert said["tools"] == ["list_targets", "call_api"]
    assert said["result"]["structuredContent"]["text"] == "ok"
    assert said["forms"] == []


@pytest.mark.parametrize(("action", "code"), [("accept", None), ("decline", "approval_denied")])
@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_the_typescript_client_shows_the_form_and_its_answer_counts(
    server: Served, mode: str, action: str, code: str | None
) -> None:
    said = await typescript(server, mode, action, CONFIRMED)

    (form,) = said["forms"]
    assert f"request: PUT {server.bench.api.url}/x" in form
    assert said["result"]["structuredContent"].get("error", {}).get("code") == code
    assert len(server.bench.api.requests) == (1 if code is None else 0)


@pytest.fixture
async def mcpdo(server: Served, tmp_path: Path) -> AsyncIterator[Mcpdo]:
    """Run `mcpdo` with a daemon of the test's own, which is stopped at the end."""
    program = [*node_program("mcpdo"), "--format", "json", "--plain"]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "MCP_INSPECTOR_DAEMON_DIR": str(tmp_path / "daemon"),
        "MCP_INSPECTOR_DAEMON_TOKEN": secrets.token_urlsafe(32),
        "MCP_INSPECTOR_SECRET_STORE": "memory",
    }

    async def run(*arguments: str) -> Any:
        named = [] if arguments[0] in {"connect", "daemon"} else ["--connection", f"{server.url}/mcp"]
        # Not by the event loop: uvloop's children hand their output on to the daemon, and it would not end before that.
        command = [*program, *named, *arguments]

        def finished() -> subprocess.CompletedProcess[bytes]:
            return subprocess.run(command, capture_output=True, env=environment, check=False, timeout=60)

        done = await anyio.to_thread.run_sync(finished)
        assert done.returncode in {0, 5}, done.stderr.decode()  # 5: the tool said isError
        return json.loads(done.stdout)

    try:
        yield run
    finally:
        await run("daemon", "stop")


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_a_form_can_be_answered_from_a_shell(server: Served, mcpdo: Mcpdo, era: str) -> None:
    token = f"Authorization: Bearer {server.token()}"
    connection = await mcpdo("connect", f"{server.url}/mcp", "--era", era, "--header", token)
    assert connection["protocolEra"] == era
    assert [tool["name"] for tool in (await mcpdo("tools/list"))["tools"]] == ["list_targets", "call_api"]

    asked = (await mcpdo("tools/call", "call_api", orjson.dumps(CONFIRMED).decode()))["elicitationPending"]
    assert "PUT" in asked["message"]
    assert server.bench.api.requests == []
    answered = await mcpdo("elicitation/respond", asked["elicitationId"], "{}")

    assert answered["structuredContent"]["text"] == "ok"
    assert len(server.bench.api.requests) == 1
