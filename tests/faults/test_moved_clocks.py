"""Clocks that are wrong, are set, drift and sleep, under a whole gateway that holds approvals (R16)."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path

import anyio
import httpx2
import pytest

from mcp_gateway.clock import new_id, utc_now
from mcp_gateway.identity.local import open_local_issuer
from tests.faults.gateways import APPROVER, AUDIENCE, PEOPLE, REQUEST, Gateway, Targets, standing
from tests.faults.sizes import in_full, times
from tests.faults.wire import call_body, call_headers
from tests.invariants.world import World
from tests.peers.moved_clock import MOVED, MovedClock, clock_library, moved_clock
from tests.plain_http import plain_client

__all__ = ["clock_library", "moved_clock"]

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(900), pytest.mark.requirement("R16")]

HOUR, MINUTE = 3600.0, 60.0
SKEWS = {-5.5 * MINUTE: 401, -4.0: 200, 4.0: 200, 4.5 * MINUTE: 200, 5.5 * MINUTE: 401}
"""Seconds by which the gateway is ahead of the issuer, and what a token of 5 minutes with 5 s of leeway is worth then."""
LONG, SHORT = 'ttl = "4h"\nclaim = "4h"', 'ttl = "5m"'


def post(path: str) -> dict[str, str]:
    return {"target": "api", "path": path, "method": "POST"}


def token(gateway: Gateway, person: str, *, ahead: float = 0.0, client: str = "agent") -> str:
    """A token of somebody whose issuer has a clock that is so many seconds ahead."""
    now = utc_now() + timedelta(seconds=ahead)
    issuer = open_local_issuer(gateway.data, audience=AUDIENCE, clock=lambda: now, new_id=new_id, people=PEOPLE)
    return issuer.mint(person, client_id=client, auth_time=now).reveal_text()


async def status(gateway: Gateway, bearer: str) -> int:
    """What a call with this token is answered."""
    tool, arguments = REQUEST
    headers = call_headers(tool) | {"authorization": f"Bearer {bearer}"}
    async with plain_client(base_url=gateway.url, headers=headers, timeout=30) as http:
        return (await http.post("/mcp", content=call_body(tool, arguments))).status_code


def client_of(gateway: Gateway, *, ahead: float) -> httpx2.AsyncClient:
    """Alex's agent, with a token of that time."""
    headers = {"authorization": f"Bearer {token(gateway, 'alex', ahead=ahead)}"}
    return plain_client(base_url=gateway.url, headers=headers, timeout=30)


async def code(gateway: Gateway, path: str, *, ahead: float = 0.0) -> str:
    async with client_of(gateway, ahead=ahead) as http:
        return await gateway.code("call_api", post(path), http=http)


async def asked(gateway: Gateway, path: str, *, ahead: float = 0.0) -> str:
    async with client_of(gateway, ahead=ahead) as http:
        held = await gateway.call("call_api", post(path), http=http)
    assert held["code"] == "approval_pending"
    return str(held["approval"]["id"])


async def approve(gateway: Gateway, approval: str, *, ahead: float = 0.0) -> int:
    headers = {"authorization": f"Bearer {token(gateway, 'dana', ahead=ahead, client=APPROVER)}"}
    async with plain_client(base_url=gateway.url, headers=headers, timeout=30) as http:
        return (await http.post(f"/api/approvals/{approval}/approve")).status_code


async def until_expired(gateway: Gateway, approvals: int) -> list[str]:
    """Wait until so many approvals are recorded as expired; their causes."""
    with anyio.fail_after(60):
        while True:
            causes = [row.body["cause"] for row in gateway.store().rows if row.kind == "ApprovalExpired"]
            if len(causes) >= approvals:
                assert len(causes) == approvals
                return causes
            await anyio.sleep(0.1)


@pytest.mark.parametrize("ahead", [*SKEWS][:: times(commit=3, full=1)])
async def test_a_gateway_that_is_ahead_or_behind_takes_tokens_within_their_leeway(
    tmp_path: Path, world: World, targets: Targets, moved_clock: MovedClock, ahead: float
) -> None:
    world.moved = MOVED
    moved_clock.set(ahead)
    async with standing(tmp_path / "gateway", targets, world=world) as gateway:
        await gateway.start(environ=moved_clock.environ)
        assert await status(gateway, token(gateway, "alex")) == SKEWS[ahead]
        assert len(targets.api.requests) == (SKEWS[ahead] == 200)
        await gateway.end()


async def test_a_clock_that_is_set_back_ends_what_waits_and_brings_no_token_back(
    tmp_path: Path, world: World, targets: Targets, moved_clock: MovedClock
) -> None:
    world.moved = MOVED
    async with standing(tmp_path / "gateway", targets, world=world, approvals=LONG) as gateway:
        await gateway.start(environ=moved_clock.environ)
        old = token(gateway, "alex", ahead=-6 * MINUTE)
        assert await status(gateway, old) == 401
        pending, approved = await asked(gateway, "pending"), await asked(gateway, "approved")
        assert await approve(gateway, approved) == 200

        moved_clock.set(-HOUR)

        assert set(await until_expired(gateway, 2)) == {
            "the clock was set back, so its deadline means nothing any more"
        }
        assert "clock_set_back" in gateway.said()
        assert await status(gateway, old) == 401
        assert await status(gateway, token(gateway, "alex", ahead=-HOUR)) == 401, "the time that was is over"
        assert await approve(gateway, pending) == 409
        assert [await code(gateway, path) for path in ("pending", "approved")] == ["approval_pending"] * 2
        # What is asked now lives by the clock as it is, and a clock that is set right again ends nothing too early.
        again = await asked(gateway, "again")
        assert await approve(gateway, again) == 200
        assert await code(gateway, "again") == "ok"
        assert len(targets.api.requests) == 1
        await gateway.end()


@in_full
async def test_a_clock_that_is_set_forward_and_right_again_leaves_nothing_that_never_ends(
    tmp_path: Path, world: World, targets: Targets, moved_clock: MovedClock
) -> None:
    world.moved = MOVED
    async with standing(tmp_path / "gateway", targets, world=world, approvals=SHORT) as gateway:
        await gateway.start(environ=moved_clock.environ)
        await asked(gateway, "before")

        moved_clock.set(HOUR)

        assert await until_expired(gateway, 1) == ["nobody decided in time"]
        assert await status(gateway, token(gateway, "alex")) == 401
        ahead = await asked(gateway, "ahead", ahead=HOUR)
        assert await approve(gateway, ahead, ahead=HOUR) == 200

        moved_clock.set(0)

        async with gateway.approver() as dana:
            assert (await dana.get("/api/approvals")).json() == []
        assert await code(gateway, "ahead") == "approval_pending"
        causes = await until_expired(gateway, 2)
        assert causes[1] == "the clock was set back, so its deadline means nothing any more"
        assert targets.api.requests == []
        await gateway.end()


@in_full
async def test_a_clock_that_is_slewed_ends_nothing(
    tmp_path: Path, world: World, targets: Targets, moved_clock: MovedClock
) -> None:
    """As a time service does it, ten thousand times as fast: by steps of half a second, over a minute and a half.

    Two seconds in each, so that it never is a minute before the approval was asked for: that would be a clock that was set.
    """
    world.moved = MOVED
    async with standing(tmp_path / "gateway", targets, world=world, approvals=LONG) as gateway:
        await gateway.start(environ=moved_clock.environ)
        approval = await asked(gateway, "x")
        steps = times(commit=10, full=180)
        for step in range(steps):
            moved_clock.set(-0.5 * (step + 1))
            await anyio.sleep(0.25)
            assert await status(gateway, token(gateway, "alex", ahead=moved_clock.wall)) == 200

        assert await approve(gateway, approval, ahead=moved_clock.wall) == 200
        assert await code(gateway, "x", ahead=moved_clock.wall) == "ok"
        assert "clock_set_back" not in gateway.said()
        assert Counter(row.kind for row in gateway.store().rows)["ApprovalExpired"] == 0
        await gateway.end()


@in_full
async def test_a_machine_that_has_slept_holds_what_is_in_time_and_no_more(
    tmp_path: Path, world: World, targets: Targets, moved_clock: MovedClock
) -> None:
    world.moved = MOVED
    async with standing(tmp_path / "gateway", targets, world=world, approvals='ttl = "30m"') as gateway:
        await gateway.start(environ=moved_clock.environ)
        approval = await asked(gateway, "x")
        moved_clock.sleep(10 * MINUTE)
        slept = moved_clock.wall
        assert await status(gateway, token(gateway, "alex")) == 401, "a token of before is over"
        assert await approve(gateway, approval, ahead=slept) == 200
        await asked(gateway, "y", ahead=slept)
        moved_clock.sleep(40 * MINUTE)
        slept = moved_clock.wall

        assert sorted(await until_expired(gateway, 2)) == ["nobody claimed it in time", "nobody decided in time"]
        assert await code(gateway, "x", ahead=slept) == "approval_pending"
        assert "clock_set_back" not in gateway.said()
        assert targets.api.requests == []
        await gateway.end()


@in_full
async def test_a_gateway_that_starts_on_a_clock_that_is_behind_uses_nothing_from_its_future(
    tmp_path: Path, world: World, targets: Targets, moved_clock: MovedClock
) -> None:
    world.moved = MOVED
    async with standing(tmp_path / "gateway", targets, world=world, approvals=LONG) as gateway:
        await gateway.start(environ=moved_clock.environ)
        approved = await asked(gateway, "x")
        assert await approve(gateway, approved) == 200
        await gateway.end()
        moved_clock.set(-HOUR)
        await gateway.start(environ=moved_clock.environ)

        assert await code(gateway, "x", ahead=-HOUR) == "approval_pending"
        assert targets.api.requests == []
        sequences = [row.sequence for row in gateway.store().rows]
        assert sequences == list(range(1, len(sequences) + 1)), "in the order in which it happened, whatever the clock"
        await gateway.end()
