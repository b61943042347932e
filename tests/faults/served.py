"""A gateway that serves while a test does something to its targets."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.faults.gateways import EACH_TOOL, Gateway, Targets, standing
from tests.invariants.world import World, read_store
from tests.peers.api import answer


@asynccontextmanager
async def served(folder: Path, targets: Targets, *, world: World, **options: Any) -> AsyncIterator[Gateway]:
    """A running gateway. Each tool works at the beginning and at the end, and then it ends well."""
    async with standing(folder / "gateway", targets, world=world, **options) as gateway:
        await gateway.start()
        await all_work(gateway)
        yield gateway
        targets.api.answers, targets.api.endless, targets.api.stall = [answer(b"ok")], b"", False
        await all_work(gateway)
        assert await gateway.end() == 0


async def all_work(gateway: Gateway) -> None:
    """Each tool gives a result."""
    found = {call[0]: await gateway.call(*call) for call in EACH_TOOL}
    assert [one.get("code", "ok") for one in found.values()] == ["ok"] * len(EACH_TOOL), found


def kinds(gateway: Gateway) -> Counter[str]:
    """How often each kind of event is recorded."""
    return Counter(row.kind for row in read_store(gateway.data).rows)
