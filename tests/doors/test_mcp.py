from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
import orjson
import pytest
from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from mcp_gateway.approval import desk
from mcp_gateway.doors.mcp import TEXT_LIMIT_BYTES
from tests.corpora import cases
from tests.doors.servers import Served, served
from tests.invariants.clients import heard
from tests.invariants.world import World
from tests.peers.api import answer

pytestmark = pytest.mark.anyio

Connect = Callable[..., AbstractAsyncContextManager[Client]]
TOOLS_REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "tools.md"
MODERN, LEGACY, SSE = "modern", "legacy", "sse"


@asynccontextmanager
async def connected(server: Served, era: str, *, person: str = "alex", **more: Any) -> AsyncIterator[Client]:
    """The SDK's own client over one transport in one era."""
    async with server.client(person) as http:
        if era == SSE:
            transport: Any = sse_client(f"{server.url}/sse", headers=dict(http.headers))
        else:
            transport = streamable_http_client(f"{server.url}/mcp", http_client=http)
        mode = "auto" if era == MODERN else "legacy"
        async with heard(server.world, transport, mode=mode, **more) as client:
            yield client


def text(result: types.CallToolResult) -> str:
    (block,) = result.content
    assert isinstance(block, types.TextContent)
    return block.text


def code(result: Any) -> str:
    content = result.structured_content
    return content["error"]["code"] if result.is_error else "ok"


@pytest.fixture
async def server(tmp_path: Path, world: World) -> AsyncIterator[Served]:
    async with served(tmp_path, world=world) as found:
        yield found


@pytest.mark.parametrize("era", [MODERN, LEGACY, SSE])
async def test_an_agent_lists_targets_and_calls_a_tool(server: Served, era: str) -> None:
    async with connected(server, era) as client:
        tools = (await client.list_tools()).tools
        targets = await client.call_tool("list_targets", {})
        found = await client.call_tool("call_api", {"target": "api", "path": "x"})

    assert [tool.name for tool in tools] == ["list_targets", "call_api"]
    (target,) = targets.structured_content["targets"]
    assert target["name"] == "api"
    assert all(f"`{member}`" in TOOLS_REFERENCE.read_text() for member in target)
    assert (code(found), found.structured_content["text"]) == ("ok", "ok")
    assert orjson.loads(text(found)) == found.structured_content


@pytest.mark.parametrize("era", [MODERN, LEGACY, SSE])
async def test_a_refusal_says_what_to_do_next(server: Served, era: str) -> None:
    async with connected(server, era) as client:
        held = await client.call_tool("call_api", {"target": "api", "path": "x", "method": "POST"})

    error = held.structured_content["error"]
    assert held.is_error
    assert error["code"] == "approval_pending"
    assert error["approval"]["approvers"] == ["dba"]
    assert text(held) == f"{error['message']}. Next: {error['next']}"
    assert server.bench.api.requests == []


@pytest.mark.parametrize("era", [MODERN, LEGACY])
@pytest.mark.parametrize(("action", "expected"), [("accept", "ok"), ("decline", "approval_denied")])
async def test_the_callers_human_confirms_in_a_form(
    tmp_path: Path, world: World, era: str, action: Any, expected: str
) -> None:
    asked: list[str] = []

    async def elicit(context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        asked.append(params.message)
        return types.ElicitResult(action=action, content={} if action == "accept" else None)

    put = {"target": "api", "path": "x", "method": "PUT", "body": "hello"}
    async with (
        served(tmp_path, world=world, wait=timedelta(seconds=20)) as server,
        connected(server, era, elicitation_callback=elicit) as client,
    ):
        found = await client.call_tool("call_api", put)

    assert code(found) == expected
    assert len(asked) == 1
    assert "request: PUT" in asked[0]
    assert "body: hello" in asked[0]
    assert len(server.bench.api.requests) == (expected == "ok")


async def test_a_client_without_forms_is_told_to_call_again(server: Served) -> None:
    async with connected(server, MODERN) as client:
        found = await client.call_tool("call_api", {"target": "api", "path": "x", "method": "PUT"})

    assert code(found) == "approval_pending"


async def test_people_decide_over_the_api_and_the_agent_calls_again(server: Served) -> None:
    call = {"target": "api", "path": "x", "method": "POST", "reason": "because"}
    async with connected(server, MODERN) as client, server.approver() as dana:
        held = await client.call_tool("call_api", call)
        (listed,) = (await dana.get("/api/approvals")).json()
        approved = await dana.post(f"/api/approvals/{listed['id']}/approve", json={"note": "go"})
        ran = await client.call_tool("call_api", call)
        listing = await dana.get("/api/approvals")
        used = (await dana.get(f"/api/approvals/{listed['id'][:-1]}")).json()

    assert listed["id"] == held.structured_content["error"]["approval"]["id"]
    assert listed["reason"] == "because"
    assert (listed["as_recorded"], "mcp-gateway-note" in listing.headers) == (False, False)
    assert (used["state"], used["used_by"], used["as_recorded"]) == (
        "consumed",
        ran.structured_content["call_id"],
        True,
    )
    assert (used["shown"]["method"], used["facts"]["method"], used["reason"]) == ("POST", "POST", "because")
    assert [(vote["person"].endswith("dana"), vote["note"]) for vote in used["votes"]] == [(True, "go")]
    assert (approved.status_code, approved.json()["state"]) == (200, "approved")
    assert code(ran) == "ok"


@pytest.mark.requirement("R15")
@pytest.mark.parametrize("query", ["", "?all=true"])
async def test_a_long_list_comes_in_pages(server: Served, monkeypatch: pytest.MonkeyPatch, query: str) -> None:
    monkeypatch.setattr(desk, "PAGE_SIZE", 2)
    for number in range(5):
        await server.bench.call({"method": "POST", "path": f"{number}"})

    found, url = [], f"/api/approvals{query}"
    async with server.approver() as dana:
        while url:
            page = await dana.get(url)
            found += [item["shown"]["request"] for item in page.json()]
            url = page.links.get("next", {}).get("url", "")
            assert len(page.json()) == 2 or not url

    assert [text.rpartition("/")[2] for text in found] == ["0", "1", "2", "3", "4"]


@pytest.mark.requirement("R12")
async def test_nobody_else_decides_over_the_api(server: Served) -> None:
    async with connected(server, MODERN) as client:
        held = await client.call_tool("call_api", {"target": "api", "path": "x", "method": "POST"})
    approval = held.structured_content["error"]["approval"]["id"]

    for who, status in ((server.client("alex"), 409), (server.client("dana"), 409), (server.approver("alex"), 409),
                        (server.approver("sam"), 404)):  # fmt: skip
        async with who as http:
            response = await http.post(f"{server.url}/api/approvals/{approval}/approve")
            assert response.status_code == status
    assert server.bench.api.requests == []


async def test_a_call_waits_with_progress_until_the_yes(tmp_path: Path, world: World) -> None:
    call = {"target": "api", "path": "x", "method": "POST"}
    found: list[Any] = []
    async with (
        served(tmp_path, world=world, wait=timedelta(seconds=30)) as server,
        connected(server, MODERN) as client,
        server.approver() as dana,
    ):

        async def wait() -> None:
            found.append(await client.call_tool("call_api", call))

        with anyio.fail_after(25):
            async with anyio.create_task_group() as group:
                group.start_soon(wait)
                while not (listed := (await dana.get("/api/approvals")).json()):
                    await anyio.sleep(0.02)
                await dana.post(f"/api/approvals/{listed[0]['id']}/approve")

    assert code(found[0]) == "ok"


async def test_big_results_are_sent_once(server: Served) -> None:
    server.bench.api.answers = [answer(b"x" * 20_000)]
    async with connected(server, MODERN) as client:
        found = await client.call_tool("call_api", {"target": "api", "path": "x"})

    assert len(found.structured_content["text"]) == 20_000
    assert len(text(found)) < TEXT_LIMIT_BYTES
    assert text(found).endswith("bytes of result are in the structured content")


async def test_a_caller_sees_only_what_they_may_use(server: Served) -> None:
    async with connected(server, MODERN, person="dana") as client:
        tools = (await client.list_tools()).tools
        found = await client.call_tool("call_api", {"target": "api", "path": "x"})

    assert [tool.name for tool in tools] == ["list_targets"]
    assert code(found) == "unknown_target"


@pytest.mark.requirement("R9")
async def test_a_client_that_goes_away_ends_its_call_at_the_target(server: Served) -> None:
    server.bench.api.stall = True

    async def call() -> None:
        async with connected(server, MODERN) as client:
            await client.call_tool("call_api", {"target": "api", "path": "x"})

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(call)
            while not server.bench.api.requests:
                await anyio.sleep(0.02)
            group.cancel_scope.cancel()

    async def kinds() -> list[str]:
        rows = await server.bench.store.read(
            lambda connection: connection.execute("SELECT kind FROM events ORDER BY sequence").fetchall()
        )
        return [row[0] for row in rows]

    with anyio.fail_after(20):
        while (await kinds())[-1] != "Answered":
            await anyio.sleep(0.02)
    assert (await kinds())[-3:] == ["Started", "Cancelled", "Answered"]


async def test_the_metadata_names_the_resource(server: Served) -> None:
    async with server.client() as http:
        document = (await http.get(f"{server.url}/.well-known/oauth-protected-resource")).json()
        ready = await http.get(f"{server.url}/readyz")

    assert document == {"resource": server.url, "bearer_methods_supported": ["header"], "resource_name": "test"}
    assert ready.status_code == 200


async def test_the_tool_list_is_small(server: Served) -> None:
    from mcp_gateway_tools.call_api import CallAPI
    from mcp_gateway_tools.query_database import QueryDatabase
    from mcp_gateway_tools.run_ssh_command import RunSSHCommand

    from mcp_gateway.doors.mcp import _list_targets_tool, _listed

    listed = [_list_targets_tool(), *(_listed(tool) for tool in (CallAPI, QueryDatabase, RunSSHCommand))]  # type: ignore[arg-type]  # classes carry all that is listed

    assert len(orjson.dumps(listed)) < 4096


@pytest.mark.requirement("I7", "R21")
async def test_no_malformed_message_calls_a_tool_or_breaks_the_server(server: Served) -> None:
    import base64
    import zlib

    async with server.client() as http:
        for case in cases("jsonrpc.jsonl"):
            given = case["input"]
            body = base64.b64decode(given.get("body_b64") or given["body_zlib_b64"])
            if "body_zlib_b64" in given:
                body = zlib.decompress(body)
            for headers in ({}, {"mcp-protocol-version": "2026-07-28"}):
                response = await http.post(
                    f"{server.url}/mcp",
                    content=body,
                    headers={
                        "content-type": "application/json",
                        "accept": "application/json, text/event-stream",
                        **headers,
                    },
                )
                assert response.status_code < 500, case["id"]
        assert (await http.get(f"{server.url}/healthz")).status_code == 200
    assert server.bench.api.requests == []
