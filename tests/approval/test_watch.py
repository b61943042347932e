from __future__ import annotations

import anyio
import pytest

from mcp_gateway.approval.watch import LOOK_SECONDS, Watch
from mcp_gateway.errors import StoreError

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R15")]


class Others:
    """What another process has moved, and who asked for it."""

    def __init__(self) -> None:
        self.moved: set[str] = set()
        self.looks: list[list[str]] = []
        self.broken = False

    async def look(self, ids: list[str]) -> list[str]:
        if self.broken:
            raise StoreError("gone")
        self.looks.append(sorted(ids))
        return [one for one in ids if one in self.moved]


async def test_a_move_of_this_process_wakes_who_waits_for_it_and_nobody_else() -> None:
    others = Others()
    watch = Watch(others.look)
    found: dict[str, bool] = {}

    async def wait(name: str, approval_id: str, within: float) -> None:
        found[name] = await watch.has_moved(approval_id, within=within)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(wait, "first", "a", 60)
            group.start_soon(wait, "second", "a", 60)
            group.start_soon(wait, "other", "b", 0.1)
            await anyio.wait_all_tasks_blocked()
            watch.tell(["a", "nobody waits for this"])

    assert found == {"first": True, "second": True, "other": False}
    assert not watch._waited


async def test_one_look_serves_all_who_wait() -> None:
    others = Others()
    watch = Watch(others.look)
    found: list[bool] = []

    async def wait(number: int) -> None:
        found.append(await watch.has_moved(f"a{number}", within=0.05))

    others.moved = {"a7"}
    async with anyio.create_task_group() as group:
        for number in range(100):
            group.start_soon(wait, number)

    assert found.count(True) == 1
    assert len(others.looks) == 1
    assert len(others.looks[0]) == 100


async def test_a_look_is_taken_again_when_it_is_old() -> None:
    others = Others()
    watch = Watch(others.look)

    assert not await watch.has_moved("a", within=0)
    others.moved = {"a"}
    with anyio.fail_after(10):
        while not await watch.has_moved("a", within=LOOK_SECONDS / 4):
            pass


async def test_a_look_that_fails_is_told_and_taken_again() -> None:
    others = Others()
    watch = Watch(others.look)
    others.broken = True
    for _ in range(2):
        with pytest.raises(StoreError):
            await watch.has_moved("a", within=0)
    others.broken, others.moved = False, {"a"}

    assert await watch.has_moved("a", within=0)
