"""`mcp-gateway serve` killed while an approval is in each of its states, and started again on the same store."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import anyio
import pytest

from mcp_gateway.audit.verify import verify
from tests.end_to_end.serving import Gateway, approved, asked, gateway
from tests.peers.api import running_api

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

AGAIN = {
    "pending": "approval_pending",
    "approved": "ok",
    "consumed": "already_run",
    "denied": "approval_denied",
    "revoked": "approval_denied",
    "withdrawn": "approval_pending",
    "expired": "approval_pending",
}
"""State at the kill to what the same call answers after the restart."""


async def reach(found: Gateway) -> dict[str, str]:
    """Bring an approval of a call of its own into each state."""
    ids = {"expired": await asked(found, path="expired", method="PUT")}
    for state in ("pending", "denied", "withdrawn"):
        ids[state] = await asked(found, path=state)
    for state in ("approved", "consumed", "revoked"):
        ids[state] = await approved(found, path=state)
    assert await found.code(path="consumed") == "ok"
    assert await found.move("deny", ids["denied"]) == 200
    assert await found.move("deny", ids["revoked"]) == 200
    assert await found.move("withdraw", ids["withdrawn"], person="alex") == 200
    with anyio.fail_after(20):
        while "ApprovalExpired" not in [kind for _, kind in found.events()]:
            await anyio.sleep(0.05)
    return ids


@pytest.mark.requirement("R2", "R13", "I4")
async def test_a_killed_gateway_goes_on_with_every_approval_where_it_was(tmp_path: Path) -> None:
    async with running_api() as api, gateway(tmp_path, api) as found:
        ids = await reach(found)
        await found.kill()
        await found.start()

        for state, code in AGAIN.items():
            assert await found.code(path=state, method="PUT" if state == "expired" else "POST") == code, state
            late_yes = await found.move("approve", ids[state])
            assert late_yes == (200 if state == "pending" else 409), state
        assert await found.code(path="pending") == "ok"
        assert await found.code(path="other") == "approval_pending"
        paths = sorted(request.split(b" ")[1] for request in api.requests)
        assert paths == [b"/approved", b"/consumed", b"/pending"]
        assert verify(found.data).flaw is None


@pytest.mark.requirement("R1", "R13", "I3", "I4")
async def test_a_call_that_was_running_at_the_kill_ends_unknown_and_is_not_run_again(tmp_path: Path) -> None:
    async with running_api() as api, gateway(tmp_path, api) as found:
        await approved(found)
        api.stall = True
        async with anyio.create_task_group() as group:

            async def call() -> None:
                with pytest.raises(Exception):  # noqa: B017 - whatever the SDK's client says of a broken connection
                    await found.call()

            group.start_soon(call)
            with anyio.fail_after(20):
                while not api.requests:
                    await anyio.sleep(0.01)
            await found.kill()
            group.cancel_scope.cancel()
        api.stall = False
        await found.start()
        with anyio.fail_after(5):
            while "OutcomeUnknown" not in [kind for _, kind in found.events()]:
                await anyio.sleep(0.05)

        again = await found.call()

        assert again["code"] == "already_run"
        assert len(api.requests) == 1
        assert again["outcome"] == "unknown"


@pytest.mark.requirement("R1", "R13", "I1", "I3", "I4")
@pytest.mark.early
async def test_whenever_it_is_killed_during_the_claim_the_call_runs_at_most_once(tmp_path: Path) -> None:
    async with running_api() as api, gateway(tmp_path, api) as found:
        for number in range(4):
            path = f"p{number}"
            approval = await asked(found, path=path)
            assert await found.move("approve", approval) == 200
            async with anyio.create_task_group() as group:

                async def call(path: str) -> None:
                    with anyio.move_on_after(10):
                        try:
                            await found.call(path=path)
                        except Exception:  # noqa: BLE001 - whatever the SDK's client says of a broken connection
                            return

                group.start_soon(call, path)
                # From before the request arrives to after its answer; the instant is the scenario's, not a wait.
                await anyio.sleep(0.015 * number)
                await found.kill()
                group.cancel_scope.cancel()
            await found.start()
            assert await found.code(path=path) in {"ok", "already_run"}
            assert await found.code(path=path) == "already_run"

        sent = Counter(request.split(b" ")[1] for request in api.requests)
        kinds = Counter(kind for _, kind in found.events())
        assert max(sent.values()) == 1
        assert kinds["Claimed"] == kinds["Started"] == 4
        assert kinds["Finished"] + kinds["OutcomeUnknown"] + kinds["Cancelled"] == 4
        assert verify(found.data).flaw is None
