"""The road as a whole: what calls end in and leave on record, with a real API behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from mcp_gateway.errors import IdentityError
from tests.invariants.fixtures import tasks_return, world
from tests.peers.api import answer
from tests.roads import ALLOWED, POST, Bench, give_up, laid, refusal, result

__all__ = ["tasks_return", "world"]

pytestmark = pytest.mark.anyio


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with laid(tmp_path) as found:
        yield found


async def test_an_allowed_call_leaves_its_whole_list_of_events(bench: Bench) -> None:
    found = await bench.call()

    assert result(found)["text"] == "ok"
    assert await bench.kinds(found.call_id) == ALLOWED


async def test_personal_data_in_an_answer_is_masked(bench: Bench) -> None:
    bench.api.answers = [answer(b"write to ada@example.com")]

    found = result(await bench.call())

    assert "ada@example.com" not in found["text"]
    assert found["masked"] == {"pii.email": 1}


async def test_a_caller_who_is_not_proved_is_refused(bench: Bench) -> None:
    found = await bench.call(caller=IdentityError("token is expired"))

    assert refusal(found).code == "identity_required"
    assert await bench.kinds(found.call_id) == ["Received", "Refused", "Answered"]
    assert bench.api.requests == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": 7}, "path: input should be a valid string"),
        ({"unknown": 1}, "unknown: extra inputs are not permitted"),
        ({"path": "../x"}, "the path leads above the target's base URL"),
        ({"method": "POST", "json": {"n": 2**60}}, "no canonical JSON form"),
        ({"method": "POST", "body": "\ud800"}, "no canonical JSON form"),
        ({"method": "POST", "body": "a", "json": {}}, "call_api: arguments: give at most one of json and body"),
        ({"method": "TRACE"}, "method: input should be 'GET', 'HEAD', 'OPTIONS', 'POST', 'PUT', 'PATCH' or 'DELETE'"),
    ],
)
async def test_bad_arguments_are_named_and_nothing_runs(bench: Bench, arguments: dict[str, Any], message: str) -> None:
    found = refusal(await bench.call(arguments))

    assert found.code == "invalid_arguments"
    assert message in found.message
    assert bench.api.requests == []


async def test_a_target_that_one_may_not_see_does_not_exist(bench: Bench) -> None:
    stranger = bench.caller(groups=frozenset({"interns"}))

    hidden, missing = refusal(await bench.call(caller=stranger)), refusal(await bench.call({"target": "nowhere"}))

    assert hidden.code == missing.code == "unknown_target"
    assert hidden.message == missing.message.replace("nowhere", "api")


async def test_a_denied_call_never_reaches_the_target(bench: Bench) -> None:
    found = await bench.call({"method": "DELETE"})

    assert refusal(found).message == "policy does not allow this call: nobody deletes"
    assert await bench.kinds(found.call_id) == ["Received", "Identified", "Examined", "Decided", "Denied", "Answered"]
    assert bench.api.requests == []


async def test_a_call_that_nothing_permits_is_told_so(tmp_path: Path) -> None:
    gets = """@id("gets") permit (principal, action == Action::"call_api", resource)
        when { context.http.method == "GET" };"""
    async with laid(tmp_path, policies=gets) as bench:
        found = await bench.call({"method": "PUT"})

    assert refusal(found).message == "policy does not allow this call: no policy permits it"
    assert bench.api.requests == []


@pytest.mark.requirement("R9")
async def test_a_cancelled_call_is_recorded_as_cancelled(bench: Bench) -> None:
    bench.api.stall = True

    async def reached() -> bool:
        return bool(bench.api.requests)

    await give_up(bench.call, once=reached)

    rows = await bench.store.read(lambda connection: connection.execute("SELECT kind FROM events").fetchall())
    assert [row[0] for row in rows][-2:] == ["Cancelled", "Answered"]


async def test_an_error_of_the_target_is_recorded_before_it_is_told(bench: Bench) -> None:
    bench.api.answers = [answer(b"half", length=1000)]

    found = await bench.call()

    assert refusal(found).code == "failed"
    assert await bench.kinds(found.call_id) == [*ALLOWED[:5], "Failed", "Answered"]


async def test_listing_targets_shows_what_the_caller_may_use(bench: Bench) -> None:
    who = bench.caller()

    assert [item["name"] for item in bench.road.targets_of(who)] == ["api"]
    assert bench.road.tools_of(who) == {"call_api"}
    assert bench.road.targets_of(bench.caller(groups=frozenset())) == []


@pytest.mark.requirement("R42")
@pytest.mark.parametrize(
    ("what", "value"), [("token", "t1"), ("subject", "https://idp.example.com|alice"), ("agent", "agent")]
)
async def test_a_revocation_ends_what_runs_and_gives_nothing_back(bench: Bench, what: Any, value: str) -> None:
    bench.api.stall = True
    found: list[Any] = []

    async def run() -> None:
        found.append(await bench.call())

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(run)
            while not bench.api.requests:
                await anyio.sleep(0.01)
            await bench.revocations.revoke(what=what, value=value, by="ops")

    assert refusal(found[0]).code == "cancelled"
    assert refusal(found[0]).message == (
        f"the {what} of this call was revoked while it ran, so it was cancelled at its target and its result is withheld"
    )
    assert await bench.kinds(found[0].call_id) == [*ALLOWED[:5], "Cancelled", "Answered"]


@pytest.mark.requirement("R42")
async def test_what_is_revoked_between_its_token_and_its_start_never_reaches_the_target(bench: Bench) -> None:
    await bench.revocations.revoke(what="token", value="t1", by="ops")

    found = await bench.call()  # Whoever identified this caller did so before the revocation.

    assert refusal(found).code == "cancelled"
    assert bench.api.requests == []


@pytest.mark.requirement("R14", "R22")
@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"body": "x" * 1_000_000}, "the arguments hold more than 524,288 bytes of text"),
        ({"body": "\U0001f600" * 140_000}, "the arguments hold more than 524,288 bytes of text"),
        ({"x" * 600_000: 1}, "the arguments hold more than 524,288 bytes of text"),
        ({"json": list(range(100_000))}, "the arguments hold more than 20,000 values"),
        ({"json": [[]] * 40_000}, "the arguments hold more than 20,000 values"),
        ({"unknown": "x" * 1_000_000}, "the arguments hold more than 524,288 bytes of text"),
        ({"json": {f"k{number}": number for number in range(100_000)}}, "the arguments hold more than 20,000 values"),
        ({f"k{number}": 1 for number in range(100_000)}, "the arguments hold more than 20,000 values"),
    ],
    ids=lambda value: next(iter(value))[:8] if isinstance(value, dict) else "",
)
async def test_arguments_beyond_what_is_examined_are_refused_and_not_kept(
    bench: Bench, arguments: dict[str, Any], why: str
) -> None:
    found = await bench.call(POST | arguments)

    assert refusal(found).message == why
    assert await bench.kinds(found.call_id) == ["Received", "Identified", "Refused", "Answered"]
    size = await bench.store.read(
        lambda connection: connection.execute("SELECT sum(length(body)) FROM events").fetchone()
    )
    assert size[0] < 5_000
    assert await bench.code(POST | {"body": "x" * 500_000}) == "approval_pending"


async def test_deep_arguments_end_in_a_refusal(bench: Bench) -> None:
    deep: Any = "x"
    for _ in range(20_000):
        deep = [deep]

    assert await bench.code(POST | {"json": deep}) in {"invalid_arguments", "internal"}
    assert bench.api.requests == []
