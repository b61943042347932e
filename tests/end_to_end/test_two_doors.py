"""Over real sockets, before real targets, a gateway with the fast path answers what one without it answers.

The two are served one after the other, so that what the targets saw is held against the right one's record.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.gateways import ADA, Backends, Gateway, backends, running_gateway, world
from tests.invariants.world import read_store

__all__ = ["backends", "world"]

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180), pytest.mark.requirement("R21")]

REVISION = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": REVISION,
    "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
SECONDS = 60
_VARYING = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)?|127\.0\.0\.1:\d+|"
    r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT"
)
"""Ids, times and ports."""

SELECT = "SELECT id, name, email, city FROM customers WHERE id = 1"
CALLS: list[tuple[str, dict[str, Any]]] = [
    ("query_database", {"target": "orders", "sql": SELECT}),
    ("query_database", {"target": "orders", "sql": "SELECT id FROM customers WHERE id = $1", "parameters": [1]}),
    ("query_database", {"target": "orders", "sql": "SELECT ssn, email, name FROM customers ORDER BY id", "max_rows": 1}),
    (
        "query_database",
        {
            "target": "orders",
            "sql": "SELECT NULL, 1.50::numeric, 'NaN'::float8, 9223372036854775807, true, '{1,NULL}'::int[], now() - now(), "
            "jsonb_build_object('a', NULL, 'b', 1.0), E'\\u2028\\u00fc', ''",
        },
    ),
    ("query_database", {"target": "orders", "sql": "SELECT 1 WHERE false"}),
    ("query_database", {"target": "orders", "sql": "SELECT repeat('word ', 3000)"}),
    ("query_database", {"target": "orders", "sql": "SELECT 1 AS a, 2 AS a"}),
    ("query_database", {"target": "orders", "sql": "SELECT 1/0"}),
    ("query_database", {"target": "orders", "sql": "SELEKT"}),
    ("query_database", {"target": "orders", "sql": "SELECT nothing FROM customers"}),
    ("query_database", {"target": "orders", "sql": "SELECT 1; SELECT 2"}),
    ("query_database", {"target": "orders", "sql": "DELETE FROM customers"}),
    ("query_database", {"target": "orders", "sql": "UPDATE customers SET city = 'Bergen' WHERE id = 1", "reason": "it moved"}),
    ("query_database", {"target": "orders", "sql": "SELECT pg_sleep(1.5)"}),
    ("query_database", {"target": "scratch", "sql": "SELECT id, done FROM notes ORDER BY id"}),
    ("query_database", {"target": "scratch", "sql": "UPDATE notes SET done = '' WHERE id = 1"}),
    ("query_database", {"target": "web1", "sql": "SELECT 1"}),
    ("query_database", {"target": "orders"}),
    ("run_ssh_command", {"target": "web1", "command": "uname -s"}),
    ("run_ssh_command", {"target": "web1", "command": "echo ada.berg@example.com"}),
    ("run_ssh_command", {"target": "web1", "command": "false"}),
    ("run_ssh_command", {"target": "web1", "command": "rm -rf /tmp/nothing-of-ours"}),
    ("run_ssh_command", {"target": "web1", "command": ["uname"]}),
    ("call_api", {"target": "metrics", "path": "/query", "query": {"query": "vector(1)", "time": "1700000000"}}),
    ("call_api", {"target": "metrics", "path": "/nothing"}),
    ("call_api", {"target": "metrics", "path": "/admin/tsdb/delete_series", "method": "POST"}),
    ("list_targets", {}),
]  # fmt: skip


def body(tool: str, arguments: dict[str, Any]) -> bytes:
    params = {"name": tool, "arguments": arguments, "_meta": META}
    return json.dumps({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}).encode()


class Raw:
    """Requests as bytes, for one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self.host = gateway.url.removeprefix("http://")
        self.lines = [
            f"host: {self.host}",
            f"authorization: Bearer {gateway.backends.token()}",
            "content-type: application/json",
            "accept: application/json, text/event-stream",
            f"mcp-protocol-version: {REVISION}",
            "mcp-method: tools/call",
        ]

    def request(self, content: bytes, *, tool: str, more: tuple[str, ...] = (), length: bool = True) -> bytes:
        counted = [f"content-length: {len(content)}"] if length else []
        lines = ["POST /mcp HTTP/1.1", *self.lines, f"mcp-name: {tool}", *counted, *more, "", ""]
        return "\r\n".join(lines).encode() + content

    async def said(self, sent: bytes, *, answers: int = 1, pieces: int = 1) -> list[Any]:
        """Statuses and bodies of so many answers on one connection."""
        name, _, port = self.host.partition(":")
        reader, writer = await asyncio.open_connection(name, int(port))
        try:
            size = -(-len(sent) // pieces)
            for at in range(0, len(sent), size):
                writer.write(sent[at : at + size])
                await writer.drain()
                await asyncio.sleep(0)
            async with asyncio.timeout(SECONDS):
                return [await _answer(reader) for _ in range(answers)]
        finally:
            writer.close()


async def _answer(reader: asyncio.StreamReader) -> Any:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    if headers.get("transfer-encoding") == "chunked":
        content = b""
        while size := int(await reader.readline(), 16):
            content += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
    else:
        content = await reader.readexactly(int(headers.get("content-length", "0")))
    text = _VARYING.sub("<varying>", content.decode())
    return head[0], headers.get("content-type"), json.loads(text) if text.startswith("{") else text


def odd(raw: Raw) -> Iterator[tuple[str, bytes, int]]:
    """Requests that say in two ways where they end, or what they are."""
    plain = body("query_database", {"target": "orders", "sql": SELECT})
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(plain), plain)
    whole = raw.request(plain, tool="query_database")
    tool = "query_database"
    yield "two requests at once", whole + whole, 2
    yield "two requests at once, the second is odd", whole + raw.request(plain + b" x", tool=tool), 2
    yield "chunks", raw.request(chunked, tool=tool, more=("transfer-encoding: chunked",), length=False), 1
    yield "chunks and a length", raw.request(chunked, tool=tool, more=("transfer-encoding: chunked",)), 1
    yield "two lengths", raw.request(plain, tool=tool, more=(f"content-length: {len(plain)}",)), 1
    yield "two lengths that differ", raw.request(plain, tool=tool, more=("content-length: 5",)), 1
    yield (
        "a length with a sign",
        raw.request(plain, tool=tool, more=(f"content-length: +{len(plain)}",), length=False),
        1,
    )
    yield "a folded header", raw.request(plain, tool=tool, more=("x-folded: a", " mcp-name: list_targets")), 1
    yield "a space before a colon", raw.request(plain, tool=tool, more=("mcp-name : list_targets",)), 1
    yield "two names", raw.request(plain, tool=tool, more=("mcp-name: list_targets",)), 1
    yield "a name in capitals", whole.replace(b"mcp-name:", b"MCP-NAME:"), 1
    yield "a session", raw.request(plain, tool=tool, more=("mcp-session-id: x",)), 1
    yield "an absolute target", whole.replace(b"POST /mcp ", f"POST http://{raw.host}/mcp ".encode()), 1
    yield "a query", whole.replace(b"POST /mcp ", b"POST /mcp?a=b "), 1
    yield "an escaped path", whole.replace(b"POST /mcp ", b"POST /%6dcp "), 1
    yield "HTTP/1.0", whole.replace(b" HTTP/1.1", b" HTTP/1.0"), 1
    yield "another host", whole.replace(f"host: {raw.host}".encode(), b"host: evil.example"), 1
    yield "a foreign origin", raw.request(plain, tool=tool, more=("origin: https://evil.example",)), 1
    yield "no token", whole.replace(b"authorization: ", b"x-authorization: "), 1


async def answers_of(gateway: Gateway) -> dict[str, Any]:
    raw, found = Raw(gateway), dict[str, Any]()
    for number, (tool, arguments) in enumerate(CALLS):
        found[f"{number}: {tool} {arguments}"] = await raw.said(raw.request(body(tool, arguments), tool=tool))
    for name, sent, answers in odd(raw):
        found[name] = await raw.said(sent, answers=answers)
    plain = raw.request(body("query_database", {"target": "orders", "sql": SELECT}), tool="query_database")
    found["in 40 pieces"] = await raw.said(plain, pieces=40)
    found["the record"] = [row.kind for row in read_store(gateway.data).rows if row.call_id and row.kind != "Inspected"]
    return found


async def test_every_tool_and_odd_request_has_one_answer_over_sockets(
    backends: Backends, tmp_path_factory: pytest.TempPathFactory
) -> None:
    found = []
    for fast_path in ("true", "false"):
        folder: Path = tmp_path_factory.mktemp(f"fast-path-{fast_path}")
        with running_gateway(folder, backends, wait="0s", server=f"fast_path = {fast_path}") as gateway:
            found.append(await answers_of(gateway))

    with_it, without = found
    for name in with_it:
        assert with_it[name] == without[name], name
    results = [said for name, said in with_it.items() if '"isError": false' in json.dumps(said)]
    assert len(results) >= 15
    assert not any(value in json.dumps([list(said.values()) for said in found]) for value in ADA)
