from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests.corpora import cases
from tests.fuzz.messages import modern, notification, request
from tests.invariants.clients import heard
from tests.invariants.world import HAS_PROC, World, descendants, footprint
from tests.peers.api import API, answer, running_api
from tests.private import write_private

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

TOKEN = "canary-of-the-apis-bearer-token"
EMAIL = "canary.person@example.com"
POLICY = """
@id("reads") permit (principal, action == Action::"call_api", resource);
"""


@asynccontextmanager
async def an_api(folder: Path) -> AsyncIterator[API]:
    """An API that writes down what arrives, and what was durable in the gateway's store then."""
    async with running_api(log=folder / "api.api.log", store=folder / "data") as api:
        yield api


def configure(folder: Path, api: API, world: World) -> list[str]:
    """Write a configuration and give the command line that serves it over stdio."""
    folder.chmod(0o700)
    world.data_dirs.append(folder / "data")
    token = folder / "token"
    write_private(token, TOKEN)
    world.canaries["the API's token"] = TOKEN.encode()
    world.sources.add(token)
    target = f"""
        [targets.api]
        kind = "http"
        base_url = "{api.url}"
        networks = ["127.0.0.0/8"]
        auth = {{ bearer = {{ file = "{token}" }} }}
        labels = {{ env = "dev" }}
        """
    return with_local_issuer(folder, target, policy=POLICY)


def with_local_issuer(folder: Path, target: str, *, policy: str) -> list[str]:
    """Write a configuration for one target and give the command line that serves it over stdio."""
    policies, config = folder / "policies.cedar", folder / "gateway.toml"
    write_private(policies, policy)
    write_private(
        config,
        f"""
        [gateway]
        data_dir = "{folder / "data"}"
        [identity]
        issuer = "local"
        audience = "http://127.0.0.1:8765"
        [policy]
        paths = ["{policies}"]
        {target}
        """,
    )
    return [sys.executable, "-I", "-m", "mcp_gateway", "--config", str(config), "stdio"]


@asynccontextmanager
async def connected(command: list[str], mode: Any, world: World, folder: Path) -> AsyncIterator[Client]:
    parameters = StdioServerParameters(command=command[0], args=command[1:])
    with (folder / "stderr.log").open("w") as errors:
        async with heard(world, stdio_client(parameters, errlog=errors), mode=mode) as client:
            yield client


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_an_mcp_host_starts_the_gateway_and_calls_a_tool(tmp_path: Path, mode: str, world: World) -> None:
    async with an_api(tmp_path) as api, connected(configure(tmp_path, api, world), mode, world, tmp_path) as client:
        targets = await client.call_tool("list_targets", {})
        found = await client.call_tool("call_api", {"target": "api", "path": "x"})

    assert [item["name"] for item in targets.structured_content["targets"]] == ["api"]
    assert found.structured_content["text"] == "ok"
    assert len(api.requests) == 1


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_big_results_side_by_side_are_each_callers_own(tmp_path: Path, mode: str, world: World) -> None:
    looks = '{"spliced":"00112233445566778899aabbccddeeff"} \u2028\x85 "quoted" \\ \0'
    said = [f"{number} {looks} {'x' * 300}" * 60 for number in range(6)]
    texts: list[str] = []
    async with an_api(tmp_path) as api, connected(configure(tmp_path, api, world), mode, world, tmp_path) as client:
        api.answers = [answer(one.encode(), headers="content-type: text/plain; charset=utf-8") for one in said]

        async def call() -> None:
            found = await client.call_tool("call_api", {"target": "api", "path": "x"})
            texts.append(found.structured_content["text"])

        async with anyio.create_task_group() as group:
            for _ in said:
                group.start_soon(call)

    assert sorted(texts) == sorted(said)


@pytest.mark.requirement("I5")
async def test_neither_the_credential_nor_personal_data_gets_out_by_an_echo(tmp_path: Path, world: World) -> None:
    world.canaries["a person's address"] = EMAIL.encode()
    async with an_api(tmp_path) as api, connected(configure(tmp_path, api, world), "auto", world, tmp_path) as client:
        api.answers = [
            answer(f"Bearer {TOKEN} {EMAIL}".encode(), headers=f"content-type: text/plain\r\nx-you: {TOKEN}")
        ]
        found = await client.call_tool("call_api", {"target": "api", "path": "x"})

    assert f"Bearer {TOKEN}".encode() in api.requests[0]
    assert set(found.structured_content["masked"]) >= {"pii.email"}


@pytest.mark.requirement("I8")
@pytest.mark.skipif(not HAS_PROC, reason="this system has no /proc")
async def test_a_gateway_holds_no_more_after_many_calls(tmp_path: Path, world: World) -> None:
    async with an_api(tmp_path) as api, connected(configure(tmp_path, api, world), "auto", world, tmp_path) as client:

        async def call(times: int) -> None:
            for _ in range(times):
                await client.call_tool("call_api", {"target": "api", "path": "x"})

        await call(3)
        (gateway,) = [
            pid for pid in world.processes if pid not in {p for one in world.processes for p in descendants(one)}
        ]
        before = footprint(gateway)
        await call(20)
        with anyio.fail_after(10):
            while footprint(gateway).more_than(before):
                await anyio.sleep(0.02)


@pytest.mark.requirement("I7", "R21", "R33")
async def test_malformed_input_never_calls_a_tool_and_only_json_comes_out(tmp_path: Path, world: World) -> None:
    import base64
    import zlib

    lines = []
    for case in cases("jsonrpc.jsonl"):
        given = case["input"]
        body = base64.b64decode(given.get("body_b64") or given["body_zlib_b64"])
        body = zlib.decompress(body) if "body_zlib_b64" in given else body
        lines.append(body.replace(b"\n", b" ").replace(b"\r", b" ") + b"\n")
    async with an_api(tmp_path) as api, await anyio.open_process(configure(tmp_path, api, world)) as process:
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
                world.look()
                await process.stdin.aclose()
            await process.wait()
        assert process.stderr is not None
        world.add_log("standard error", b"".join([chunk async for chunk in process.stderr]))
    world.add_log("standard output", bytes(out))

    assert api.requests == []
    for answered in bytes(out).splitlines():
        assert isinstance(orjson.loads(answered), dict)


@pytest.mark.requirement("R9", "R21")
@pytest.mark.parametrize("tool", ["list_targets", "call_api"])
async def test_a_request_that_is_cancelled_at_once_ends_nothing_else(tmp_path: Path, world: World, tool: str) -> None:
    arguments = {} if tool == "list_targets" else {"target": "api", "path": "x"}
    async with an_api(tmp_path) as api, await anyio.open_process(configure(tmp_path, api, world)) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        out = b""
        with anyio.fail_after(120):
            for number in range(0, 60, 2):
                call = modern(request("tools/call", {"name": tool, "arguments": arguments}, number))
                cancel = notification("notifications/cancelled", {"requestId": number})
                after = modern(request("tools/list", {}, number + 1))
                await process.stdin.send(b"".join(orjson.dumps(item) + b"\n" for item in (call, cancel, after)))
                while b'"id":%d,' % (number + 1) not in out:
                    out += await process.stdout.receive()
            await process.stdin.aclose()
            assert await process.wait() == 0


@pytest.mark.requirement("R22")
async def test_input_beyond_every_limit_is_answered_and_the_next_call_works(tmp_path: Path, world: World) -> None:
    from tests.doors.test_bad_input import BAD, INITIALIZE, call

    async with an_api(tmp_path) as api, await anyio.open_process(configure(tmp_path, api, world)) as process:
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
    codes = [item["error"]["code"] for item in answers if "error" in item]
    assert codes.count(-32600) == 2, "100,000 values are no message"
    assert codes.count(-32700) >= len(bad) - len(refused) - 2


@pytest.mark.requirement("R29", "R33")
@pytest.mark.parametrize("end", ["signal", "client killed"])
async def test_however_the_process_ends_every_outcome_is_recorded(tmp_path: Path, world: World, end: str) -> None:
    import sqlite3

    async with an_api(tmp_path) as api:
        api.stall = True
        command = configure(tmp_path, api, world)
        log = tmp_path / "stderr.log"
        with log.open("wb") as errors:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, bufsize=0)
        with process:
            assert process.stdin is not None
            assert process.stdout is not None
            for message in (
                {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
                    "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}},
                {"jsonrpc": "2.0", "method": "notifications/initialized"},
                {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {
                    "name": "call_api", "arguments": {"target": "api", "path": "x"}}},
            ):  # fmt: skip
                process.stdin.write(orjson.dumps(message) + b"\n")
            with anyio.fail_after(60):
                while not api.requests:
                    await anyio.sleep(0.02)
                world.look()
                if end == "signal":
                    process.send_signal(signal.SIGTERM)
                else:
                    # The system closes the ends of a client that was killed; the answer to its call has nowhere to go.
                    process.stdout.close()
                    process.stdin.close()
                status = await anyio.to_thread.run_sync(process.wait, abandon_on_cancel=True)
        said = log.read_bytes()

    assert (status, b"Traceback" in said) == (0, False), said
    with closing(sqlite3.connect(f"file:{next((tmp_path / 'data').glob('*.db'))}?mode=ro", uri=True)) as connection:
        kinds = [row[0] for row in connection.execute("SELECT kind FROM events ORDER BY sequence")]
    assert kinds[-4:] == ["Started", "Cancelled", "Answered", "GatewayStopped"]
