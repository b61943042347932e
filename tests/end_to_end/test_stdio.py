from __future__ import annotations

import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests.corpora import cases
from tests.peers.api import API, running_api

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

POLICY = """
@id("reads") permit (principal, action == Action::"call_api", resource);
"""


def configure(folder: Path, api: API) -> list[str]:
    """Write a configuration and give the command line that serves it over stdio."""
    folder.chmod(0o700)
    policies = folder / "reads.cedar"
    policies.write_text(POLICY)
    config = folder / "gateway.toml"
    config.write_text(
        f"""
        [gateway]
        data_dir = "{folder / "data"}"
        [identity]
        issuer = "local"
        audience = "http://127.0.0.1:8765"
        [policy]
        paths = ["{policies}"]
        [targets.api]
        kind = "http"
        base_url = "{api.url}"
        networks = ["127.0.0.0/8"]
        labels = {{ env = "dev" }}
        """
    )
    for path in (policies, config):
        path.chmod(0o600)
    return [sys.executable, "-I", "-m", "mcp_gateway", "--config", str(config), "stdio"]


@asynccontextmanager
async def connected(command: list[str], mode: Any) -> AsyncIterator[Client]:
    parameters = StdioServerParameters(command=command[0], args=command[1:])
    async with Client(stdio_client(parameters), mode=mode) as client:
        yield client


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_an_mcp_host_starts_the_gateway_and_calls_a_tool(tmp_path: Path, mode: str) -> None:
    async with running_api() as api, connected(configure(tmp_path, api), mode) as client:
        targets = await client.call_tool("list_targets", {})
        found = await client.call_tool("call_api", {"target": "api", "path": "x"})

    assert [item["name"] for item in targets.structured_content["targets"]] == ["api"]
    assert found.structured_content["text"] == "ok"
    assert len(api.requests) == 1


@pytest.mark.requirement("I7")
async def test_malformed_input_never_calls_a_tool_and_only_json_comes_out(tmp_path: Path) -> None:
    import base64
    import zlib

    lines = []
    for case in cases("jsonrpc.jsonl"):
        given = case["input"]
        body = base64.b64decode(given.get("body_b64") or given["body_zlib_b64"])
        body = zlib.decompress(body) if "body_zlib_b64" in given else body
        lines.append(body.replace(b"\n", b" ").replace(b"\r", b" ") + b"\n")
    async with running_api() as api, await anyio.open_process(configure(tmp_path, api)) as process:
        assert process.stdin is not None
        stdout = process.stdout
        assert stdout is not None
        out = bytearray()
        with anyio.fail_after(120):
            async with anyio.create_task_group() as group:

                async def read() -> None:
                    async for chunk in stdout:
                        out.extend(chunk)

                group.start_soon(read)
                for line in lines:
                    await process.stdin.send(line)
                await process.stdin.aclose()
            await process.wait()

    assert api.requests == []
    for answered in bytes(out).splitlines():
        assert isinstance(orjson.loads(answered), dict)


@pytest.mark.requirement("R22")
async def test_input_beyond_every_limit_is_answered_and_the_next_call_works(tmp_path: Path) -> None:
    from tests.doors.test_bad_input import BAD, INITIALIZE, call

    async with running_api() as api, await anyio.open_process(configure(tmp_path, api)) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        out = bytearray()

        async def answered(wanted: bytes) -> None:
            """Read until something is said, or nothing more comes."""
            assert process.stdout is not None
            while wanted not in out:
                out.extend(await process.stdout.receive())

        with anyio.fail_after(120):
            await process.stdin.send(orjson.dumps(INITIALIZE) + b"\n")
            await answered(b'"id":0')
            await process.stdin.send(b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')
            bad = [body for body, _ in BAD.values()] + [call('"body":"' + "x" * 9_000_000 + '"')]
            for number, body in enumerate(bad, start=1000):
                await process.stdin.send(body.replace(b"\n", b" ") + b"\n")
                await process.stdin.send(call().replace(b'"id":1', b'"id":%d' % number) + b"\n")
                await answered(b'"id":%d' % number)
            await process.stdin.aclose()
            await process.wait()

    answers = [orjson.loads(line) for line in bytes(out).splitlines()]
    good = [item for item in answers if item.get("id", 0) and item["id"] >= 1000]
    assert [item["result"]["isError"] for item in good] == [False] * len(bad)
    assert len(api.requests) == len(bad)
    refused = [item["result"] for item in answers if item.get("id") == 1]
    assert len(refused) == 10
    assert all(item["isError"] for item in refused)
    assert sum(item.get("error", {}).get("code") == -32700 for item in answers) >= len(bad) - len(refused)


@pytest.mark.requirement("R29")
async def test_a_signal_ends_the_process_with_every_outcome_recorded(tmp_path: Path) -> None:
    import sqlite3

    async with running_api() as api:
        api.stall = True
        command = configure(tmp_path, api)
        async with await anyio.open_process(command) as process:
            assert process.stdin is not None
            for message in (
                {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
                    "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}},
                {"jsonrpc": "2.0", "method": "notifications/initialized"},
                {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {
                    "name": "call_api", "arguments": {"target": "api", "path": "x"}}},
            ):  # fmt: skip
                await process.stdin.send(orjson.dumps(message) + b"\n")
            with anyio.fail_after(60):
                while not api.requests:
                    await anyio.sleep(0.02)
                process.send_signal(signal.SIGTERM)
                await process.wait()

    with sqlite3.connect(f"file:{next((tmp_path / 'data').glob('*.db'))}?mode=ro", uri=True) as connection:
        kinds = [row[0] for row in connection.execute("SELECT kind FROM events ORDER BY sequence")]
    connection.close()
    assert kinds[-4:] == ["Started", "Cancelled", "Answered", "GatewayStopped"]
