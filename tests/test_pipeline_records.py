"""What a store that refuses means for a call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mcp_gateway.audit.store import AuditStore
from tests.audit.records import refusing, reopened
from tests.invariants.fixtures import tasks_return, world
from tests.invariants.world import World
from tests.roads import ALLOWED, POST, Bench, asked, laid, refusal

__all__ = ["tasks_return", "world"]

pytestmark = pytest.mark.anyio


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with laid(tmp_path) as found:
        yield found


@pytest.mark.requirement("I1", "I2", "R4")
@pytest.mark.parametrize("kind", ALLOWED)
async def test_what_cannot_be_recorded_does_not_happen_or_is_not_told(
    bench: Bench, kind: str, tmp_path: Path, world: World
) -> None:
    world.unfinished = "this store never takes the outcome"

    with refusing(tmp_path / "data", kind):
        found = refusal(await bench.call())

    assert found.code == "audit_unavailable"
    assert len(bench.api.requests) == (kind in {"Finished", "Answered"})
    if kind in {"Finished", "Answered"}:
        assert "withheld" in found.message


@pytest.mark.requirement("I1", "R4")
@pytest.mark.parametrize("kind", ["Asked", "Claimed", "Started"])
async def test_an_approval_that_cannot_be_recorded_is_not_used(bench: Bench, kind: str, tmp_path: Path) -> None:
    if kind != "Asked":
        await bench.vote(await asked(bench))
    with refusing(tmp_path / "data", kind):
        assert await bench.code(POST) == "audit_unavailable"

    await reopened(bench.store)
    assert bench.api.requests == []
    assert await bench.code(POST) == ("approval_pending" if kind == "Asked" else "ok")


async def test_a_closed_store_refuses_every_call(bench: Bench, tmp_path: Path) -> None:
    other = await AuditStore.open(tmp_path / "other", clock=bench.clock)
    await other.aclose()
    await bench.store.aclose()

    assert await bench.code() == "audit_unavailable"
    assert bench.api.requests == []
