from __future__ import annotations

from datetime import timedelta

import anyio
import pytest

from mcp_gateway.errors import LimitError
from mcp_gateway.turns import Shares, Turns

pytestmark = pytest.mark.anyio


def test_what_is_beyond_a_callers_share_is_refused_and_others_notice_nothing() -> None:
    shares = Shares(each=2)
    first, second = shares.take("a"), shares.take("a")

    with pytest.raises(LimitError, match=r"^2 calls of this caller are under way, which is as many as may be at once$"):
        shares.take("a")
    shares.take("b")()
    first()
    first()
    shares.take("a")
    with pytest.raises(LimitError):
        shares.take("a")
    second()


class Trace:
    """Tasks that take a turn and hold it until they are told."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.held: list[str] = []
        self.order: list[str] = []
        self.leave = {key: anyio.Event() for key in "abc"}

    async def one(self, key: str) -> None:
        async with self.turns.turn(key):
            self.held.append(key)
            self.order.append(key)
            await self.leave[key].wait()
            self.held.remove(key)


async def test_a_caller_with_many_waiting_delays_another_by_none_while_there_is_room() -> None:
    trace = Trace(Turns(total=2, each=1))
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(trace.one, "a")
            await anyio.wait_all_tasks_blocked()
            group.start_soon(trace.one, "b")
            await anyio.wait_all_tasks_blocked()

            assert trace.held == ["a", "b"]

            for event in trace.leave.values():
                event.set()
    assert trace.turns.idle


async def test_callers_that_wait_are_served_in_turn() -> None:
    trace = Trace(Turns(total=1, each=1))
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            for key in "aaaabc":
                group.start_soon(trace.one, key)
                await anyio.wait_all_tasks_blocked()
            for event in trace.leave.values():
                event.set()

    assert trace.order[0] == "a"
    assert set(trace.order[1:4]) == {"a", "b", "c"}


async def test_one_that_gives_up_waiting_leaves_no_trace() -> None:
    trace = Trace(Turns(total=1, each=1))
    async with anyio.create_task_group() as group:
        group.start_soon(trace.one, "a")
        await anyio.wait_all_tasks_blocked()
        for key in "ab":
            with anyio.move_on_after(0.01) as scope:
                await trace.one(key)
            assert scope.cancelled_caught
        trace.leave["a"].set()

    assert trace.turns.idle
    trace.leave["b"].set()
    with anyio.fail_after(5):
        await trace.one("b")
    assert trace.turns.idle


async def test_a_turn_is_given_back_once() -> None:
    turns = Turns(total=1, each=1)
    release = await turns.take("a")
    assert not turns.free("b")

    release()
    release()

    assert turns.free("b")
    await turns.take("b")
    assert not turns.free("a")


async def test_a_wait_that_was_not_enough_leaves_nothing_behind() -> None:
    turns = Turns(total=1, each=1)
    held = await turns.take("a")

    assert await turns.take_within(timedelta(seconds=0.02), key="a") is None
    assert await turns.take_within(timedelta(seconds=0.02), key="b") is None
    held()
    assert turns.idle
    taken = await turns.take_within(timedelta(seconds=10), key="b")
    assert taken is not None
    taken()
    assert turns.idle
