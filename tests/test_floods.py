"""Endless, huge and hostile things behind the gateway: each call ends, within bounded memory, and the next one works."""

from __future__ import annotations

import gzip
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp_gateway_tools.query_database import QueryDatabase
from mcp_gateway_tools.run_ssh_command import RunSSHCommand

from mcp_gateway.answers import Answer
from mcp_gateway.aside import Aside
from mcp_gateway.calls import Target, TargetKind
from mcp_gateway.facts.worker import SQLWorker
from mcp_gateway.registry import Registered
from mcp_gateway.targets.ssh import SSHConnector
from mcp_gateway.tool import Connector
from tests.memory import MIB, growth_within
from tests.peers.api import answer
from tests.peers.postgres import PostgresDatabase
from tests.peers.sshd import SSHServer
from tests.roads import Bench, laid, refusal, result
from tests.targets.postgres_settings import connector_for

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R19"), pytest.mark.timeout(180)]

POLICIES = """
@id("calls") permit (principal in Group::"dev", action in
    [Action::"call_api", Action::"query_database", Action::"run_ssh_command"], resource);
"""
LIMIT = 4 * MIB
BOUND = 64 * MIB


def registered(name: str, kind: TargetKind, connector: Connector) -> Registered:
    return Registered(
        target=Target(
            name=name, kind=kind, description="", labels={"env": "prod"}, classes=frozenset(), fingerprint="f" * 64
        ),
        connector=connector,
        timeout=timedelta(seconds=60),
        max_rows=1_000_000,
        max_bytes=LIMIT,
        detectors=("default",),
    )


@asynccontextmanager
async def road(folder: Path, *, beside: Sequence[Registered] = (), tools: Sequence[Any] = ()) -> AsyncIterator[Bench]:
    # What is looked at is memory: on a busy machine masking 4 MiB of hits takes longer than a call has for it.
    aside = Aside(longest=timedelta(minutes=1))
    async with laid(folder, policies=POLICIES, max_bytes=LIMIT, beside=beside, tools=tools, aside=aside) as bench:
        await bench.call()
        yield bench


async def still_works(bench: Bench) -> None:
    bench.api.answers, bench.api.endless = [answer(b"ok")], b""
    assert result(await bench.call())["text"] == "ok"


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n"
HOSTILE = b"bob@example.com 4111 1111 1111 1112 192.0.2.1 " * 200


@pytest.mark.parametrize(
    "chunk", [b"x" * 65536, b"\n" * 65536, HOSTILE, b"\xff\x00" * 32768, "\u200ba".encode() * 9000]
)
async def test_an_endless_body(tmp_path: Path, chunk: bytes) -> None:
    async with road(tmp_path) as bench:
        bench.api.answers, bench.api.endless = [HEAD], chunk
        with growth_within(BOUND), anyio.fail_after(60):
            found = await bench.call()
        assert isinstance(found, Answer)

        # A slow machine may take too long to mask the worst of them: then nothing of it leaves.
        if found.code == "ok":
            assert result(found)["truncated"]
        else:
            assert "its result is withheld, because it could not be masked" in refusal(found).message
        await still_works(bench)


async def test_a_gzip_bomb(tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(256 * MIB), compresslevel=1)
    async with road(tmp_path) as bench:
        bench.api.answers = [answer(bomb, headers="content-encoding: gzip\r\ncontent-type: text/plain")]
        with growth_within(BOUND), anyio.fail_after(60):
            found = result(await bench.call())

        assert found["truncated"]
        await still_works(bench)


async def test_a_million_headers(tmp_path: Path) -> None:
    many = b"HTTP/1.1 200 OK\r\n" + b"".join(b"x-%d: 1\r\n" % number for number in range(1_000_000)) + b"\r\n"
    async with road(tmp_path) as bench:
        bench.api.answers = [many]
        with growth_within(BOUND), anyio.fail_after(60):
            found = refusal(await bench.call())

        assert found.code == "failed"
        await still_works(bench)


async def test_an_endless_header_line(tmp_path: Path) -> None:
    async with road(tmp_path) as bench:
        bench.api.answers, bench.api.endless = [b"HTTP/1.1 200 OK\r\nx: "], b"x" * 65536
        with growth_within(BOUND), anyio.fail_after(60):
            found = refusal(await bench.call())

        assert found.code == "failed"
        await still_works(bench)


@pytest.mark.parametrize("command", ["yes", "yes 'bob@example.com 192.0.2.1'", "cat /dev/zero", "yes >&2"])
async def test_endless_output_of_a_command(tmp_path: Path, ssh_server: SSHServer, command: str) -> None:
    host = registered("host", "ssh", SSHConnector(ssh_server, fetch=ssh_server.fetch))
    async with road(tmp_path, beside=[host], tools=[RunSSHCommand()]) as bench:
        await bench.call({"target": "host", "argv": ["true"]}, tool="run_ssh_command")
        with growth_within(BOUND), anyio.fail_after(90):
            found = await bench.call({"target": "host", "command": command}, tool="run_ssh_command")

        assert result(found)["truncated"]
        assert (
            result(await bench.call({"target": "host", "argv": ["true"]}, tool="run_ssh_command"))["exit_status"] == 0
        )


@asynccontextmanager
async def database(folder: Path, peer: PostgresDatabase) -> AsyncIterator[Bench]:
    connector, worker = connector_for(peer), SQLWorker()
    try:
        shop = registered("shop", "postgres", connector)
        async with road(folder, beside=[shop], tools=[QueryDatabase(worker=worker)]) as bench:
            assert (await query(bench, "SELECT 1")).code == "ok"
            yield bench
    finally:
        await connector.aclose()
        await worker.aclose()


async def query(bench: Bench, sql: str) -> Any:
    return await bench.call({"target": "shop", "sql": sql}, tool="query_database")


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        (
            "SELECT repeat('x', 300000000)",
            "the first row alone is larger than the 4,194,304 bytes that one call may return",
        ),
        ("SELECT repeat(repeat('\"', 1000), 300000)", "the first row alone is larger"),
        ("SELECT array_fill(0, ARRAY[20000000])", "the first row alone is larger"),
    ],
)
async def test_one_huge_cell(tmp_path: Path, postgres_database: PostgresDatabase, sql: str, message: str) -> None:
    """Several times as large as what may be held of it; one of 1 GB is among the fault scenarios in full."""
    async with database(tmp_path, postgres_database) as bench:
        with growth_within(BOUND), anyio.fail_after(90):
            found = refusal(await query(bench, sql))

        assert found.code == "failed"
        assert message in found.message
        assert (await query(bench, "SELECT 1")).code == "ok"


async def test_a_result_is_cut_between_rows_and_never_in_a_cell(
    tmp_path: Path, postgres_database: PostgresDatabase
) -> None:
    async with database(tmp_path, postgres_database) as bench:
        with growth_within(BOUND), anyio.fail_after(90):
            found = result(
                await query(
                    bench, "SELECT n, repeat('bob@example.com ', 1000) FROM generate_series(1, 10000000) AS t(n)"
                )
            )

        assert found["truncated"]
        assert 200 < found["row_count"] == len(found["rows"]) < 300
        assert {row[1] for row in found["rows"]} == {"[pii.email] " * 1000}
        assert (await query(bench, "SELECT 1")).code == "ok"


@pytest.mark.requirement("R22")
@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT '" + "x" * 1_000_000 + "'", "the arguments hold more than 524,288 bytes of text"),
        ("SELECT '" + "x" * 100_000 + "'", "the statement has 100,009 bytes, more than the 32,768 that are parsed"),
        ("SELECT " + "(" * 16_000 + "1" + ")" * 16_000, "the statement is nested too deeply"),
        ("SELECT " + "NOT " * 8_000 + "true", "the statement"),
        ("SELECT " + "1+" * 100 + "1", None),
        ("/*" * 16_000, r"too complex|unterminated /\* comment"),  # about a second of CPU, which is what it may take
        ("SELECT " + ",".join("1" for _ in range(16_000)), "target lists can have at most 1664 entries"),
        ("SELECT 1\0", "the statement contains a NUL character"),
        ("SELECT '\ud800'", "lone surrogate"),
    ],
    ids=["1 MB", "100 KB", "parentheses", "not", "a long sum", "comments", "columns", "nul", "surrogate"],
)
async def test_sql_that_is_too_much(
    tmp_path: Path, postgres_database: PostgresDatabase, sql: str, message: str | None
) -> None:
    async with database(tmp_path, postgres_database) as bench:
        with growth_within(BOUND), anyio.fail_after(30):
            found = await query(bench, sql)

        if message is None:
            assert found.code == "ok"
        else:
            assert refusal(found).code in {"invalid_arguments", "failed"}
            assert re.search(message, refusal(found).message)
        assert (await query(bench, "SELECT 1")).code == "ok"
