"""Clients that go away without a word: what runs for them is cancelled at the target, what waits runs for nobody.

The clients here are raw ones: a library would say goodbye.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import orjson
import pytest

from tests.cli.running import SCRIPT
from tests.end_to_end.agents import LEGACY, MODERN, Way, connected
from tests.end_to_end.gateways import DBA, HUMAN, Backends, Gateway, backends, running_gateway, world
from tests.peers.oidc_provider import APPROVER
from tests.plain_http import plain_client
from tests.waiting import until

__all__ = ["backends", "world"]

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

ACCEPT = {"accept": "application/json, text/event-stream"}
INFO = {"name": "raw", "version": "1"}
INITIALIZE = {
    "jsonrpc": "2.0", "id": 1, "method": "initialize",
    "params": {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": INFO},
}  # fmt: skip
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}

Calling = Callable[[Gateway, dict[str, Any]], AbstractAsyncContextManager[None]]
"""Calls `query_database` on `scratch` or `orders` for as long as the block lasts, and then is simply not there."""


@pytest.fixture(scope="module")
def gateway(backends: Backends, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway whose calls wait for people."""
    folder: Path = tmp_path_factory.mktemp("gateway")
    with running_gateway(folder, backends, wait="100s") as found:
        yield found


def message(sql: str, *, target: str = "scratch") -> dict[str, Any]:
    params = {"name": "query_database", "arguments": {"target": target, "sql": sql}}
    return {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params}


def client(gateway: Gateway, **headers: str) -> httpx2.AsyncClient:
    authorization = {"authorization": f"Bearer {gateway.backends.token()}"}
    return plain_client(base_url=gateway.url, headers=authorization | ACCEPT | headers, timeout=60)


@asynccontextmanager
async def modern_http(gateway: Gateway, call: dict[str, Any]) -> AsyncIterator[None]:
    headers = {"mcp-protocol-version": MODERN, "mcp-method": "tools/call", "mcp-name": "query_database"}
    meta = {"protocolVersion": MODERN, "clientCapabilities": {}, "clientInfo": INFO}
    call["params"]["_meta"] = {f"io.modelcontextprotocol/{name}": value for name, value in meta.items()}
    async with client(gateway, **headers) as http, anyio.create_task_group() as group:
        group.start_soon(lambda: http.post("/mcp", json=call))
        yield
        group.cancel_scope.cancel()


@asynccontextmanager
async def legacy_http(gateway: Gateway, call: dict[str, Any]) -> AsyncIterator[None]:
    async with client(gateway) as http:
        session = (await http.post("/mcp", json=INITIALIZE)).headers["mcp-session-id"]
        headers = {"mcp-session-id": session, "mcp-protocol-version": LEGACY}
        await http.post("/mcp", json=INITIALIZED, headers=headers)
        async with http.stream("POST", "/mcp", json=call, headers=headers) as answer:
            assert answer.status_code == 200
            yield


@asynccontextmanager
async def sse(gateway: Gateway, call: dict[str, Any]) -> AsyncIterator[None]:
    async with client(gateway) as http, http.stream("GET", "/sse") as answer:
        data = (line.removeprefix("data:").strip() async for line in answer.aiter_lines() if line.startswith("data:"))
        where = await anext(data)
        await http.post(where, json=INITIALIZE)
        await anext(data)
        for sent in (INITIALIZED, call):
            assert (await http.post(where, json=sent)).status_code == 202
        yield


@asynccontextmanager
async def stdio(gateway: Gateway, call: dict[str, Any]) -> AsyncIterator[None]:
    command = [str(SCRIPT), "--config", str(gateway.config), "stdio"]
    async with await anyio.open_process(command, env=gateway.environment(HUMAN), stderr=None) as process:
        assert process.stdin is not None
        for sent in (INITIALIZE, INITIALIZED, call):
            await process.stdin.send(orjson.dumps(sent) + b"\n")
        yield
        await process.stdin.aclose()
        with anyio.fail_after(20):
            assert await process.wait() == 0


every_transport = pytest.mark.parametrize("calling", [modern_http, legacy_http, sse, stdio])


@pytest.mark.requirement("R9")
@every_transport
async def test_what_runs_is_cancelled_at_the_target(gateway: Gateway, calling: Calling) -> None:
    scratch, sleep = gateway.backends.scratch, f"SELECT pg_sleep(600) AS {calling.__name__}"

    def running() -> list[Any]:
        return scratch.execute(
            "SELECT application_name FROM pg_stat_activity"
            " WHERE datname = current_database() AND state = 'active' AND query = %s",
            [sleep],
        )

    async with calling(gateway, message(sleep)):
        ((name,),) = await until(running)
    await until(lambda: not running())
    call_id = name.removeprefix("mcp-gateway/")
    await until(lambda: gateway.kinds(call_id)[-1] == "Answered")

    assert gateway.kinds(call_id)[-3:] == ["Started", "Cancelled", "Answered"]


@pytest.mark.requirement("R10")
@every_transport
async def test_what_waits_stays_to_be_decided_and_runs_when_called_again(gateway: Gateway, calling: Calling) -> None:
    insert = f"INSERT INTO refunds VALUES (2, 1) RETURNING '{calling.__name__}'"
    token = gateway.backends.token(DBA, client=APPROVER)

    def refunds() -> int:
        ((count,),) = gateway.backends.orders.execute("SELECT count(*) FROM refunds")
        return int(count)

    before = refunds()
    async with plain_client(base_url=gateway.url, headers={"authorization": f"Bearer {token}"}) as dana:
        async with calling(gateway, message(insert, target="orders")):
            while not (listed := (await dana.get("/api/approvals")).json()):
                await anyio.sleep(0.02)
        (held,) = listed
        await until(lambda: gateway.kinds(held["call_id"])[-1] == "Answered")
        approved = await dana.post(f"/api/approvals/{held['id']}/approve")
    assert (approved.json()["state"], refunds()) == ("approved", before)

    async with connected(gateway, Way(client="fastmcp", transport="http", protocol=MODERN)) as agent:
        ran = await agent.call("query_database", target="orders", sql=insert)

    assert (ran.code, refunds()) == ("ok", before + 1)
    assert gateway.kinds(held["call_id"])[-3:] == ["Asked", "Answered", "Approved"]
