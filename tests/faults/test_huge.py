"""Results without end and beyond every size: the gateway stays as large as it is, says that it cut, and goes on."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.faults.gateways import Gateway, Targets
from tests.faults.peaks import stays_small
from tests.faults.served import all_work, served
from tests.faults.sizes import times
from tests.invariants.world import World
from tests.memory import MIB
from tests.peers.api import answer

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R19"), pytest.mark.timeout(900)]

CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n"
CHUNK = b"10000\r\n" + b"endless " * 8192 + b"\r\n"
ROWS = times(commit=1_000_000, full=10_000_000)
CELL = times(commit=300_000_000, full=1_000_000_000)
BOMB = times(commit=256, full=10_240)
"""MiB."""


async def rows_cells_and_columns(gateway: Gateway, targets: Targets) -> None:
    """Of a database."""
    for name, sql, codes in (
        ("many rows", f"SELECT n, repeat('x', 1000) FROM generate_series(1, {ROWS}) AS t(n)", {"ok"}),
        # A slow machine may need longer than the target's time to make such a value at all.
        ("one huge cell", f"SELECT repeat('x', {CELL})", {"failed", "timeout"}),
        ("as many columns as there may be", "SELECT " + ",".join(f"{n} AS c{n}" for n in range(1600)), {"ok"}),
    ):
        with stays_small(gateway, name), anyio.fail_after(120):
            found = await gateway.call("query_database", {"target": "db", "sql": sql})
        assert found.get("code", "ok") in codes, found
        if name == "many rows":
            assert found["truncated"]
            assert found["row_count"] == 1000
    # Neither a session nor its portal is left with what was not taken.
    active = "SELECT query FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle' AND pid <> pg_backend_pid()"
    with anyio.fail_after(20):
        while targets.database.execute(active):
            await anyio.sleep(0.02)


async def output_of_a_command(gateway: Gateway, _: Targets) -> None:
    """Of a host."""
    with stays_small(gateway, "yes"), anyio.fail_after(120):
        found = await gateway.call("run_ssh_command", {"target": "host", "command": "yes"})
    assert found["truncated"], found


async def bodies_and_headers(gateway: Gateway, targets: Targets) -> None:
    """Of an API."""
    member = gzip.compress(bytes(256 * MIB), compresslevel=1)
    bomb = member * (BOMB // 256)
    headers = b"HTTP/1.1 200 OK\r\n" + b"".join(b"x-%d: 1\r\n" % number for number in range(1_000_000)) + b"\r\n"
    for name, first, endless, code in (
        ("a chunked body without end", CHUNKED, CHUNK, "ok"),
        ("a gzip bomb", answer(bomb, headers="content-encoding: gzip\r\ncontent-type: text/plain"), b"", "ok"),
        ("a million headers", headers, b"", "failed"),
        ("a header without end", b"HTTP/1.1 200 OK\r\nx: ", b"x" * 65536, "failed"),
    ):
        targets.api.answers, targets.api.endless = [first], endless
        with stays_small(gateway, name), anyio.fail_after(120):
            found = await gateway.call("call_api", {"target": "api", "path": "x", "method": "GET"})
        assert found.get("code", "ok") == code, (name, str(found)[:500])
        assert code != "ok" or found["truncated"], name


async def a_value_that_a_limit_cuts(gateway: Gateway, targets: Targets) -> None:
    """The body is longer than what a call may return, and the limit goes through a mail address at each place in turn."""
    limit, mail = 4 * MIB, b"somebody.canary@example.com"
    for inside in range(0, len(mail) + 1, times(commit=9, full=1)):
        filling = (b"word " * (limit // 5 + 1))[: limit - inside]
        targets.api.answers = [answer(filling[:-1] + b" " + mail + b" and more" * 1000)]
        found: dict[str, Any] = await gateway.call("call_api", {"target": "api", "path": "x", "method": "GET"})
        assert found["truncated"], inside
        shown = found["text"].removesuffix(" ")
        tail = shown[-200:]
        assert "somebody" not in tail, (inside, tail)
        assert "canary" not in tail, (inside, tail)


async def test_results_beyond_every_size(tmp_path: Path, world: World, targets: Targets) -> None:
    async with served(tmp_path, targets, world=world) as gateway:
        for has in (rows_cells_and_columns, output_of_a_command, bodies_and_headers, a_value_that_a_limit_cuts):
            await has(gateway, targets)
            targets.api.answers, targets.api.endless = [answer(b"ok")], b""
            await all_work(gateway)
