"""What a revocation ends: what waits, what runs, what was approved; and what else breaks around a wait."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from mcp_gateway.admission import Request
from mcp_gateway.answers import Answer
from mcp_gateway.approval.holding import Channels
from mcp_gateway.approval.ticket import Ticket
from mcp_gateway.calls import Caller
from mcp_gateway.errors import StoreError
from tests.invariants.fixtures import tasks_return, world
from tests.roads import POST, Bench, asked, give_up, laid, refusal

__all__ = ["tasks_return", "world"]

pytestmark = pytest.mark.anyio

CAUSES = "SELECT body ->> '$.cause' FROM events WHERE call_id = ? AND kind = 'Refused'"


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with laid(tmp_path) as found:
        yield found


@pytest.mark.requirement("R9")
async def test_a_listing_that_its_client_gives_up_is_recorded(bench: Bench) -> None:
    begun: list[bool] = []

    async def identify() -> Caller:
        begun.append(True)
        await anyio.sleep_forever()
        raise AssertionError

    async def has_begun() -> bool:
        return bool(begun)

    listing = Request(door="http", tool="list_targets", arguments={}, identify=identify)
    await give_up(partial(bench.road.list_targets, listing), once=has_begun)

    rows = await bench.store.read(lambda rows: rows.execute("SELECT kind, body ->> '$.code' FROM events").fetchall())
    assert rows == [("Received", None), ("Answered", "cancelled")]


@pytest.mark.requirement("R42")
@pytest.mark.parametrize(
    ("what", "value"), [("token", "t1"), ("subject", "https://idp.example.com|alice"), ("agent", "agent")]
)
@pytest.mark.parametrize("form", [False, True])
async def test_a_revocation_ends_what_waits_for_an_approval(tmp_path: Path, what: Any, value: str, form: bool) -> None:
    async def confirm(ticket: Ticket, seconds: float) -> Any:
        await anyio.sleep_forever()

    async with laid(tmp_path, wait=timedelta(minutes=10)) as bench:
        found: list[Any] = []
        arguments = {"method": "PUT"} if form else POST

        async def wait() -> None:
            found.append(await bench.call(arguments, channels=Channels(confirm=confirm)))

        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                group.start_soon(wait)
                while not (held := await bench.live()):
                    await anyio.sleep(0.01)
                await bench.revocations.revoke(what=what, value=value, by="ops")

        assert refusal(found[0]).code == "identity_required"
        assert "revoked cannot be used" in refusal(found[0]).next_step
        assert (await bench.kinds(found[0].call_id))[-2:] == ["Refused", "Answered"]
        causes = await bench.store.read(lambda rows: rows.execute(CAUSES, (found[0].call_id,)).fetchall())
        assert causes == [(f"the {what} of this call was revoked while it waited for its approval",)]
        still = await bench.approvals.get(held[0].id)
        assert still is not None
        assert still.state == "pending"
        assert bench.api.requests == []


@pytest.mark.requirement("R42")
async def test_what_was_approved_for_somebody_who_is_revoked_is_not_claimed(bench: Bench) -> None:
    held = await asked(bench)
    await bench.vote(held)
    await bench.revocations.revoke(what="subject", value="alice", by="ops")

    found = await bench.call(POST)  # Whoever identified this caller did so before the revocation.

    assert isinstance(found, Answer)
    assert refusal(found).code == "identity_required"
    assert "Claimed" not in await bench.kinds(found.call_id)
    left = await bench.approvals.get(held)
    assert left is not None
    assert left.state == "approved"
    assert bench.api.requests == []


@pytest.mark.requirement("R28", "R42")
async def test_a_wait_outlives_a_moment_in_which_revocations_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with laid(tmp_path, wait=timedelta(minutes=10)) as bench:
        looked = anyio.Event()
        codes: list[str] = []

        def busy(caller: Caller) -> str | None:
            looked.set()
            raise StoreError("the database is locked")

        monkeypatch.setattr(bench.road._parts.holder, "_refuses", busy)

        async def wait() -> None:
            codes.append(await bench.code(POST))

        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                group.start_soon(wait)
                await looked.wait()
                (held,) = await bench.live()
                await bench.vote(held.id)

        assert codes == ["ok"]


@pytest.mark.requirement("R28", "R42")
async def test_a_store_that_fails_while_a_call_waits_for_its_approval_ends_it(tmp_path: Path) -> None:
    async with laid(tmp_path, wait=timedelta(minutes=10)) as bench:
        found: list[Any] = []

        async def wait() -> None:
            found.append(await bench.call(POST))

        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                group.start_soon(wait)
                while not await bench.live():
                    await anyio.sleep(0.01)
                await bench.store.aclose()

        assert refusal(found[0]).code == "audit_unavailable"
