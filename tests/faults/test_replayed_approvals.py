"""An approval used again, for something else, by somebody else, too late, after a restart and in a second process (R13)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from tests.faults.gateways import MANY, Gateway, Targets, standing
from tests.faults.sizes import times
from tests.invariants.world import World
from tests.peers.moved_clock import MOVED, MovedClock, clock_library, moved_clock
from tests.plain_http import plain_client

__all__ = ["clock_library", "moved_clock"]

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(1800)]

CALL: dict[str, Any] = {"target": "api", "path": "x", "method": "POST", "json": {"amount": 1, "to": "a"}}
WRITE = {"target": "db", "sql": "DELETE FROM notes WHERE id = 1"}


def second_api(targets: Targets) -> str:
    """Another target in front of the same API."""
    return (
        f'[targets.other]\nkind = "http"\nlabels = {{ env = "dev" }}\nbase_url = "{targets.api.url}"\n'
        'networks = ["127.0.0.0/8"]\n'
    )


async def approved(gateway: Gateway, call: dict[str, Any], *, tool: str = "call_api") -> str:
    held = await gateway.call(tool, call)
    assert held["code"] == "approval_pending"
    approval = str(held["approval"]["id"])
    assert await gateway.move("approve", approval) == 200
    return approval


def client_of(gateway: Gateway, *, client: str) -> httpx2.AsyncClient:
    """Alex by another agent."""
    headers = {"authorization": f"Bearer {gateway.token('alex', client=client)}"}
    return plain_client(base_url=gateway.url, headers=headers, timeout=60, limits=MANY)


@pytest.mark.requirement("R13", "I4")
async def test_an_approval_runs_what_was_approved_once_and_nothing_else_ever(
    tmp_path: Path, world: World, targets: Targets
) -> None:
    async with standing(tmp_path / "gateway", targets, world=world, more=second_api(targets)) as gateway:
        await gateway.start()
        await approved(gateway, CALL)
        await approved(gateway, WRITE, tool="query_database")

        others: list[tuple[str, dict[str, Any]]] = [
            ("call_api", CALL | {"json": {"amount": 2, "to": "a"}}),
            ("call_api", CALL | {"json": {"amount": "1", "to": "a"}}),
            ("call_api", CALL | {"path": "y"}),
            ("call_api", CALL | {"path": "x/"}),
            ("call_api", CALL | {"target": "other"}),
            ("call_api", CALL | {"headers": {"accept": "text/html"}}),
            ("query_database", WRITE | {"sql": "DELETE FROM notes WHERE id = 2"}),
            ("query_database", WRITE | {"sql": "DELETE FROM notes WHERE id = 1 OR true"}),
        ]
        codes = [await gateway.code(*call) for call in others]
        codes += [await gateway.code("call_api", CALL, person="sam")]
        async with client_of(gateway, client="another-agent") as agent:
            codes += [await gateway.code("call_api", CALL, http=agent)]
        assert set(codes) == {"approval_pending"}, codes
        assert targets.api.requests == []

        assert await gateway.code("call_api", CALL) == "ok"
        assert await gateway.code("query_database", WRITE) == "ok"
        for _ in range(3):
            assert await gateway.code("call_api", CALL) == "already_run"
            assert await gateway.code("query_database", WRITE) == "already_run"
        await gateway.kill()
        await gateway.start()
        assert await gateway.code("call_api", CALL) == "already_run"
        assert await gateway.code("query_database", WRITE) == "already_run"
        assert len(targets.api.requests) == 1
        await gateway.end()


@pytest.mark.requirement("R13", "R39")
async def test_an_approval_is_no_use_when_its_time_is_over(
    tmp_path: Path, world: World, targets: Targets, moved_clock: MovedClock
) -> None:
    world.moved = MOVED
    short = 'ttl = "1m"\nclaim = "1m"'
    async with standing(tmp_path / "gateway", targets, world=world, approvals=short) as gateway:
        await gateway.start(environ=moved_clock.environ)
        undecided = (await gateway.call("call_api", CALL | {"path": "undecided"}))["approval"]["id"]
        unclaimed = await approved(gateway, CALL | {"path": "unclaimed"})
        moved_clock.sleep(61)
        with anyio.fail_after(40):
            while Counter(row.kind for row in gateway.store().rows)["ApprovalExpired"] < 2:
                await anyio.sleep(0.2)

        assert [await gateway.move("approve", one) for one in (undecided, unclaimed)] == [409, 409]
        assert await gateway.code("call_api", CALL | {"path": "undecided"}) == "approval_pending"
        assert await gateway.code("call_api", CALL | {"path": "unclaimed"}) == "approval_pending"
        refused = [row for row in gateway.store().rows if row.kind == "DecisionRefused"]
        assert [row.body["state"] for row in refused] == ["expired", "expired"]
        assert targets.api.requests == []
        await gateway.end()


@pytest.mark.requirement("R13", "R11", "R31", "I4")
async def test_two_gateways_on_one_store_use_an_approval_once(tmp_path: Path, world: World, targets: Targets) -> None:
    async with standing(tmp_path / "gateway", targets, world=world) as first:
        second = Gateway(folder=first.folder, issuer=first.issuer, world=world)
        await first.start()
        await second.start()
        try:
            rounds = times(commit=3, full=300)
            for number in range(rounds):
                call = CALL | {"path": f"{number}"}
                approval = await approved(first, call)
                codes: list[str] = []
                async with anyio.create_task_group() as group:
                    for each in range(6):
                        group.start_soon(claim, (first, second)[each % 2], call, codes)
                assert Counter(codes) == {"ok": 1, "already_run": 5}, codes
                assert await second.move("approve", approval) == 409
        finally:
            await second.end()
        await first.end()
        assert len(targets.api.requests) == rounds


async def claim(gateway: Gateway, call: dict[str, Any], codes: list[str]) -> None:
    codes.append(await gateway.code("call_api", call))
