"""How much one client may have under way on two streams, and what frees a place of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
import pytest
from mcp.shared._context_streams import create_context_streams
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from mcp.shared.message import SessionMessage
from structlog.testing import capture_logs

from mcp_gateway.doors import intake
from mcp_gateway.doors.intake import LIMIT_EXCEEDED, PINGS, Intake
from mcp_gateway.errors import LimitError
from mcp_gateway.turns import Shares
from tests.doors.servers import served
from tests.doors.test_unread import opened
from tests.doors.token_doors import call
from tests.invariants.world import World

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R20", "R23", "I8")]

CALLS = 3


@pytest.fixture(autouse=True)
def crowded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing beside the calls."""
    monkeypatch.setattr(intake, "MORE", 0)


@dataclass
class Client:
    """A client of the SDK's dispatcher, whose requests wait until the test lets them end."""

    send: Any
    receive: Any
    running: list[str] = field(default_factory=list)
    gates: dict[str, anyio.Event] = field(default_factory=dict)
    clean: anyio.Event = field(default_factory=anyio.Event)
    """Set, nothing has to be cleaned up after a cancellation."""

    async def say(self, message: types.JSONRPCMessage) -> None:
        """Send one message, and let everybody do what they can with it."""
        await self.send.send(SessionMessage(message))
        await anyio.wait_all_tasks_blocked()

    async def ping(self, number: int, **params: Any) -> None:
        """Send a ping, whose answer may follow at once."""
        ping = types.JSONRPCRequest(jsonrpc="2.0", id=number, method="ping", params=params)
        await self.send.send(SessionMessage(ping))

    async def ask(self, method: str, number: int = 1, **params: Any) -> None:
        """Send a request."""
        await self.say(types.JSONRPCRequest(jsonrpc="2.0", id=number, method=method, params=params))

    async def cancel(self, number: int) -> None:
        """Say that an answer is of no use any more."""
        params = {"requestId": number}
        await self.say(types.JSONRPCNotification(jsonrpc="2.0", method="notifications/cancelled", params=params))

    async def hear(self) -> tuple[Any, int | None]:
        """The next answer: to what, and the code of its error."""
        message = (await self.receive.receive()).message
        return message.id, message.error.code if isinstance(message, types.JSONRPCError) else None

    async def handle(self, _: Any, method: str, __: Any) -> dict[str, Any]:
        """Do what the server has to do for a request."""
        self.running.append(method)
        try:
            if method != "ping":
                await self.gates.setdefault(method, anyio.Event()).wait()
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await self.clean.wait()
            raise
        finally:
            self.running.remove(method)
        return {}


@asynccontextmanager
async def connected(places: Intake, *, key: str = "") -> AsyncIterator[Client]:
    asked_in, asked_out = create_context_streams[SessionMessage | Exception](0)
    told_in, told_out = create_context_streams[SessionMessage](1000)
    client = Client(send=asked_in, receive=told_out)
    async with (
        asked_in,
        told_in,
        told_out,
        places.bounded(asked_out, told_in, key=key) as (asked, answered),
        anyio.create_task_group() as group,
    ):

        async def notified(*_: Any) -> None:
            return None

        group.start_soon(JSONRPCDispatcher(asked, answered).run, client.handle, notified)
        yield client
        client.clean.set()
        group.cancel_scope.cancel()


async def test_a_place_is_left_with_the_answer_be_there_others_of_the_same_id() -> None:
    with anyio.fail_after(60):
        async with connected(Intake(calls=CALLS)) as client:
            for method in ("a", "b", "c"):
                await client.ask(method)
            await client.ask("d", 2)
            assert await client.hear() == (2, LIMIT_EXCEEDED)

            client.gates["b"].set()
            assert await client.hear() == (1, None)
            await client.ask("e", 3)
            await client.ask("f", 4)
            assert await client.hear() == (4, LIMIT_EXCEEDED)
            assert client.running == ["a", "c", "e"]


async def test_a_place_is_left_after_a_cancellation_only_when_the_work_is_over() -> None:
    with anyio.fail_after(60):
        async with connected(Intake(calls=CALLS)) as client:
            for number, method in enumerate(("a", "b", "c")):
                await client.ask(method, number)
            await client.cancel(1)
            await client.ask("d", 3)
            assert await client.hear() == (3, LIMIT_EXCEEDED), "it still cleans up"
            client.clean.set()
            await anyio.wait_all_tasks_blocked()
            await client.ask("e", 4)
            assert client.running == ["a", "c", "e"]


async def test_pings_have_places_of_their_own_if_they_are_small() -> None:
    with anyio.fail_after(60):
        async with connected(Intake(calls=CALLS)) as client:
            for method in ("a", "b", "c"):
                await client.ask(method)
            for number in range(2 * PINGS):
                await client.ping(number)
                assert await client.hear() == (number, None)
            await client.ping(1, text="x" * intake.MAX_PING_BYTES)
            assert await client.hear() == (1, LIMIT_EXCEEDED)


async def test_pings_that_do_not_end_are_bounded_too() -> None:
    places = Intake(calls=CALLS)
    ping = types.JSONRPCRequest(jsonrpc="2.0", id=1, method="ping")
    taken: set[intake.Place] = set()
    for _ in range(CALLS + PINGS):
        places._take(ping, key="", places=taken)
    with pytest.raises(LimitError, match="35 requests of this client are under way"):
        places._take(ping, key="", places=taken)


async def test_what_is_under_way_is_bounded_in_bytes_and_the_first_always_fits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(intake, "MAX_BYTES", 50_000)
    with anyio.fail_after(60):
        async with connected(Intake(calls=CALLS)) as client:
            await client.ask("a", text="x" * 100_000)
            await client.ask("b", 2)
            assert await client.hear() == (2, LIMIT_EXCEEDED)
            client.gates["a"].set()
            assert await client.hear() == (1, None)

            await client.ask("c", text="x" * 30_000)
            await client.ask("d", 2, text="x" * 30_000)
            assert await client.hear() == (2, LIMIT_EXCEEDED)
            await client.ask("e", 3, text="x" * 10_000)
            assert client.running == ["c", "e"]


async def test_clients_do_not_count_for_each_other_and_an_end_leaves_nothing() -> None:
    places = Intake(calls=CALLS)
    with anyio.fail_after(60):
        async with connected(places, key="one") as client, connected(places, key="another") as other:
            for method in ("a", "b", "c"):
                await client.ask(method)
            await client.cancel(1)
            await other.ask("d")
            assert other.running == ["d"]
            async with connected(places, key="one") as second:
                await second.ask("e", 5)
                assert await second.hear() == (5, LIMIT_EXCEEDED), "by whatever stream"
        assert places._loads == {}


async def test_the_log_says_once_that_a_client_is_at_its_bound(world: World) -> None:
    with anyio.fail_after(60), capture_logs() as logs:
        async with connected(Intake(calls=CALLS), key="somebody") as client:
            for method in ("a", "b", "c", "d", "e"):
                await client.ask(method)
            assert [await client.hear(), await client.hear()] == [(1, LIMIT_EXCEEDED)] * 2
            client.gates["a"].set()
            assert await client.hear() == (1, None)
            await client.ask("f")
            await client.ask("g", 2)
            assert await client.hear() == (2, LIMIT_EXCEEDED), "again, after one place was free"
    told = [entry for entry in logs if entry["event"] == "too_many_requests"]
    assert [(entry["log_level"], entry["caller"]) for entry in told] == [("warning", "somebody")]


async def test_who_asks_over_sse_without_waiting_is_refused_and_only_they(tmp_path: Path, world: World) -> None:
    async with served(tmp_path, world=world, shares=Shares(each=CALLS)) as server:
        api = server.bench.api
        api.held = anyio.Event()
        async with opened(server, "alex") as stream, opened(server, "sam") as other:
            for number in range(1, CALLS + 1):
                assert await stream.post(call(number)) == 202
            with anyio.fail_after(60):
                while len(api.requests) < CALLS:
                    await anyio.sleep(0.01)
            assert await stream.post(call(9)) == 202
            assert b'"error":{"code":-32005,' in await stream.read_for({9})
            assert await other.post(call(1)) == 202
            with anyio.fail_after(60):
                while len(api.requests) == CALLS:
                    await anyio.sleep(0.01)
            api.held.set()
            await stream.read_for(set(range(1, CALLS + 1)))
            await other.read_for({1})
            assert await stream.post(call(10)) == 202
            assert b'"error"' not in await stream.read_for({10})
        assert len(api.requests) == CALLS + 2


async def test_what_was_under_way_on_a_stream_that_ended_counts_no_more(tmp_path: Path, world: World) -> None:
    async with served(tmp_path, world=world, shares=Shares(each=CALLS)) as server:
        api = server.bench.api
        api.stall = True
        async with opened(server, "alex") as stream:
            for number in range(1, CALLS + 1):
                assert await stream.post(call(number)) == 202
            with anyio.fail_after(60):
                while api.stalling < CALLS:
                    await anyio.sleep(0.01)
        with anyio.fail_after(60):
            while api.stalling:
                await anyio.sleep(0.01)
        api.stall = False
        async with opened(server, "alex") as stream:
            for number in range(1, 100):
                assert await stream.post(call(number)) == 202
                if b'"error":{"code":-32005,' not in await stream.read_for({number}):
                    break
                await anyio.sleep(0.02)
            else:
                pytest.fail("its places were never free")
