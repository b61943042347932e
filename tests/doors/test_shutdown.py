"""A server that is told to stop ends what runs, and what it ends is on record."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp.client.streamable_http import streamable_http_client

from tests.doors.servers import Served, served
from tests.invariants.clients import heard
from tests.invariants.world import World

pytestmark = pytest.mark.anyio


@pytest.mark.requirement("R9")
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_call_that_outlasts_a_shutdown_is_cancelled_and_recorded(
    tmp_path: Path, world: World, mode: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def call(server: Served) -> None:
        with suppress(Exception):  # the connection is cut: whatever the client makes of it
            async with (
                server.client() as http,
                heard(world, streamable_http_client(f"{server.url}/mcp", http_client=http), mode=mode) as client,
            ):
                await client.call_tool("call_api", {"target": "api", "path": "x"})

    async with anyio.create_task_group() as clients:
        async with served(tmp_path, world=world, grace_seconds=1) as server:
            server.bench.api.stall = True
            clients.start_soon(call, server)
            with anyio.fail_after(20):
                while not server.bench.api.requests:
                    await anyio.sleep(0.02)
        clients.cancel_scope.cancel()

    with closing(sqlite3.connect(f"file:{next((tmp_path / 'data').glob('*.db'))}?mode=ro", uri=True)) as connection:
        kinds = [row[0] for row in connection.execute("SELECT kind FROM events ORDER BY sequence")]
    assert [kind for kind in kinds if kind != "GatewayStopped"][-3:] == ["Started", "Cancelled", "Answered"]
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []
