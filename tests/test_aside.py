from __future__ import annotations

import threading
from collections import UserDict, deque
from collections.abc import Callable
from datetime import timedelta

import anyio
import pytest

from mcp_gateway.aside import INLINE_BYTES, Aside, weight
from mcp_gateway.errors import MaskingError

pytestmark = pytest.mark.anyio


class Text(str):
    """What a tool of somebody else's may give."""


LARGE = INLINE_BYTES + 1


class Work:
    """Work in a thread that ends when it is told or stopped, and says where it is."""

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self.done = threading.Event()
        self.threads: list[int] = []
        self.running = 0

    def __call__(self) -> str:
        self.threads.append(threading.get_ident())
        self.running += 1
        try:
            while not self.done.wait(0.002):
                if self.stopped.is_set():
                    raise MaskingError("masking was stopped before its end")
            return "masked"
        finally:
            self.running -= 1

    async def started(self, count: int = 1) -> None:
        with anyio.fail_after(10):
            while len(self.threads) < count:
                await anyio.sleep(0.002)


def never() -> None:
    raise AssertionError("nobody asked for an end")


async def test_small_work_is_done_in_place_and_large_work_elsewhere() -> None:
    aside = Aside()

    here = await aside.run(threading.get_ident, size=INLINE_BYTES, key="a", stop=never)
    there = await aside.run(threading.get_ident, size=LARGE, key="a", stop=never)

    assert here == threading.get_ident() != there


async def test_what_breaks_there_breaks_here() -> None:
    def work() -> str:
        raise MaskingError("too many values")

    with pytest.raises(MaskingError, match="too many values"):
        await Aside().run(work, size=LARGE, key="a", stop=never)


@pytest.mark.requirement("R27")
async def test_work_beyond_its_time_is_ended_before_anybody_is_told() -> None:
    work, aside = Work(), Aside(longest=timedelta(seconds=0.05))

    with pytest.raises(MaskingError, match=r"^masking 16,385 bytes was not done within 0\.05 s$"):
        await aside.run(work, size=LARGE, key="a", stop=work.stopped.set)

    assert (len(work.threads), work.running) == (1, 0)
    assert await aside.run(lambda: "next", size=LARGE, key="a", stop=never) == "next"


async def test_a_cancelled_call_ends_its_work_and_frees_the_place() -> None:
    work, aside = Work(), Aside(threads=1)

    async with anyio.create_task_group() as group:
        group.start_soon(lambda: aside.run(work, size=LARGE, key="a", stop=work.stopped.set))
        await work.started()
        group.cancel_scope.cancel()

    assert work.running == 0
    assert await aside.run(lambda: "next", size=LARGE, key="b", stop=never) == "next"


async def test_one_callers_work_leaves_a_thread_to_others() -> None:
    hog, aside, answered = Work(), Aside(threads=2), list[str]()

    async def run(work: Callable[[], str], key: str) -> None:
        answered.append(f"{key}:{await aside.run(work, size=LARGE, key=key, stop=hog.stopped.set)}")

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(run, hog, "hog")
            await hog.started()
            await run(lambda: "masked", "other")

            assert answered == ["other:masked"]
            assert len(hog.threads) == 1

            hog.done.set()
    assert len(answered) == 6


def test_a_value_weighs_about_what_its_texts_hold() -> None:
    assert weight("x" * 100) == 108
    assert weight({"key": ["x" * 100, 1, None]}) == 103 + 6 * 8
    assert weight([[1] * 10] * 10) == 111 * 8
    assert weight(UserDict({"key": Text("x" * 100)})) == weight({"key": "x" * 100})
    assert weight(deque(["x" * 100])) == weight(["x" * 100])
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    assert weight(deep) > INLINE_BYTES
