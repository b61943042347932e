"""The second half of the road under load: large results, slow masking, and calls that are given up meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from mcp_gateway.aside import Aside
from tests.peers.api import answer
from tests.roads import Bench, laid, refusal, result

pytestmark = pytest.mark.anyio

HOSTILE = b"4111 1111 1111 1112 bob@example.com 192.0.2.1 password=hunter22 " * 65536
"""4 MiB full of what detectors have to look at: seconds of masking."""
ENDED = ["Received", "Identified", "Examined", "Decided", "Started"]


@asynccontextmanager
async def hostile(folder: Path, *, longest: float = 60) -> AsyncIterator[tuple[Bench, Aside]]:
    """A road whose target first answers with the hostile body, and then with `ok`."""
    aside = Aside(longest=timedelta(seconds=longest))
    async with laid(folder, max_bytes=len(HOSTILE), aside=aside) as bench:
        bench.api.answers = [answer(HOSTILE), answer(b"ok")]
        yield bench, aside


async def masking(aside: Aside) -> None:
    """Wait until a result is masked beside the loop."""
    with anyio.fail_after(20):
        while aside._turns.idle:
            await anyio.sleep(0.002)


async def outcomes(bench: Bench) -> list[str]:
    rows = await bench.store.read(
        lambda connection: connection.execute("SELECT kind FROM events ORDER BY sequence").fetchall()
    )
    return [row[0] for row in rows]


@pytest.mark.requirement("R19", "R27")
async def test_a_hostile_result_is_masked_while_others_are_answered(tmp_path: Path) -> None:
    answered: list[str] = []
    async with hostile(tmp_path) as (bench, aside):

        async def call(name: str) -> Any:
            found = await bench.call(caller=bench.caller(subject=name))
            answered.append(name)
            return found

        async with anyio.create_task_group() as group:
            group.start_soon(call, "mallory")
            await masking(aside)
            for name in ("bob", "carol", "dan"):
                assert result(await call(name))["text"] == "ok"

            assert answered == ["bob", "carol", "dan"]
            assert not aside._turns.idle
            group.cancel_scope.cancel()

        assert aside._turns.idle


@pytest.mark.requirement("R9", "R27")
async def test_a_call_that_is_cancelled_while_its_result_is_masked_ends_once(tmp_path: Path) -> None:
    async with hostile(tmp_path) as (bench, aside):
        async with anyio.create_task_group() as group:
            group.start_soon(bench.call)
            await masking(aside)
            group.cancel_scope.cancel()

        assert await outcomes(bench) == [*ENDED, "Cancelled", "Answered"]
        assert result(await bench.call())["text"] == "ok"


@pytest.mark.requirement("R27")
async def test_a_result_that_takes_too_long_to_mask_is_withheld_and_says_so(tmp_path: Path) -> None:
    async with hostile(tmp_path, longest=0.1) as (bench, _):
        found = await bench.call()

        assert refusal(found).code == "failed"
        assert refusal(found).message == (
            "the call ran and its result is withheld, because it could not be masked: masking 4,194,326 bytes was not done "
            "within 0.1 s"
        )
        assert await bench.kinds(found.call_id) == [*ENDED, "Failed", "Answered"]
        assert result(await bench.call())["text"] == "ok"


@pytest.mark.requirement("R27")
async def test_a_result_with_more_values_than_masking_takes_is_withheld(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_gateway.masking.scan.MAX_CANDIDATES", 10_000)  # the real limit takes 9 s to reach
    async with laid(tmp_path) as bench:
        bench.api.answers = [answer(b"::1 " * 20_000)]
        found = await bench.call()

    assert refusal(found).message == (
        "the call ran and its result is withheld, because it could not be masked: a text holds more than 10,000 values to "
        "look at"
    )
