"""Answers, sessions and requests that went to, or came from, somebody else than they should have."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import httpx2
import orjson
import pytest

from tests.doors.servers import Served, served
from tests.doors.test_sessions import HEADERS, VERSION, opened, post
from tests.invariants.world import World
from tests.plain_http import plain_client

pytestmark = pytest.mark.anyio

EQUAL_ID = 7


@pytest.fixture
async def server(tmp_path: Path, world: World) -> AsyncIterator[Served]:
    async with served(tmp_path, world=world) as found:
        yield found


def call(path: str = "x", *, number: int = EQUAL_ID, **more: Any) -> dict[str, Any]:
    params = {"name": "call_api", "arguments": {"target": "api", "path": path} | more}
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}


def result(response: httpx2.Response) -> Any:
    """The result in an event stream."""
    data = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: {")]
    return orjson.loads(data[-1])


@pytest.mark.requirement("R32")
@pytest.mark.published("CVE-2026-52869")
async def test_a_session_belongs_to_who_opened_it(server: Served) -> None:
    session = await opened(server, server.token("alex"))
    for thief in (server.token("sam"), server.token("dana"), server.token("alex", agent="other")):
        assert (await post(server, call(), token=thief, session=session)).status_code == 404
        headers = HEADERS | {"authorization": f"Bearer {thief}", "mcp-session-id": session}
        async with plain_client(headers=headers, timeout=30) as http:
            for method in ("GET", "DELETE"):
                assert (await http.request(method, f"{server.url}/mcp")).status_code == 404
    assert (await post(server, call(), token=server.token("alex"), session=session)).status_code == 200
    assert len(server.bench.api.requests) == 1


@pytest.mark.requirement("R12", "R32")
@pytest.mark.published("CVE-2026-52870")
async def test_who_knows_an_approvals_id_has_nothing_of_it(server: Served) -> None:
    token = server.token("alex")
    session = await opened(server, token)
    pending = result(await post(server, call(method="POST"), token=token, session=session))
    approval = pending["result"]["structuredContent"]["error"]["approval"]["id"]

    async with server.approver("sam") as sam, server.client("sam") as agent, server.client("alex", agent="b") as other:
        for client in (sam, agent, other):
            for found in (
                await client.get(f"{server.url}/api/approvals/{approval}"),
                await client.post(f"{server.url}/api/approvals/{approval}/approve"),
                await client.post(f"{server.url}/api/approvals/{approval}/withdraw"),
            ):
                assert found.status_code == 404
                assert "call_api" not in found.text
    async with server.approver("dana") as dana:
        assert (await dana.get(f"/api/approvals/{approval}")).json()["state"] == "pending"
    for method in ("tasks/get", "tasks/result", "tasks/cancel", "tasks/list"):
        message = {"jsonrpc": "2.0", "id": 9, "method": method, "params": {"taskId": approval}}
        said = result(await post(server, message, token=token, session=session))
        assert said["error"]["code"] == -32601


@pytest.mark.requirement("R32")
@pytest.mark.published("CVE-2026-25536", "GHSA-345p-7cg4-v4c7")
async def test_equal_request_ids_in_flight_get_each_its_own_answer(server: Served) -> None:
    people = [("alex", "agent"), ("alex", "other"), ("sam", "agent")]
    tokens = {who: server.token(who[0], agent=who[1]) for who in people}
    sessions = {who: await opened(server, token) for who, token in tokens.items()}
    server.bench.api.held = anyio.Event()
    answered: dict[str, tuple[str, str]] = {}

    async def ask(who: tuple[str, str]) -> None:
        response = await post(server, call(f"{who[0]}/{who[1]}"), token=tokens[who], session=sessions[who])
        answered[result(response)["result"]["structuredContent"]["call_id"]] = who

    async with anyio.create_task_group() as group:
        for number, who in enumerate(people, start=1):
            group.start_soon(ask, who)
            with anyio.fail_after(20):
                while len(server.bench.api.requests) < number:
                    await anyio.sleep(0.01)
        server.bench.api.held.set()

    rows = await server.bench.store.read(
        lambda connection: connection.execute(
            "SELECT call_id, body ->> '$.subject', body ->> '$.actor' FROM events WHERE kind = 'Identified'"
        ).fetchall()
    )
    assert answered == {call_id: (subject, actor) for call_id, subject, actor in rows}
    assert len(answered) == len(people)


@pytest.mark.requirement("R32")
@pytest.mark.published("CVE-2026-33946")
async def test_a_second_stream_takes_nothing_over(server: Served) -> None:
    token = server.token("alex")
    session = await opened(server, token)

    def headers(of: str) -> dict[str, str]:
        more = {"authorization": f"Bearer {of}", "mcp-session-id": session, "mcp-protocol-version": VERSION}
        return HEADERS | more

    async with (
        plain_client(timeout=30) as http,
        http.stream("GET", f"{server.url}/mcp", headers=headers(token)) as first,
    ):
        assert first.status_code == 200
        assert (await http.get(f"{server.url}/mcp", headers=headers(server.token("sam")))).status_code == 404
        assert (await http.get(f"{server.url}/mcp", headers=headers(token))).status_code == 409
        said = await post(server, call(), token=token, session=session)
        assert result(said)["result"]["structuredContent"]["text"] == "ok"


@pytest.mark.requirement("R21")
@pytest.mark.published("CVE-2026-27896", "GHSA-4gph-2hhr-5mwg")
async def test_a_member_in_another_case_means_nothing(server: Served) -> None:
    token = server.token("alex")
    session = await opened(server, token)
    allowed = '"name":"list_targets","arguments":{}'
    other = '{"target":"api","path":"x"}'
    for params in (
        f'{allowed},"Name":"call_api","Arguments":{other}',
        f'{allowed},"NAME":"call_api","ARGUMENTS":{other}',
        f'"Name":"call_api","Arguments":{other}',
        f'{allowed},"param\u017f":{other},"argument\u017f":{other}',
    ):
        for method in ('"method":"tools/call"', '"Method":"tools/call","method":"ping"', '"METHOD":"tools/call"'):
            body = f'{{"jsonrpc":"2.0","id":3,{method},"params":{{{params}}}}}'.encode()
            async with plain_client(timeout=30) as http:
                more = {"authorization": f"Bearer {token}", "mcp-session-id": session}
                await http.post(f"{server.url}/mcp", content=body, headers=HEADERS | more)
    arguments = {"Target": "api", "target": "nowhere", "Path": "x"}
    message = call() | {"params": {"name": "call_api", "arguments": arguments}}
    said = result(await post(server, message, token=token, session=session))

    assert said["result"]["isError"]
    assert server.bench.api.requests == []
