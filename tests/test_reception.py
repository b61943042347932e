from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest

from mcp_gateway.calls import Client
from mcp_gateway.errors import IdentityError
from mcp_gateway.turns import Shares
from tests.roads import Bench, laid, refusal, result

pytestmark = pytest.mark.anyio

CARD = "4111111111111111 "


async def received(bench: Bench, call_id: str) -> Any:
    """What the record says came in."""
    (row,) = await bench.store.read(
        lambda connection: connection.execute(
            "SELECT body FROM events WHERE call_id = ? AND kind = 'Received'", (call_id,)
        ).fetchall()
    )
    return orjson.loads(row[0])


async def test_large_arguments_are_recorded_masked(tmp_path: Path) -> None:
    async with laid(tmp_path) as bench:
        found = await bench.call({"method": "POST", "body": CARD * 20_000, "reason": CARD})
        event = await received(bench, found.call_id)

    assert refusal(found).code == "approval_pending"
    assert event["arguments"]["body"] == "[payment.card] " * 20_000
    assert event["reason"] == "[payment.card] "


@pytest.mark.requirement("R22")
async def test_arguments_that_are_too_large_are_refused_and_not_recorded(tmp_path: Path) -> None:
    async with laid(tmp_path) as bench:
        found = await bench.call({"body": "x" * 600_000})
        event = await received(bench, found.call_id)

        assert refusal(found).code == "invalid_arguments"
        assert refusal(found).message == "the arguments hold more than 524,288 bytes of text"
        assert (event["arguments"], event["target"]) == ({}, "")
        assert await bench.kinds(found.call_id) == ["Received", "Identified", "Refused", "Answered"]
        assert await bench.code() == "ok"


async def test_nothing_large_is_looked_at_for_somebody_who_is_not_proved(tmp_path: Path) -> None:
    async with laid(tmp_path) as bench:
        nobody = IdentityError("no token")
        large = await bench.call({"body": CARD * 20_000}, caller=nobody)
        small = await bench.call({"body": CARD}, caller=nobody)

        assert [refusal(found).code for found in (large, small)] == ["identity_required"] * 2
        assert (await received(bench, large.call_id))["arguments"] == {}
        assert (await received(bench, small.call_id))["arguments"]["body"] == "[payment.card] "


async def test_what_a_client_says_of_itself_at_length_is_not_kept(tmp_path: Path) -> None:
    async with laid(tmp_path) as bench:
        found = await bench.call(client=Client(name="n" * 1_000_000, version="1"))

        assert (await received(bench, found.call_id))["client"]["name"] == "[1,000,000 characters]"


@pytest.mark.parametrize("proved", [True, False])
async def test_what_a_client_says_of_itself_is_masked(tmp_path: Path, *, proved: bool) -> None:
    said = Client(name="bob@example.com", version="4111111111111111", protocol="2026-07-28", trace="")
    async with laid(tmp_path) as bench:
        found = await (bench.call(client=said) if proved else bench.call(client=said, caller=IdentityError("no token")))

        assert (await received(bench, found.call_id))["client"] == {
            "name": "[pii.email]", "version": "[payment.card]", "protocol": "2026-07-28", "trace": ""
        }  # fmt: skip


async def test_more_calls_of_a_caller_than_its_share_are_refused_and_others_notice_nothing(tmp_path: Path) -> None:
    async with laid(tmp_path, shares=Shares(each=2)) as bench:
        bench.api.stall = True
        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(bench.call)
            with anyio.fail_after(10):
                while len(bench.api.requests) < 2:
                    await anyio.sleep(0.005)
            bench.api.stall = False

            more = refusal(await bench.call())
            other = await bench.call(caller=bench.caller(subject="bob"))
            group.cancel_scope.cancel()

        assert (more.code, more.next_step) == (
            "limit_exceeded",
            "wait until one of them has been answered, then call again; nothing has run",
        )
        assert result(other)["text"] == "ok"
        assert len(bench.api.requests) == 3
        assert await bench.code() == "ok"


async def test_a_call_that_is_refused_gives_its_share_back(tmp_path: Path) -> None:
    async with laid(tmp_path, shares=Shares(each=1)) as bench:
        for arguments in ({"method": "DELETE"}, {"method": "POST"}, {"target": "none"}, {"wrong": 1}, {}):
            assert await bench.code(arguments) != "limit_exceeded"
