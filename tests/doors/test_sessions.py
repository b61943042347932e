"""Sessions of the older transports: whose they are, and that each message is its own sender's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx2
import orjson
import pytest

from mcp_gateway.doors import bodies, sessions
from mcp_gateway.doors.connections import ConnectionBounds
from tests.doors.servers import Served, served
from tests.invariants.world import World
from tests.plain_http import plain_client

pytestmark = pytest.mark.anyio

VERSION = "2025-06-18"
HEADERS = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": VERSION, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}


def tool_call(number: int) -> dict[str, Any]:
    arguments = {"target": "api", "path": "x"}
    params = {"name": "call_api", "arguments": arguments}
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}


@pytest.fixture
async def server(tmp_path: Path, world: World) -> AsyncIterator[Served]:
    async with served(tmp_path, world=world) as found:
        yield found


async def post(server: Served, message: dict[str, Any], *, token: str, session: str = "") -> httpx2.Response:
    headers = HEADERS | {"authorization": f"Bearer {token}", "mcp-protocol-version": VERSION}
    headers |= {"mcp-session-id": session} if session else {}
    async with plain_client(headers=headers, timeout=30) as http:
        return await http.post(f"{server.url}/mcp", json=message)


async def opened(server: Served, token: str) -> str:
    """Open a session and give its id."""
    response = await post(server, INITIALIZE, token=token)
    assert response.status_code == 200
    session = str(response.headers["mcp-session-id"])
    await post(server, INITIALIZED, token=token, session=session)
    return session


async def identified(server: Served) -> list[tuple[str, str]]:
    """Subject and token id of each call, in order."""
    rows = await server.bench.store.read(
        lambda connection: connection.execute(
            "SELECT body ->> '$.subject', body ->> '$.token_id' FROM events WHERE kind = 'Identified' ORDER BY sequence"
        ).fetchall()
    )
    return [(row[0], row[1]) for row in rows]


@pytest.mark.requirement("R32")
@pytest.mark.parametrize(("person", "agent"), [("sam", "agent"), ("alex", "another-agent")])
async def test_a_stolen_session_id_is_useless(server: Served, person: str, agent: str) -> None:
    session = await opened(server, server.token("alex"))
    thief = server.token(person, agent=agent)

    assert (await post(server, tool_call(2), token=thief, session=session)).status_code == 404
    async with plain_client(timeout=30) as http:
        headers = HEADERS | {
            "authorization": f"Bearer {thief}",
            "mcp-session-id": session,
            "mcp-protocol-version": VERSION,
        }
        assert (await http.delete(f"{server.url}/mcp", headers=headers)).status_code == 404
        assert (await http.get(f"{server.url}/mcp", headers=headers)).status_code == 404
    assert server.bench.api.requests == []
    assert (await post(server, tool_call(2), token=server.token("alex"), session=session)).status_code == 200


@pytest.mark.requirement("R21")
@pytest.mark.parametrize("event", ["1", "*/*"])
async def test_a_client_that_comes_back_for_events_gets_a_stream(server: Served, event: str) -> None:
    token = server.token("alex")
    session = await opened(server, token)
    headers = HEADERS | {
        "authorization": f"Bearer {token}",
        "mcp-session-id": session,
        "mcp-protocol-version": VERSION,
        "last-event-id": event,
    }
    async with plain_client(timeout=30) as http, http.stream("GET", f"{server.url}/mcp", headers=headers) as stream:
        assert stream.status_code == 200
        assert stream.headers["content-type"] == "text/event-stream"
        answer = await post(server, tool_call(2), token=token, session=session)
    assert answer.status_code == 200


@pytest.mark.requirement("R32", "R42")
async def test_each_message_of_a_session_counts_by_its_own_token(server: Served) -> None:
    first, second, third = (server.token("alex") for _ in range(3))
    session = await opened(server, first)

    await post(server, tool_call(2), token=second, session=session)
    (_, used) = (await identified(server))[-1]
    await post(server, tool_call(3), token=third, session=session)
    (_, used_then) = (await identified(server))[-1]
    await server.bench.revocations.revoke(what="token", value=used_then, by="ops")
    refused = await post(server, tool_call(4), token=third, session=session)
    still = await post(server, tool_call(5), token=second, session=session)

    assert used != used_then
    assert refused.status_code == 401
    assert still.status_code == 200
    assert len(server.bench.api.requests) == 3
    await server.bench.revocations.revoke(what="subject", value="alex", by="ops")
    assert (await post(server, tool_call(6), token=server.token("alex"), session=session)).status_code == 401
    assert len(server.bench.api.requests) == 3


@pytest.mark.requirement("R32")
async def test_an_sse_session_takes_messages_of_its_own_caller_only(server: Served) -> None:
    first, second = server.token("alex"), server.token("alex")
    async with (
        plain_client(headers={"authorization": f"Bearer {first}"}, timeout=30) as http,
        http.stream("GET", f"{server.url}/sse") as events,
    ):
        lines = events.aiter_lines()
        with anyio.fail_after(20):
            async for line in lines:
                if line.startswith("data: "):
                    endpoint = server.url + line.removeprefix("data: ").strip()
                    break

        async def send(message: dict[str, Any], token: str) -> int:
            headers = HEADERS | {"authorization": f"Bearer {token}"}
            async with plain_client(headers=headers, timeout=30) as other:
                return (await other.post(endpoint, json=message)).status_code

        assert await send(INITIALIZE, server.token("sam")) == 404
        assert await send(INITIALIZE, server.token("alex", agent="another")) == 404
        assert await send(INITIALIZE, first) == 202
        assert await send(INITIALIZED, first) == 202
        assert await send(tool_call(2), server.token("sam")) == 404
        assert await send(tool_call(2), first) == 202
        assert await send(tool_call(3), second) == 202
        with anyio.fail_after(20):
            while len(server.bench.api.requests) < 2:
                await anyio.sleep(0.02)

    found = await identified(server)
    assert [subject for subject, _ in found] == ["alex", "alex"]
    assert len({token for _, token in found}) == 2


async def listened_to(http: httpx2.AsyncClient, server: Served, session: str, ready: anyio.Event) -> None:
    headers = {"accept": "text/event-stream", "mcp-session-id": session, "mcp-protocol-version": VERSION}
    async with http.stream("GET", f"{server.url}/mcp", headers=headers) as response:
        assert response.status_code == 200
        ready.set()
        await anyio.sleep_forever()


@pytest.mark.requirement("R23")
async def test_one_persons_sessions_take_each_others_place_and_nobody_elses(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "MAX_SESSIONS_OF_A_PERSON", 3)
    monkeypatch.setattr(sessions, "MAX_SESSIONS", 6)
    alex, sam = server.token("alex"), server.token("sam")
    of_sam = await opened(server, sam)
    used = await opened(server, alex)
    async with server.client() as http, anyio.create_task_group() as group:
        ready = anyio.Event()
        group.start_soon(listened_to, http, server, used, ready)
        await ready.wait()

        of_alex = [await opened(server, server.token("alex", agent=f"agent-{number}")) for number in range(8)]

        found = [
            (
                await post(server, tool_call(2), token=server.token("alex", agent=f"agent-{number}"), session=session)
            ).status_code
            for number, session in enumerate(of_alex)
        ]
        assert found == [404] * 6 + [200] * 2
        assert (await post(server, tool_call(2), token=alex, session=used)).status_code == 200
        assert (await post(server, tool_call(2), token=sam, session=of_sam)).status_code == 200
        group.cancel_scope.cancel()


@pytest.mark.requirement("R23")
async def test_one_persons_open_requests_leave_room_for_the_others(tmp_path: Path, world: World) -> None:
    async with served(tmp_path, world=world, connections=ConnectionBounds(most=32)) as server, server.client() as http:
        session = await opened(server, server.token("alex"))
        async with anyio.create_task_group() as group:
            server.bench.api.stall = True
            for number in range(8):
                group.start_soon(partial(post, server, tool_call(number), token=server.token("alex"), session=session))
            with anyio.fail_after(20):
                while server.bench.road.calls_under_way < 8:
                    await anyio.sleep(0.02)
            server.bench.api.stall = False

            refused = await post(server, tool_call(9), token=server.token("alex"), session=session)
            another = await opened(server, server.token("sam"))

            assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
            assert (await post(server, tool_call(1), token=server.token("sam"), session=another)).status_code == 200
            assert (await http.get(f"{server.url}/healthz")).status_code == 200
            group.cancel_scope.cancel()
        with anyio.fail_after(20):
            while (await post(server, tool_call(9), token=server.token("alex"), session=session)).status_code != 200:
                await anyio.sleep(0.02)


@pytest.mark.requirement("R22", "R23")
async def test_one_persons_large_open_requests_leave_room_for_the_others(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "MAX_OPEN_BYTES", 100_000)
    async with served(tmp_path, world=world) as server:
        alex, sam = server.token("alex"), server.token("sam")
        session, another = await opened(server, alex), await opened(server, sam)
        large = tool_call(1)
        large["params"]["arguments"] |= {"query": {"text": "x" * 40_000}}
        server.bench.api.stall = True
        async with anyio.create_task_group() as group:
            group.start_soon(partial(post, server, large, token=alex, session=session))
            with anyio.fail_after(20):
                while not server.bench.api.stalling:
                    await anyio.sleep(0.02)
            server.bench.api.stall = False
            refused = await post(server, large, token=alex, session=session)

            assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
            assert "too large together" in refused.json()["error"]["message"]
            assert (await post(server, tool_call(2), token=alex, session=session)).status_code == 200
            assert (await post(server, large, token=sam, session=another)).status_code == 200
            group.cancel_scope.cancel()
        with anyio.fail_after(20):
            while (await post(server, large | {"id": 3}, token=alex, session=session)).status_code != 200:
                await anyio.sleep(0.02)


@pytest.mark.requirement("R32")
async def test_a_message_for_an_sse_stream_that_has_just_ended_is_dropped_without_a_traceback(
    server: Served, caplog: pytest.LogCaptureFixture
) -> None:
    token = server.token("alex")
    statuses, endpoint = set(), ""
    for _ in range(5):
        async with plain_client(headers={"authorization": f"Bearer {token}"}, timeout=30) as http:
            async with http.stream("GET", f"{server.url}/sse") as events:
                lines = events.aiter_lines()
                async for line in lines:
                    if line.startswith("data: "):
                        endpoint = line.removeprefix("data: ").strip()
                        break
            sent = await http.post(f"{server.url}{endpoint}", content=orjson.dumps(INITIALIZE), headers=HEADERS)
            statuses.add(sent.status_code)

    assert statuses <= {202, 404}
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []
    assert server.bench.api.requests == []


@pytest.mark.requirement("R32")
@pytest.mark.parametrize(("number", "same"), [(7, 7), (7, "7"), (2**70, 2**70), (str(2**70), 2**70)])
async def test_of_two_requests_at_once_with_one_id_the_second_is_refused(
    server: Served, number: int | str, same: int | str
) -> None:
    """The SDK would give one the other's answer, and the other none."""

    def json_of(one: int | str) -> dict[str, Any]:
        return tool_call(7) | {"id": one}

    token = server.token()
    session, others = await opened(server, token), await opened(server, token)
    held = server.bench.api.held = anyio.Event()
    found: list[httpx2.Response] = []

    async def first() -> None:
        found.append(await post(server, json_of(number), token=token, session=session))

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(first)
            while not server.bench.api.requests:
                await anyio.sleep(0.01)
            second = await post(server, json_of(same), token=token, session=session)
            stolen = await post(server, json_of(number), token=server.token("sam"), session=session)
            told = await post(server, {"jsonrpc": "2.0", "id": number, "result": {}}, token=token, session=session)
            server.bench.api.held = None
            other = await post(server, json_of(number), token=token, session=others)
            held.set()

    assert (second.status_code, second.json()["id"], second.json()["error"]["code"]) == (400, same, -32600)
    assert "not answered yet" in second.json()["error"]["message"]
    assert (stolen.status_code, told.status_code) == (404, 202)
    assert '"isError":false' in other.text
    assert '"isError":false' in found[0].text
    again = await post(server, json_of(number), token=token, session=session)
    assert '"isError":false' in again.text


async def events(server: Served, message: dict[str, Any], *, token: str, session: str) -> AsyncIterator[str]:
    """The lines of the stream that a request is answered by."""
    headers = HEADERS | {"authorization": f"Bearer {token}", "mcp-protocol-version": VERSION, "mcp-session-id": session}
    async with (
        plain_client(headers=headers, timeout=30) as http,
        http.stream("POST", f"{server.url}/mcp", content=orjson.dumps(message)) as response,
    ):
        async for line in response.aiter_lines():
            yield line


@pytest.mark.requirement("R32")
async def test_an_id_that_was_given_up_is_nobody_elses_in_its_session(server: Served) -> None:
    """What is still said for it, that its client went away, would be the other's answer."""
    token = server.token()
    session = await opened(server, token)
    server.bench.api.stall = True
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(partial(post, server, tool_call(7), token=token, session=session))
            while not server.bench.api.stalling:
                await anyio.sleep(0.01)
            group.cancel_scope.cancel()
        while server.bench.road.calls_under_way:
            await anyio.sleep(0.01)
    server.bench.api.stall = False

    again = await post(server, tool_call(7), token=token, session=session)
    other = await post(server, tool_call(8), token=token, session=session)

    assert (again.status_code, "given up" in again.json()["error"]["message"]) == (400, True)
    assert '"isError":false' in other.text


@pytest.mark.requirement("R32")
async def test_an_id_is_free_for_a_client_that_closes_the_stream_with_its_answer(server: Served) -> None:
    token = server.token()
    session = await opened(server, token)
    for _ in range(3):
        lines = events(server, tool_call(7), token=token, session=session)
        async for line in lines:
            if line.startswith("data: {"):
                assert '"isError":false' in line
                break
        await lines.aclose()  # type: ignore[attr-defined]  # of a generator
