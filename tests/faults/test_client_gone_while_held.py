"""The client goes away while its call waits for people: before, at and after their click (R10)."""

from __future__ import annotations

import random
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.faults.gateways import BrokenOffError, Gateway, Targets, standing
from tests.faults.sizes import FULL, in_full, times
from tests.invariants.world import Row, World

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(1800)]

ENDS_WITHIN = timedelta(seconds=1 if FULL else 10)
"""The call is recorded as ended so soon; with every commit on a busy machine."""


def post(path: str) -> dict[str, Any]:
    return {"target": "api", "path": path, "method": "POST"}


async def held(gateway: Gateway, path: str, scope: anyio.CancelScope) -> None:
    """A call whose client goes away when the scope is cancelled."""
    with scope:
        try:
            await gateway.call("call_api", post(path))
        except BrokenOffError:
            return


async def waiting(gateway: Gateway, path: str) -> str:
    """The id of the approval that the call waits for."""
    with anyio.fail_after(30):
        while True:
            async with gateway.approver() as dana:
                listed = (await dana.get("/api/approvals")).json()
            for item in listed:
                if item["shown"]["request"].endswith(f"/{path}") and item["state"] == "pending":
                    return str(item["id"])
            await anyio.sleep(0.02)


async def ended(gateway: Gateway, approval: str) -> list[Row]:
    """The events of the call that asked for it, once that has ended."""
    with anyio.fail_after(30):
        while True:
            store = gateway.store()
            (asked,) = [row for row in store.history(approval) if row.kind == "Asked"]
            rows = store.of(asked.call_id)
            if any(row.kind == "Answered" for row in rows):
                return rows
            await anyio.sleep(0.02)


@pytest.mark.requirement("R10", "I4")
async def test_a_yes_outlives_the_client_and_runs_only_when_it_calls_again(
    tmp_path: Path, world: World, targets: Targets
) -> None:
    chance = random.Random(10)
    async with standing(tmp_path / "gateway", targets, world=world, wait="40s") as gateway:
        await gateway.start()
        rounds = times(commit=6, full=150)
        found = Counter[str]()
        for number in range(rounds):
            path, when = f"{number}", ("before", "at", "after")[number % 3]
            scope = anyio.CancelScope()
            async with anyio.create_task_group() as group:
                group.start_soon(held, gateway, path, scope)
                approval = await waiting(gateway, path)
                gone = datetime.now().astimezone()
                if when == "before":
                    scope.cancel()
                    rows = await ended(gateway, approval)
                    assert [row.kind for row in rows][-2:] == ["Asked", "Answered"]
                    assert rows[-1].body["code"] == "cancelled"
                    assert datetime.fromisoformat(rows[-1].at) - gone <= ENDS_WITHIN
                    async with gateway.approver() as dana:
                        assert (await dana.get(f"/api/approvals/{approval}")).json()["state"] == "pending"
                elif when == "at":
                    group.start_soon(later, scope, chance.uniform(0, 0.02))
                assert await gateway.move("approve", approval) == 200
                if when == "after":
                    await anyio.sleep(chance.uniform(0, 0.02))  # the moment is the scenario's, not a wait
                    scope.cancel()
            await ended(gateway, approval)

            again = await gateway.code("call_api", post(path))
            found[f"{when} {again}"] += 1
            assert again == "ok" if when == "before" else again in {"ok", "already_run"}
            assert await gateway.code("call_api", post(path)) == "already_run"
        await gateway.end()
        assert len(targets.api.requests) <= rounds
        started = Counter(row.kind for row in gateway.store().rows)
        assert started["Started"] == started["Claimed"] == rounds, found


async def later(scope: anyio.CancelScope, seconds: float) -> None:
    await anyio.sleep(seconds)
    scope.cancel()


@pytest.mark.requirement("R10")
@in_full
async def test_what_its_client_left_ends_at_its_deadline(tmp_path: Path, world: World, targets: Targets) -> None:
    async with standing(tmp_path / "gateway", targets, world=world, wait="40s", approvals='ttl = "10s"') as gateway:
        await gateway.start()
        scope = anyio.CancelScope()
        async with anyio.create_task_group() as group:
            group.start_soon(held, gateway, "x", scope)
            approval = await waiting(gateway, "x")
            scope.cancel()
        await ended(gateway, approval)
        with anyio.fail_after(40):
            while "ApprovalExpired" not in [row.kind for row in gateway.store().history(approval)]:
                await anyio.sleep(0.1)

        assert await gateway.move("approve", approval) == 409
        assert targets.api.requests == []
        await gateway.end()
