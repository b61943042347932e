"""A client of a real gateway on real pipes that has as much under way as it may: it is refused more, and stuck with nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from tests.end_to_end.test_stdio import an_api, configure
from tests.fuzz.messages import initialize, modern, notification, request
from tests.invariants.world import World, read_store
from tests.peers.api import API

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R20", "R23"), pytest.mark.timeout(300)]

CALLS = 4
"""How many calls there may be, and with no room beside them how many requests."""
CROWDED = "from mcp_gateway.doors import intake; from mcp_gateway.cli.main import main; intake.MORE = 0; main()"
CONFIRMED = """
@id("confirm") @approval("caller")
forbid (principal, action == Action::"call_api", resource) when { context.http.method == "PUT" }
unless { context.approval.by.contains("caller") };
"""
MAX_LINE = 1_000_000


class Host:
    """A client that keeps what it is told, and says what a test wants."""

    def __init__(self, process: Process, *, era: str) -> None:
        self.process = process
        self.era = era
        self.answers: dict[int, dict[str, Any]] = {}
        self.questions: list[dict[str, Any]] = []
        self._number = 0

    async def listen(self) -> None:
        """Keep what it is told, until the gateway says no more."""
        assert self.process.stdout is not None
        lines = BufferedByteReceiveStream(self.process.stdout)
        while True:
            try:
                message = orjson.loads(await lines.receive_until(b"\n", MAX_LINE))
            except (anyio.IncompleteRead, anyio.EndOfStream):
                return
            if "method" in message:
                self.questions.append(message)
            else:
                assert message["id"] not in self.answers, "one answer for each"
                self.answers[message["id"]] = message

    async def say(self, *messages: dict[str, Any]) -> None:
        """Send messages."""
        assert self.process.stdin is not None
        await self.process.stdin.send(b"".join(orjson.dumps(message) + b"\n" for message in messages))

    async def ask(self, method: str, params: dict[str, Any]) -> int:
        """Send a request; its id."""
        self._number += 1
        message = request(method, params, self._number)
        await self.say(modern(message) if self.era == "modern" else message)
        return self._number

    async def call(self, **more: Any) -> int:
        """Send a call; its id."""
        return await self.ask("tools/call", {"name": "call_api", "arguments": {"target": "api", "path": "x"} | more})

    async def code(self, number: int) -> int | None:
        """Wait for an answer; its error's code."""
        await until(lambda: number in self.answers)
        code: int | None = self.answers[number].get("error", {}).get("code")
        return code


async def until(condition: Callable[[], bool]) -> None:
    """Wait for it."""
    with anyio.fail_after(120):
        while not condition():
            await anyio.sleep(0.02)


@asynccontextmanager
async def crowded(folder: Path, api: API, world: World, *, era: str) -> AsyncIterator[Host]:
    """A gateway in which a caller's calls are all that may be under way, at an API that answers none.

    In the end its client goes, and what became of each call is on record.
    """
    api.stall = True
    *_, config, _ = command = configure(folder, api, world)
    with (folder / "policies.cedar").open("a") as policies:
        policies.write(CONFIRMED)
    with Path(config).open("a") as settings:
        settings.write(f'timeout = "5m"\n[server]\nmax_calls_per_caller = {CALLS}\nanswer_within = "10m"\n')
        settings.write('[approvals]\nwait = "9m"\n')
    command[1:4] = ["-I", "-c", CROWDED]
    with (folder / "stderr.log").open("wb") as errors:
        async with await anyio.open_process(command, stderr=errors) as process, anyio.create_task_group() as group:
            host = Host(process, era=era)
            group.start_soon(host.listen)
            if era == "legacy":
                await host.say(initialize(0))
                assert await host.code(0) is None
                await host.say(notification("notifications/initialized"))
            yield host
            world.look()
            assert process.stdin is not None
            await process.stdin.aclose()
            assert await process.wait() == 0
    assert b"Traceback" not in (folder / "stderr.log").read_bytes()
    kinds = Counter(row.kind for row in read_store(folder / "data").rows)
    assert kinds["Received"] == kinds["Answered"] == kinds["Started"] == len(api.requests)
    assert kinds["Started"] == kinds["Cancelled"] + kinds["Finished"]


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_beyond_the_bound_calls_are_refused_while_cancellations_and_pings_get_through(
    tmp_path: Path, world: World, era: str
) -> None:
    async with an_api(tmp_path) as api, crowded(tmp_path, api, world, era=era) as host:
        calls = [await host.call() for _ in range(CALLS)]
        await until(lambda: api.stalling == CALLS)

        refused = await host.call()
        assert await host.code(refused) == -32005
        assert host.answers[refused]["error"]["data"]["code"] == "limit_exceeded"
        assert await host.code(await host.ask("tools/list", {})) == -32005
        # The newer era has no ping, which is what the answer says.
        assert await host.code(await host.ask("ping", {})) == (None if era == "legacy" else -32601)

        await host.say(notification("notifications/cancelled", {"requestId": calls[0]}))
        await until(lambda: api.stalling < CALLS)
        # Its place is free once its end is on record.
        while api.stalling < CALLS:
            number = await host.call()
            await until(lambda number=number: number in host.answers or api.stalling == CALLS)  # type: ignore[misc]
        assert [number for number in calls if number in host.answers] == []


async def test_the_answer_to_a_form_gets_through_while_as_much_is_under_way_as_may_be(
    tmp_path: Path, world: World
) -> None:
    async with an_api(tmp_path) as api, crowded(tmp_path, api, world, era="legacy") as host:
        for _ in range(CALLS - 1):
            await host.call()
        held = await host.call(method="PUT")
        await until(lambda: api.stalling == CALLS - 1 and bool(host.questions))
        # As fast as it can, so that all of it is before the answer in the pipe.
        more = [await host.call() for _ in range(500)]
        await host.say({"jsonrpc": "2.0", "id": host.questions[0]["id"], "result": {"action": "accept", "content": {}}})

        await until(lambda: api.stalling == CALLS)
        assert {await host.code(number) for number in more} == {-32005}
        assert held not in host.answers


async def test_whoever_sends_thousands_of_calls_at_once_gets_one_answer_to_each(tmp_path: Path, world: World) -> None:
    async with an_api(tmp_path) as api, crowded(tmp_path, api, world, era="modern") as host:
        api.stall = False
        numbers = [await host.call() for _ in range(3000)]
        codes = Counter([await host.code(number) for number in numbers])
        assert codes.keys() <= {None, -32005}
        assert not [number for number in numbers if host.answers[number].get("result", {}).get("isError")]
        assert len(api.requests) == codes[None] >= CALLS
