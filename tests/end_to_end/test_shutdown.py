"""SIGTERM ends `mcp-gateway serve` in good order: what runs may finish, what waits for people is answered, no more is taken."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.end_to_end.serving import Gateway, gateway
from tests.peers.api import API, running_api
from tests.plain_http import plain_client

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120), pytest.mark.requirement("R29")]


@pytest.fixture
async def api() -> AsyncIterator[API]:
    async with running_api() as found:
        yield found


async def stopped(found: Gateway) -> int | None:
    """Ask it to stop, wait until it listens no more, and give what it exits with, if it has."""
    found.process.send_signal(signal.SIGTERM)
    port = int(found.url.rpartition(":")[2])
    with anyio.fail_after(20):
        while True:
            try:
                await (await anyio.connect_tcp("127.0.0.1", port)).aclose()
            except OSError:
                return found.process.returncode
            await anyio.sleep(0.02)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_call_that_runs_is_finished_and_answered(tmp_path: Path, api: API, mode: Any) -> None:
    api.held = anyio.Event()
    async with gateway(tmp_path / "gateway", api, wait="0s") as found, anyio.create_task_group() as group:
        answers: list[Any] = []

        async def call() -> None:
            answers.append(await found.call(method="GET", mode=mode))

        group.start_soon(call)
        with anyio.fail_after(30):
            while not api.requests:
                await anyio.sleep(0.01)
        assert await stopped(found) is None
        api.held.set()
        with anyio.fail_after(20):
            assert await found.process.wait() == 0

    assert [answer["text"] for answer in answers] == ["ok"]
    kinds = [kind for _, kind in found.events()]
    assert kinds[-4:] == ["Started", "Finished", "Answered", "GatewayStopped"]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_call_that_waits_for_people_is_answered_at_once_and_its_approval_stays(
    tmp_path: Path, api: API, mode: Any
) -> None:
    async with gateway(tmp_path / "gateway", api, wait="30s") as found, anyio.create_task_group() as group:
        answers: list[Any] = []

        async def call() -> None:
            answers.append(await found.call(mode=mode))

        group.start_soon(call)
        with anyio.fail_after(30):
            while not any(kind == "Asked" for _, kind in found.events()):
                await anyio.sleep(0.02)
        await stopped(found)
        with anyio.fail_after(10):
            assert await found.process.wait() == 0
            while not answers:
                await anyio.sleep(0.01)

    assert answers[0]["code"] == "approval_pending"
    assert [kind for _, kind in found.events()][-2:] == ["Answered", "GatewayStopped"]
    assert api.requests == []


async def test_a_client_that_only_listens_does_not_hold_the_end_up(tmp_path: Path, api: API) -> None:
    async with gateway(tmp_path / "gateway", api) as found:
        token = found.issuer.mint("alex", client_id="agent", actor="agent").reveal_text()
        headers = {"authorization": f"Bearer {token}"}
        async with (
            plain_client(headers=headers) as http,
            http.stream("GET", f"{found.url}/sse") as stream,
        ):
            lines = stream.aiter_lines()
            assert await anext(lines) == "event: endpoint"
            await stopped(found)
            with anyio.fail_after(10):
                assert await found.process.wait() == 0


async def test_a_second_signal_ends_what_runs_with_its_outcome_recorded(tmp_path: Path, api: API) -> None:
    api.stall = True
    async with gateway(tmp_path / "gateway", api) as found, anyio.create_task_group() as group:

        async def call() -> None:
            with suppress(Exception):  # what a client makes of a server that goes away is its own
                await found.call(method="GET")

        group.start_soon(call)
        with anyio.fail_after(30):
            while not api.requests:
                await anyio.sleep(0.01)
        assert await stopped(found) is None
        found.process.send_signal(signal.SIGTERM)
        with anyio.fail_after(15):
            await found.process.wait()
        group.cancel_scope.cancel()

    kinds = [kind for _, kind in found.events()]
    assert kinds[-4:] == ["Started", "Cancelled", "Answered", "GatewayStopped"]
