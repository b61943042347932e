"""The second half of the road under load: large results, slow masking, and calls that are given up meanwhile."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp_gateway_tools.call_api import CallAPI
from structlog.testing import capture_logs

from mcp_gateway.answers import Masked
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


@pytest.mark.requirement("R42", "R27")
async def test_who_is_revoked_while_a_result_is_masked_gets_nothing_of_it(tmp_path: Path) -> None:
    async with hostile(tmp_path) as (bench, aside):
        bench.api.answers = [answer(HOSTILE[: len(HOSTILE) // 8])]
        found: list[Any] = []

        async def call() -> None:
            found.append(await bench.call())

        async with anyio.create_task_group() as group:
            group.start_soon(call)
            await masking(aside)
            await bench.revocations.revoke(what="subject", value="alice", by="ops")

        assert refusal(found[0]).code == "cancelled"
        assert "its result is withheld" in refusal(found[0]).message
        assert await bench.kinds(found[0].call_id) == [*ENDED, "Cancelled", "Answered"]


class Misbehaving(CallAPI):
    """A tool of another distribution that does one thing wrong."""

    def __init__(self, wrong: str) -> None:
        super().__init__()
        self.wrong = wrong

    async def examine(self, *arguments: Any, **more: Any) -> Any:
        if self.wrong == "examine hangs":
            await anyio.sleep_forever()
        return await super().examine(*arguments, **more)

    async def preview(self, arguments: Any, **more: Any) -> str:
        if self.wrong == "preview hangs":
            await anyio.sleep_forever()
        return ""

    async def execute(self, *arguments: Any, **more: Any) -> Any:
        if self.wrong == "execute raises":
            raise RuntimeError("bob@example.com")
        return await super().execute(*arguments, **more)

    def size(self, raw: Any) -> int:
        if self.wrong == "size raises":
            raise RuntimeError("bob@example.com")
        return super().size(raw)

    def mask(self, raw: Any, **more: Any) -> Masked:
        match self.wrong:
            case "mask raises":
                raise RuntimeError("bob@example.com")
            case "mask gives its own":
                return Masked(structured=b'{"text": "bob@example.com"}')
            case "mask changes what it was given":
                return Masked(structured=super().mask(raw, **more).structured)
            case "mask gives nothing":
                return None  # type: ignore[return-value]  # which is the point
            case _:
                return super().mask(raw, **more)


@asynccontextmanager
async def misbehaving(folder: Path, wrong: str) -> AsyncIterator[Bench]:
    """A road whose one tool does this wrong, and on which one call fits at a time."""
    async with laid(folder, max_calls=1, examine_within=timedelta(seconds=0.3)) as bench:
        tool = Misbehaving(wrong)
        bench.registry.tools = {**bench.registry.tools, tool.name: tool}
        yield bench
        tool.wrong = ""
        bench.api.answers = [answer(b"ok")]
        with anyio.fail_after(10):
            assert result(await bench.call())["text"] == "ok", "its turn and its share were given back"


@pytest.mark.requirement("R28", "I3", "I7")
@pytest.mark.parametrize(
    ("wrong", "code", "ended"),
    [
        ("execute raises", "internal", "OutcomeUnknown"),
        ("size raises", "internal", "Failed"),
        ("mask raises", "internal", "Failed"),
        ("mask gives its own", "failed", "Failed"),
        ("mask changes what it was given", "failed", "Failed"),
        ("mask gives nothing", "failed", "Failed"),
    ],
)
async def test_a_tool_that_misbehaves_ends_its_call_and_gives_nothing_away(
    tmp_path: Path, wrong: str, code: str, ended: str
) -> None:
    async with misbehaving(tmp_path, wrong) as bench:
        found = await bench.call()

        assert refusal(found).code == code
        assert "bob" not in refusal(found).message
        assert await bench.kinds(found.call_id) == [*ENDED, ended, "Answered"]


@pytest.mark.requirement("R28", "I7")
async def test_an_examination_that_hangs_is_given_up(tmp_path: Path) -> None:
    async with misbehaving(tmp_path, "examine hangs") as bench:
        with anyio.fail_after(10):
            found = await bench.call()

        assert refusal(found).code == "limit_exceeded"
        assert refusal(found).message == "what the call would do was not found out within 0.3 s"
        assert await bench.kinds(found.call_id) == ["Received", "Identified", "Refused", "Answered"]
        assert bench.api.requests == []


@pytest.mark.requirement("R28")
async def test_a_preview_that_hangs_is_left_out(tmp_path: Path) -> None:
    async with misbehaving(tmp_path, "preview hangs") as bench:
        with anyio.fail_after(10):
            found = await bench.call({"method": "POST"})

        assert refusal(found).code == "approval_pending"


@pytest.mark.requirement("I5")
async def test_the_log_says_where_a_target_that_is_away_is_and_nothing_else_in_the_clear(tmp_path: Path) -> None:
    """The place is the configuration's. What a target says goes through the detectors, addresses in it with the rest."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        place = f"127.0.0.1:{probe.getsockname()[1]}"
    async with laid(tmp_path, url=f"http://{place}", place=place) as bench:
        with capture_logs() as logs:
            told = refusal(await bench.call())
        recorded = await bench.store.read(
            lambda connection: connection.execute("SELECT body FROM events WHERE kind = 'Failed'").fetchone()[0]
        )

    (line,) = logs
    assert (line["event"], line["target"], line["place"]) == ("target_unavailable", "api", place)
    assert "[pii.ip_address]" in line["cause"]
    assert place not in told.message + told.next_step + str(recorded) + line["cause"]
