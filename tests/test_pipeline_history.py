"""What a caller has done until now is a fact of the next call: exact, whoever recorded it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import pytest
from mcp_gateway_tools.call_api import CallAPI

from mcp_gateway import deciding
from mcp_gateway.audit.usage import UsageStore, names_of
from mcp_gateway.errors import TargetFailed
from mcp_gateway.masked_facts import MaskedFacts
from tests.invariants.fixtures import tasks_return, world
from tests.peers.api import answer
from tests.roads import POLICIES, POST, Bench, asked, give_up, laid, refusal, result

__all__ = ["tasks_return", "world"]

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("I3", "I7")]
HISTORY = (
    POLICIES
    + """
@id("too-many-calls") @reason("that is enough for a minute")
forbid (principal, action, resource) when { context.usage.calls_1m >= 3 };
@id("too-much") forbid (principal, action, resource) when { context.usage.bytes_1h > 5000 };
@id("guessing") forbid (principal, action, resource) when { context.usage.refusals_1h >= 3 };
@id("after-personal-data") @approval("dba") @reason("personal data was read before")
forbid (principal, action == Action::"call_api", resource)
when { context.http.path like "/out*" && context.usage.touched_24h.contains(DataClass::"pii.email") }
unless { context.approval.by.contains("dba") };
"""
)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with laid(tmp_path, policies=HISTORY) as found:
        yield found


async def test_calls_are_counted_for_the_person_whatever_the_agent(bench: Bench) -> None:
    agents = [bench.caller(actor=f"agent-{number}") for number in range(4)]
    assert [await bench.code(caller=caller) for caller in agents] == ["ok", "ok", "ok", "denied"]
    assert await bench.code(caller=bench.caller(subject="bob")) == "ok"


async def test_bytes_of_results_are_counted(bench: Bench) -> None:
    bench.api.answers = [answer(b"x" * 6000)]
    assert [await bench.code() for _ in range(2)] == ["ok", "denied"]


async def test_refusals_are_counted_and_waiting_for_people_is_none(bench: Bench) -> None:
    codes = [await bench.code({"path": "../x"}), await bench.code({"method": "DELETE"})]
    codes += [await bench.code(POST), await bench.code({"target": "nowhere"}), await bench.code()]
    assert codes == ["invalid_arguments", "denied", "approval_pending", "unknown_target", "denied"]


async def test_after_personal_data_was_read_another_zone_is_asked_about(bench: Bench) -> None:
    assert await bench.code({"path": "out/1"}) == "ok"
    bench.api.answers = [answer(b"write to ada@example.com")]
    assert "ada@example.com" not in result(await bench.call())["text"]
    pending = refusal(await bench.call({"path": "out/2"}))
    assert pending.code == "approval_pending"
    assert pending.approval is not None
    await bench.vote(pending.approval.id)
    assert await bench.code({"path": "out/2"}) == "ok"


async def test_personal_data_that_was_shown_raw_was_read_too(tmp_path: Path) -> None:
    reveal = '@id("r") permit (principal, action == Action::"reveal", resource == DataClass::"pii.email");'
    async with laid(tmp_path, policies=HISTORY + reveal) as bench:
        bench.api.answers = [answer(b"nothing"), answer(b"write to ada@example.com")]
        assert await bench.code() == "ok"
        assert "ada@example.com" in result(await bench.call({"path": "out/1"}))["text"]
        assert await bench.code({"path": "out/2"}) == "approval_pending"


async def test_what_an_other_process_records_counts(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    async with (
        laid(tmp_path / "a", policies=HISTORY, data=data) as one,
        laid(tmp_path / "b", policies=HISTORY, data=data, url=one.api.url) as two,
    ):
        assert [await bench.code() for bench in (one, two, one, two)] == ["ok", "ok", "ok", "denied"]
    async with laid(tmp_path / "a", policies=HISTORY, data=data) as again:
        again.clock.now = two.clock.now
        assert await again.code() == "denied"


async def test_nothing_is_asked_of_the_store_where_no_policy_looks(tmp_path: Path) -> None:
    async with laid(tmp_path) as bench:
        before = bench.engines[-1]
        assert [await bench.code() for _ in range(5)] == ["ok"] * 5
        bench.load(HISTORY)  # what came before counts all the same
        assert (before.looks_at_history, bench.engines[-1].looks_at_history) == (False, True)
        assert await bench.code() == "denied"


@pytest.mark.parametrize("when", ["before", "after"])
async def test_policies_that_look_at_the_past_and_come_into_force_meanwhile_see_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    async with laid(tmp_path) as bench:
        assert [await bench.code() for _ in range(5)] == ["ok"] * 5
        # Either nobody asked for a history when the facts were noted, or one is read while the next set comes.
        looking = (
            POLICIES + '@id("other") forbid (principal, action, resource) when { context.agent_usage.calls_1h > 99 };'
        )
        if when == "after":
            bench.load(looking)
        owner, name = (MaskedFacts, "of") if when == "before" else (UsageStore, "of")
        untouched = getattr(owner, name)

        async def found_out(*arguments: object, **named: object) -> object:
            found = await untouched(*arguments, **named)
            monkeypatch.undo()
            bench.load(HISTORY)
            return found

        monkeypatch.setattr(owner, name, found_out)
        assert await bench.code() == "denied"


BURST = """
@id("three") forbid (principal, action, resource) when { context.usage.calls_1h >= 3 };
"""
ASKED_FROM_THREE = """
@id("three-asked") @approval("dba") forbid (principal, action, resource) when { context.usage.calls_1h >= 3 }
unless { context.approval.by.contains("dba") };
"""
BURST_OF_AGENT = """
@id("three-of-agent") forbid (principal, action, resource) when { context.agent_usage.calls_24h >= 3 };
"""


async def at_once(*calls: Callable[[], Awaitable[str]]) -> list[str]:
    """The codes of calls that are made at the same moment, sorted."""
    codes: list[str] = []

    async def make(call: Callable[[], Awaitable[str]]) -> None:
        codes.append(await call())

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            for call in calls:
                group.start_soon(make, call)
    return sorted(codes)


@pytest.mark.parametrize(
    ("policies", "beyond"), [(BURST, "denied"), (ASKED_FROM_THREE, "approval_pending"), (BURST_OF_AGENT, "denied")]
)
async def test_of_calls_at_the_same_moment_each_sees_those_that_began_before(
    tmp_path: Path, policies: str, beyond: str
) -> None:
    async with laid(tmp_path, policies=POLICIES + policies, max_calls=40) as bench:
        codes = await at_once(*[partial(bench.code, {"path": str(number)}) for number in range(8)])
        assert codes == sorted([*["ok"] * 3, *[beyond] * 5])
        assert len(bench.api.requests) == 3
        decided = await bench.store.read(
            lambda connection: connection.execute("SELECT count(*) FROM events WHERE kind = 'Decided'").fetchone()[0]
        )
        assert decided == 8, "on record is the one decision that counts"


async def test_of_calls_of_several_people_at_the_same_moment_an_agent_counts_all(tmp_path: Path) -> None:
    async with laid(tmp_path, policies=POLICIES + BURST_OF_AGENT) as bench:
        people = [bench.caller(subject=f"person-{number}") for number in range(6)]
        codes = await at_once(*[partial(bench.code, caller=person) for person in people])
        assert codes == sorted([*["ok"] * 3, *["denied"] * 3])


async def test_of_calls_at_the_same_moment_in_several_processes_each_sees_those_that_began_before(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    policies = POLICIES + BURST
    async with (
        laid(tmp_path / "a", policies=policies, data=data) as one,
        laid(tmp_path / "b", policies=policies, data=data, url=one.api.url) as two,
    ):
        two.clock.now = one.clock.now
        codes = await at_once(*[partial(bench.code) for bench in (one, two) for _ in range(5)])
        assert codes == sorted([*["ok"] * 3, *["denied"] * 7])


async def test_a_call_that_always_finds_others_begun_is_refused_in_the_end(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deciding, "more_began", lambda *_, **__: True)
    found = refusal(await bench.call())
    assert (found.code, bench.api.requests) == ("limit_exceeded", [])
    monkeypatch.undo()
    assert await bench.code() == "ok"


async def test_whose_approval_is_not_enough_any_more_is_asked_about_anew(tmp_path: Path) -> None:
    """An approved call that waits while others begin is decided on by what they make of it."""
    policies = """
@id("from-three") @approval("chief") forbid (principal, action, resource) when { context.usage.calls_1h >= 3 }
unless { context.approval.by.contains("chief") };
"""
    async with laid(tmp_path, policies=POLICIES + policies) as bench:
        approval = await asked(bench)
        await bench.vote(approval)
        assert [await bench.code() for _ in range(3)] == ["ok"] * 3
        assert await bench.code(POST) == "approval_stale"
        assert [len(bench.api.requests), (await bench.live())[0].missing] == [3, {"chief": 1, "dba": 1}]


async def test_what_a_target_says_of_a_failure_is_of_its_data(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def failing(*_: object, **__: object) -> None:
        raise TargetFailed("no such customer: ada@example.com")

    assert await bench.code({"path": "out/1"}) == "ok"
    with monkeypatch.context() as patch:
        patch.setattr(CallAPI, "execute", failing)
        assert "ada@example.com" not in refusal(await bench.call()).message
    assert await bench.code({"path": "out/2"}) == "approval_pending"


async def test_what_a_name_says_of_a_value_that_was_shown_was_read_too(tmp_path: Path) -> None:
    policies = HISTORY.replace("pii.email", "pii.national_id")
    reveal = '@id("r") permit (principal, action == Action::"reveal", resource == DataClass::"pii.national_id");'
    async with laid(tmp_path, policies=policies + reveal) as bench:
        bench.api.answers = [answer(b'{"ssn": "ab-12345"}', headers="content-type: application/json")]
        assert result(await bench.call())["json"] == {"ssn": "ab-12345"}
        assert await bench.code({"path": "out/2"}) == "approval_pending"


@asynccontextmanager
async def held_back(bench: Bench) -> AsyncIterator[Callable[[], Awaitable[bool]]]:
    """As if another call of Alice's were beginning; gives whether one waits for it."""
    beginning, person = bench.road._usage._beginning["usage"], names_of(bench.caller())[0]

    async def waits() -> bool:
        return beginning._lanes[person].users == 2

    async with beginning.turn(person):
        yield waits


async def test_what_is_stopped_while_another_call_begins_counts(bench: Bench) -> None:
    codes: list[str] = []

    async def call() -> None:
        codes.append(await bench.code())

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group, held_back(bench) as waits:
            group.start_soon(call)
            while not await waits():
                await anyio.sleep(0.005)
            await bench.revocations.revoke(what="target", value="api", by="ops", note="")
    assert (codes, bench.api.requests) == (["target_unavailable"], [])


async def test_a_client_that_goes_away_while_another_call_begins_leaves_nothing_held(bench: Bench) -> None:
    async with held_back(bench) as waits:
        await give_up(bench.call, once=waits)
    assert bench.api.requests == []
    assert await bench.code() == "ok"


async def test_no_call_waits_for_another_where_policy_does_not_count_them(tmp_path: Path) -> None:
    rows = '@id("rows") forbid (principal, action, resource) when { context.usage.rows_1h > 99 };'
    async with laid(tmp_path, policies=POLICIES + rows) as bench, held_back(bench):
        with anyio.fail_after(30):
            assert await bench.code() == "ok"
