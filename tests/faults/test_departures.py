"""Clients that go away while their calls run, in every way that a connection can end, and thousands of times."""

from __future__ import annotations

import os
import random
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest
from anyio.abc import SocketAttribute, SocketStream

from tests.faults.gateways import Gateway, Targets, standing
from tests.faults.served import kinds, served
from tests.faults.sizes import times
from tests.faults.wire import call_request
from tests.invariants.world import Footprint, World, footprint
from tests.private import write_private

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R9"), pytest.mark.timeout(1800)]

CANCELLED_SECONDS = float(times(commit=20, full=2))
"""From the client's end to the target's; a machine that also runs other tests is late by itself."""
AT_ONCE = 8
POOLED = 16
"""More descriptors than this are no idle sessions of the one database."""
Leaving = Callable[[SocketStream], Coroutine[Any, Any, None]]
RUNNING = "SELECT query FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' AND query LIKE %s"


async def resets(stream: SocketStream) -> None:
    """RST."""
    raw = stream.extra(SocketAttribute.raw_socket)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await stream.aclose()


async def closes(stream: SocketStream) -> None:
    """FIN, and nothing is read any more."""
    await stream.aclose()


async def half_closes(stream: SocketStream) -> None:
    """FIN, and an answer would still be read."""
    await stream.send_eof()
    with anyio.move_on_after(CANCELLED_SECONDS):
        async for _ in stream:
            pass
    await stream.aclose()


WAYS: tuple[Leaving, ...] = (resets, closes, half_closes)


async def called(gateway: Gateway, tool: str, arguments: dict[str, Any]) -> SocketStream:
    """A connection on which a call was sent."""
    host, port = gateway.url.removeprefix("http://").split(":")
    stream = await anyio.connect_tcp(host, int(port))
    await stream.send(call_request(tool, arguments, host=f"{host}:{port}", token=gateway.token()))
    return stream


async def comes(condition: Callable[[], object], *, seconds: float) -> float:
    """Wait for it; how many seconds that took."""
    began = time.monotonic()
    with anyio.fail_after(seconds):
        while not condition():
            await anyio.sleep(0.01)
    return time.monotonic() - began


def commands(marker: str) -> list[int]:
    """Processes of the host that have a marker in their command line."""
    found = []
    for path in Path("/proc").iterdir():
        try:
            words = (path / "cmdline").read_bytes().split(b"\0") if path.name.isdigit() else []
        except OSError:
            continue
        if words[:1] == [b"sleep"] and marker.encode() in words:
            found.append(int(path.name))
    return found


@pytest.mark.parametrize("leaves", WAYS[: times(commit=1, full=3)])
async def test_what_runs_ends_at_the_target(
    tmp_path: Path,
    world: World,
    targets: Targets,
    leaves: Leaving,
) -> None:
    took: dict[str, float] = {}
    async with served(tmp_path, targets, world=world) as gateway:

        async def goes(tool: str, arguments: dict[str, Any], runs: Callable[[], object]) -> None:
            stream = await called(gateway, tool, arguments)
            await comes(runs, seconds=20)
            async with anyio.create_task_group() as group:
                group.start_soon(leaves, stream)
                took[tool] = await comes(lambda: not runs(), seconds=20)

        sql = "SELECT pg_sleep(600)"
        await goes(
            "query_database", {"target": "db", "sql": sql}, lambda: targets.database.execute(RUNNING, [f"{sql}%"])
        )
        marker = f"600.{random.randrange(10**6):06}"
        await goes("run_ssh_command", {"target": "host", "argv": ["sleep", marker]}, lambda: commands(marker))
        targets.api.stall = True
        await goes("call_api", {"target": "api", "path": "slow"}, lambda: targets.api.stalling)
        targets.api.stall = False

        await comes(lambda: kinds(gateway)["Cancelled"] == len(took), seconds=20)
        outcomes = kinds(gateway)
    assert max(took.values()) < CANCELLED_SECONDS, took
    assert outcomes["Started"] == 6
    assert outcomes["Cancelled"] == 3


async def test_thousands_who_leave_take_nothing_along(tmp_path: Path, world: World, targets: Targets) -> None:
    chance = random.Random(9)
    left = iter(range(150))
    slow: list[tuple[str, dict[str, Any]]] = [
        *[("query_database", {"target": "db", "sql": "SELECT pg_sleep(600)"})] * 6,
        *[("call_api", {"target": "api", "path": "x", "method": "GET"})] * 3,
        ("run_ssh_command", {"target": "host", "argv": ["sleep", "600"]}),
    ]
    # A request may be read after its call was cancelled and closed: that an intent stands by its time is asked alone.
    targets.api.store = None
    async with served(tmp_path, targets, world=world) as gateway:

        async def some() -> None:
            for _ in left:
                stream = await called(gateway, *chance.choice(slow))
                await anyio.sleep(chance.random() * 0.1)
                with anyio.move_on_after(0.2):
                    await chance.choice(WAYS)(stream)
                await stream.aclose()

        await all_of(some)  # the pools of the gateway are as large as they get
        before = footprint(gateway.pid)
        left = iter(range(times(commit=150, full=10_000)))
        await all_of(some)

        await comes(lambda: not targets.database.execute(RUNNING, ["SELECT pg_sleep%"]), seconds=20)
        await comes(lambda: is_as(before, footprint(gateway.pid)), seconds=20)
        # On a slow machine the last of them are still on their way in by then.
        await comes(lambda: all_ended(kinds(gateway)), seconds=60)


def all_ended(found: Counter[str]) -> bool:
    """Whether everything that came in has been answered, and all that was started has one end."""
    ends = found["Finished"] + found["Cancelled"] + found["OutcomeUnknown"] + found["Failed"]
    return found["Started"] == ends and found["Received"] == found["Answered"]


def is_as(before: Footprint, now: Footprint) -> bool:
    """Whether a process holds what it held: one session for each place in a pool, a thread that idles, and no more."""
    more = (now.descriptors - before.descriptors).total()
    return more <= POOLED and now.children == before.children and now.threads <= before.threads + 4


async def all_of(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Several at once."""
    async with anyio.create_task_group() as group:
        for _ in range(AT_ONCE):
            group.start_soon(work)


@pytest.mark.requirement("R33")
@pytest.mark.parametrize("gone", ["both", "input", "output"][: times(commit=1, full=3)])
async def test_the_parent_of_the_stdio_door_goes_away(
    tmp_path: Path, world: World, targets: Targets, gone: str
) -> None:
    """Its input ends, its output is a pipe that nobody reads (SIGPIPE), or both, while a statement runs."""
    home = tmp_path / "gateway"
    sql = "SELECT pg_sleep(600)" if gone != "output" else "SELECT pg_sleep(1)"
    async with standing(home, targets, world=world) as gateway:
        token = write_private(home / "token", gateway.token())
        environment = {"HOME": str(home), "PATH": os.environ["PATH"], "MCP_GATEWAY_TOKEN_FILE": str(token)}
        with (tmp_path / "stderr").open("wb") as errors:
            process = await anyio.open_process(
                [sys.executable, "-I", "-m", "mcp_gateway", "--config", str(gateway.config), "stdio"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=environment, cwd=home,
            )  # fmt: skip
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            for message in messages(sql):
                await process.stdin.send(orjson.dumps(message) + b"\n")
            await comes(lambda: targets.database.execute(RUNNING, ["SELECT pg_sleep%"]), seconds=30)
            world.look()
            if gone != "input":
                await process.stdout.aclose()
            if gone != "output":
                await process.stdin.aclose()
            ended = await comes(lambda: not targets.database.execute(RUNNING, ["SELECT pg_sleep%"]), seconds=30)
            if gone == "output":
                for message in messages(sql)[2:]:
                    await process.stdin.send(orjson.dumps(message) + b"\n")
                await process.stdin.aclose()
            with anyio.fail_after(20):
                status = await process.wait()
            found = kinds(gateway)
            world.add_log("standard error", (tmp_path / "stderr").read_bytes())
        finally:
            if process.returncode is None:
                process.kill()
    assert ended < CANCELLED_SECONDS or gone == "output"
    assert (status, found["Started"]) == (0, found["Cancelled"] + found["Finished"]), (tmp_path / "stderr").read_text()
    assert b"Traceback" not in (tmp_path / "stderr").read_bytes()


def messages(sql: str) -> list[dict[str, Any]]:
    """A session of the older era, and a call."""
    info = {"name": "raw", "version": "1"}
    opening = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": info}
    call = {"name": "query_database", "arguments": {"target": "db", "sql": sql}}
    return [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": opening},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": call},
    ]
