"""What revoking a target, or everything, does to calls on the road; and who is revoked while a call waits for its turn."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from mcp_gateway.admission import Request
from mcp_gateway.answers import Answer
from mcp_gateway.audit.revocations import ALL, What
from mcp_gateway.calls import Caller
from tests.invariants.fixtures import tasks_return, world
from tests.roads import ALLOWED, POST, Bench, asked, laid, refusal
from tests.test_pipeline_turns import queued, stalled

__all__ = ["tasks_return", "world"]

pytestmark = pytest.mark.anyio

STOPS = pytest.mark.parametrize(
    ("what", "value", "said"),
    [("target", "api", "calls on the target 'api' are revoked"), ("all", ALL, "all calls are revoked")],
)


async def listed(bench: Bench) -> Answer:
    async def identify() -> Caller:
        return bench.caller()

    return await bench.road.list_targets(Request(door="http", tool="list_targets", arguments={}, identify=identify))


@pytest.mark.requirement("R42")
@STOPS
async def test_no_call_reaches_what_is_stopped_until_that_is_lifted(
    tmp_path: Path, what: What, value: str, said: str
) -> None:
    async with laid(tmp_path) as bench:
        await bench.revocations.revoke(what=what, value=value, by="ops")

        found = await bench.call()

        assert refusal(found).code == "target_unavailable"
        assert refusal(found).message == f"{said} by whoever runs the gateway"
        assert await bench.kinds(found.call_id) == ["Received", "Identified", "Refused", "Answered"]
        assert (await listed(bench)).code == ("ok" if what == "target" else "target_unavailable")
        assert bench.api.requests == []
        assert await bench.revocations.lift(what=what, value=value, by="ops")
        assert [await bench.code(), (await listed(bench)).code] == ["ok", "ok"]


@pytest.mark.requirement("R42")
async def test_another_target_goes_on(tmp_path: Path) -> None:
    async with laid(tmp_path) as bench:
        await bench.revocations.revoke(what="target", value="another", by="ops")
        await bench.revocations.revoke(what="agent", value="api", by="ops")

        assert await bench.code() == "ok"


@pytest.mark.requirement("R42")
@STOPS
async def test_what_waits_for_an_approval_ends_and_its_approval_is_no_use_until_that_is_lifted(
    tmp_path: Path, what: What, value: str, said: str
) -> None:
    async with laid(tmp_path, wait=timedelta(minutes=10)) as bench:
        found: list[Any] = []

        async def wait() -> None:
            found.append(await bench.call(POST))

        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                group.start_soon(wait)
                while not (held := await bench.live()):
                    await anyio.sleep(0.01)
                await bench.revocations.revoke(what=what, value=value, by="ops")

        assert refusal(found[0]).message == f"{said} by whoever runs the gateway"
        await bench.vote(held[0].id)
        assert await bench.code(POST) == "target_unavailable"
        assert bench.api.requests == []
        await bench.revocations.lift(what=what, value=value, by="ops")
        assert await bench.code(POST) == "ok"


@pytest.mark.requirement("R42")
@pytest.mark.parametrize(
    ("what", "value", "said"),
    [
        ("target", "api", "the target of this call was revoked while it ran"),
        ("all", ALL, "all calls were revoked while this one ran"),
    ],
)
async def test_what_runs_is_cancelled_and_gives_nothing_back(tmp_path: Path, what: What, value: str, said: str) -> None:
    async with laid(tmp_path) as bench:
        bench.api.stall = True
        found: list[Any] = []

        async def run() -> None:
            found.append(await bench.call())

        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                group.start_soon(run)
                while not bench.api.requests:
                    await anyio.sleep(0.01)
                await bench.revocations.revoke(what=what, value=value, by="ops")

        assert refusal(found[0]).code == "cancelled"
        assert refusal(found[0]).message == f"{said}, so it was cancelled at its target and its result is withheld"
        assert await bench.kinds(found[0].call_id) == [*ALLOWED[:5], "Cancelled", "Answered"]


@pytest.mark.requirement("R12", "R42")
@pytest.mark.parametrize(
    ("what", "value", "code"),
    [
        ("subject", "dana", "approval_stale"),
        ("target", "api", "target_unavailable"),
        ("all", ALL, "target_unavailable"),
    ],
)
async def test_who_is_revoked_while_an_approved_call_waits_for_its_turn_counts(
    tmp_path: Path, what: What, value: str, code: str
) -> None:
    async with laid(tmp_path, max_calls=1) as bench, anyio.create_task_group() as group:
        held = await asked(bench)
        await bench.vote(held)
        codes: list[str] = []

        async def call() -> None:
            codes.append(await bench.code(POST))

        async with anyio.create_task_group() as first:
            await stalled(bench, 1, first)
            group.start_soon(call)
            await queued(bench, 2)
            await bench.revocations.revoke(what=what, value=value, by="ops")
            first.cancel_scope.cancel()
        with anyio.fail_after(10):
            while not codes:
                await anyio.sleep(0.005)

        assert codes == [code]
        left = await bench.approvals.get(held)
        assert left is not None
        assert left.state in {"approved", "withdrawn"}
        assert len(bench.api.requests) == 1
