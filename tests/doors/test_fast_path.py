"""How a plain call runs before the SDK: watched, handed over, cancelled, and never twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest
from starlette.types import Message, Receive, Scope, Send
from structlog.testing import capture_logs

from mcp_gateway.doors import fast_path
from mcp_gateway.doors.under_way import KEY, CallUnderWay
from tests.doors.two_doors import OneDoor, Request, exchange, message, request, two_doors
from tests.invariants.world import World, read_store
from tests.waiting import until

pytestmark = pytest.mark.anyio

CALL = request(message())


def kinds(door: OneDoor) -> list[str]:
    return [row.kind for row in read_store(door.bench.store.data_dir).rows]


class Client:
    """A client that sends one request and goes away when it likes."""

    def __init__(self, app: Any, asked: Request, *, token: str) -> None:
        self.gone = anyio.Event()
        self.sent: list[Message] = []
        self._app = app
        self._asked = asked
        self._token = token

    async def __call__(self) -> None:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            async def hear() -> Message:
                heard = asyncio.create_task(_as_coroutine(receive()))
                gone = asyncio.create_task(self.gone.wait())
                try:
                    await asyncio.wait({heard, gone}, return_when=asyncio.FIRST_COMPLETED)
                    return heard.result() if heard.done() else {"type": "http.disconnect"}
                finally:
                    heard.cancel()
                    gone.cancel()

            async def keep(told: Message) -> None:
                self.sent.append(told)
                await send(told)

            await self._app(scope, hear, keep)

        await exchange(app, self._asked, token=self._token)


async def _as_coroutine(work: Awaitable[Message]) -> Message:
    return await work


Running = Callable[[OneDoor], Awaitable[None]]


@pytest.mark.requirement("R9")
@pytest.mark.parametrize("handed_over", [False, True])
async def test_a_client_that_goes_away_ends_its_call_at_the_target(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch, handed_over: bool
) -> None:
    monkeypatch.setattr(fast_path, "TAKE_OVER_SECONDS", 0.05 if handed_over else 60.0)
    async with two_doors(tmp_path, world) as doors:
        door = doors.plain
        door.bench.api.stall = True
        client = Client(door.app, CALL, token=door.token())
        async with anyio.create_task_group() as group:
            group.start_soon(client)
            await until(lambda: len(door.bench.api.requests) == 1)
            await until(lambda: door.watch.requests == handed_over)
            client.gone.set()

        assert client.sent == []
        assert kinds(door)[-2:] == ["Cancelled", "Answered"]
        assert kinds(door).count("Started") == 1
        assert door.watch.requests == handed_over
        assert door.bench.road.calls_under_way == 0


@pytest.mark.parametrize("handed_over", [False, True])
async def test_a_server_that_ends_a_request_ends_its_call_and_waits_for_the_record(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch, handed_over: bool
) -> None:
    monkeypatch.setattr(fast_path, "TAKE_OVER_SECONDS", 0.05 if handed_over else 60.0)
    async with two_doors(tmp_path, world) as doors:
        door = doors.plain
        door.bench.api.stall = True
        serving = asyncio.create_task(exchange(door.app, CALL, token=door.token()))
        await until(lambda: len(door.bench.api.requests) == 1)
        await until(lambda: door.watch.requests == handed_over)
        serving.cancel()
        await asyncio.wait({serving})

        assert kinds(door)[-2:] == ["Cancelled", "Answered"]
        assert door.bench.road.calls_under_way == 0


async def test_what_takes_long_is_answered_by_the_sdk_and_runs_once(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast_path, "TAKE_OVER_SECONDS", 0.05)
    async with two_doors(tmp_path, world) as doors:
        for door in (doors.plain, doors.sdk):
            door.bench.api.held = anyio.Event()
            async with anyio.create_task_group() as group:

                async def let_go(door: OneDoor = door) -> None:
                    await until(lambda: door.watch.requests == 1 and len(door.bench.api.requests) == 1)
                    assert door.bench.api.held is not None
                    door.bench.api.held.set()

                group.start_soon(let_go)
                answered = await door.ask(CALL)
            assert answered.is_result
            assert len(door.bench.api.requests) == 1
        assert doors.same_record().count("Started") == 1


@pytest.mark.requirement("R9")
async def test_a_client_that_left_before_its_call_was_read_calls_nothing(tmp_path: Path, world: World) -> None:
    async with two_doors(tmp_path, world) as doors:
        await doors.same(request(CALL.body, parts=4, leaves=True))
        assert doors.same_record() == []


async def test_a_call_that_the_sdk_does_not_come_to_is_cancelled(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast_path, "TAKE_OVER_SECONDS", 0.05)
    async with two_doors(tmp_path, world) as doors:
        door = doors.plain
        door.bench.api.stall = True

        async def refuses(scope: Scope, receive: Receive, send: Send) -> None:
            assert isinstance(scope[KEY], CallUnderWay)
            assert orjson.loads((await receive())["body"]) == message()
            await send({"type": "http.response.start", "status": 400, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        door.watch.app = refuses
        with capture_logs() as logs:
            said = await exchange(door.app, CALL, token=door.token())

        assert "call_not_taken_over" in [entry["event"] for entry in logs]
        assert said.start["status"] == 400
        assert kinds(door)[-2:] == ["Cancelled", "Answered"]


async def test_a_call_that_the_sdk_reads_otherwise_is_cancelled_and_not_answered(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast_path, "TAKE_OVER_SECONDS", 0.05)
    async with two_doors(tmp_path, world) as doors:
        door = doors.plain
        door.bench.api.stall = True
        sdk = door.watch.app

        async def changes(scope: Scope, receive: Receive, send: Send) -> None:
            told = await receive()
            body = told["body"].replace(b'"path":"x"', b'"path":"y"')
            messages = [{**told, "body": body}]

            async def again() -> Message:
                return messages.pop() if messages else await receive()

            await sdk(scope, again, send)

        door.watch.app = changes
        answered = await door.ask(CALL)

        assert answered.body["result"]["structuredContent"]["error"]["code"] == "internal"
        assert kinds(door)[-2:] == ["Cancelled", "Answered"]
        assert kinds(door).count("Received") == 1


@pytest.mark.requirement("R9")
async def test_a_client_that_leaves_as_its_call_is_handed_over_ends_it(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast_path, "TAKE_OVER_SECONDS", 0.05)
    async with two_doors(tmp_path, world) as doors:
        door = doors.plain
        door.bench.api.stall = True
        handed_over = anyio.Event()

        async def listens(scope: Scope, receive: Receive, send: Send) -> None:
            handed_over.set()
            while (await receive())["type"] != "http.disconnect":
                pass

        door.watch.app = listens
        client = Client(door.app, CALL, token=door.token())
        with capture_logs() as logs:
            async with anyio.create_task_group() as group:
                group.start_soon(client)
                await handed_over.wait()
                client.gone.set()

        assert kinds(door)[-2:] == ["Cancelled", "Answered"]
        assert [entry for entry in logs if entry["log_level"] == "critical"] == []


async def test_without_the_fast_path_the_sdk_gets_every_request(tmp_path: Path, world: World) -> None:
    async with two_doors(tmp_path, world) as doors:
        await doors.same(CALL)
        assert (doors.plain.watch.requests, doors.sdk.watch.requests) == (0, 1)
